// Package status writes down what the election decided: the condition
// Announced of Services, ServiceL2Status objects, events and metrics. Nothing
// of it is on the path of an announcement.
package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

// +kubebuilder:rbac:groups="",resources=services/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=servicel2statuses,verbs=list;create;delete
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=servicel2statuses/status,verbs=patch

const (
	workers = 4
	// A mass take-over must not take the processor from the gossip that keeps
	// the members alive: so many Services are written, and so many events made,
	// a second.
	writesPerSecond, writesAtOnce = 100, 200
	eventsPerSecond, eventsAtOnce = 10, 50
	// mostLines of one change are logged one by one.
	mostLines = 10
	// sweepEvery is how often ServiceL2Statuses are looked for that nobody
	// took away: of a node that died while its Service was deleted.
	sweepEvery = 10 * time.Minute
	// mostReasons bounds how many nodes a message tells about.
	mostReasons = 8
)

// unknown stands for what an object of an earlier run, or a write that failed,
// says.
const unknown = ""

// Labels of a ServiceL2Status.
const (
	nodeLabel      = names.Prefix + "node"
	serviceLabel   = names.Prefix + "service-name"
	namespaceLabel = names.Prefix + "service-namespace"
)

// Services knows which Service has which address.
type Services interface {
	Users(netip.Addr) []types.NamespacedName
	Addresses(types.NamespacedName) []netip.Addr
}

// Writer implements agent.Reporter. All fields are set before Run.
type Writer struct {
	Log       *slog.Logger
	Node      string
	Namespace string
	// Reader is the cache. Client writes, and reads from the API server itself:
	// ServiceL2Statuses are not worth a cache.
	Reader   client.Reader
	Client   client.Client
	Recorder events.EventRecorder
	Services Services
	// Ask runs f with the election.
	Ask func(f func(*election.Election)) bool

	writes flowcontrol.RateLimiter
	events flowcontrol.RateLimiter
	queue  workqueue.TypedRateLimitingInterface[types.NamespacedName]
	mu     sync.Mutex
	wrote  map[string]string                        // this node's ServiceL2Statuses: name, and what was written
	moved  map[types.NamespacedName][]election.Move // owner changes to tell of
}

// Init makes the queue: Report and Touch may be called from then on.
func (w *Writer) Init() {
	w.queue = workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, time.Minute))
	w.writes = flowcontrol.NewTokenBucketRateLimiter(writesPerSecond, writesAtOnce)
	w.events = flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventsAtOnce)
	w.wrote = map[string]string{}
	w.moved = map[types.NamespacedName][]election.Move{}
}

// Touch has a Service looked at.
func (w *Writer) Touch(key types.NamespacedName) { w.queue.Add(key) }

// Report implements agent.Reporter.
func (w *Writer) Report(r election.Ready, owned, members int) {
	ownedAddresses.Set(float64(owned))
	liveMembers.Set(float64(members))
	took := 0
	for _, m := range r.Moves {
		if m.To != w.Node {
			continue
		}
		takeovers.WithLabelValues(string(m.Cause)).Inc()
		lastChange.SetToCurrentTime()
		if took++; took <= mostLines {
			w.Log.Info("took an address", "address", m.IP, "from", m.From, "cause", m.Cause)
		}
		for _, key := range w.Services.Users(m.IP) {
			w.mu.Lock()
			w.moved[key] = append(w.moved[key], m)
			w.mu.Unlock()
		}
	}
	for i, ip := range r.Withdraw {
		if i < mostLines {
			w.Log.Info("stopped answering", "address", ip)
		}
		lastChange.SetToCurrentTime()
	}
	if took > mostLines || len(r.Withdraw) > mostLines {
		w.Log.Info("changed many addresses", "took", took, "stopped", len(r.Withdraw))
	}
	touch := func(ip netip.Addr) {
		for _, key := range w.Services.Users(ip) {
			w.queue.Add(key)
		}
	}
	for _, ip := range r.Changed {
		touch(ip)
	}
	for _, a := range r.Answer {
		touch(a.IP)
	}
	for _, ip := range r.Withdraw {
		touch(ip)
	}
}

// Run writes until ctx ends.
func (w *Writer) Run(ctx context.Context) {
	go func() {
		<-ctx.Done()
		w.queue.ShutDown()
	}()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				key, stop := w.queue.Get()
				if stop {
					return
				}
				if err := w.write(ctx, key); err != nil && ctx.Err() == nil {
					w.Log.Debug("writing status", "service", key, "error", err)
					w.queue.AddRateLimited(key)
				} else {
					w.queue.Forget(key)
				}
				w.queue.Done(key)
			}
		})
	}
	wg.Go(func() { w.sweep(ctx) })
	wg.Wait()
}

// write brings what is written of a Service up to date.
func (w *Writer) write(ctx context.Context, key types.NamespacedName) error {
	verdicts, interfaces, writer := w.verdicts(key)
	if err := w.writeL2Status(ctx, key, interfaces); err != nil {
		return err
	}
	if len(verdicts) == 0 {
		return nil
	}
	var s corev1.Service
	if err := w.Reader.Get(ctx, key, &s); err != nil {
		return client.IgnoreNotFound(err)
	}
	if err := w.tellMoves(ctx, key, &s); err != nil {
		return err
	}
	if writer != w.Node {
		return nil
	}
	want := condition(verdicts)
	i := slices.IndexFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type == names.Announced })
	if i >= 0 {
		have := s.Status.Conditions[i]
		if have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
			return nil
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []metav1.Condition{want}}})
	if err != nil {
		return err
	}
	if err := w.writes.Wait(ctx); err != nil {
		return err
	}
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	err = w.Client.Status().Patch(ctx, object, client.RawPatch(types.StrategicMergePatchType, patch))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing condition %s of Service %s: %w", names.Announced, key, err)
	}
	if err == nil && want.Status == metav1.ConditionFalse && w.events.TryAccept() {
		w.Recorder.Eventf(&s, nil, corev1.EventTypeWarning, want.Reason, "Announce", "%s", want.Message)
	}
	return nil
}

// verdicts asks the election about the Service's addresses. interfaces are
// those on which this node answers for any of them; writer writes the
// condition.
func (w *Writer) verdicts(key types.NamespacedName) (out []election.Verdict, interfaces []string, writer string) {
	ips := w.Services.Addresses(key)
	if len(ips) == 0 {
		return nil, nil, ""
	}
	w.Ask(func(e *election.Election) {
		for _, ip := range ips {
			v, ok := e.Explain(ip)
			if !ok {
				continue
			}
			out = append(out, v)
			if v.Owner == w.Node {
				interfaces = append(interfaces, e.Answering(ip)...)
			}
		}
	})
	for _, v := range out {
		if v.Owner != "" {
			writer = v.Owner
			break
		}
		writer = v.Writer
	}
	slices.Sort(interfaces)
	return out, slices.Compact(interfaces), writer
}

// condition is True where every address is announced. The message names the
// owners, and why other nodes are not.
func condition(verdicts []election.Verdict) metav1.Condition {
	c := metav1.Condition{
		Type: names.Announced, Status: metav1.ConditionTrue, Reason: string(reason.Announced), LastTransitionTime: metav1.Now(),
	}
	var parts []string
	for _, v := range verdicts {
		if v.Owner == "" {
			parts = append(parts, fmt.Sprintf("no node answers for %s", v.IP))
		} else {
			parts = append(parts, fmt.Sprintf("%s answers for %s", v.Owner, v.IP))
		}
		if c.Reason == string(reason.Announced) && v.Reason != reason.Announced {
			c.Reason = string(v.Reason)
		}
		if v.Owner == "" {
			c.Status = metav1.ConditionFalse
		}
	}
	c.Message = strings.Join(parts, ", ") + notChosen(verdicts[0].Nodes)
	return c
}

func notChosen(nodes []election.NodeVerdict) string {
	if len(nodes) == 0 || len(nodes) > mostReasons {
		return ""
	}
	var parts []string
	for _, n := range nodes {
		parts = append(parts, fmt.Sprintf("%s %s", n.Node, n.Reason))
	}
	return "; not chosen: " + strings.Join(parts, ", ")
}

// tellMoves makes events of what this node took, and takes away what the owner
// before it wrote, which may be dead.
func (w *Writer) tellMoves(ctx context.Context, key types.NamespacedName, s *corev1.Service) error {
	w.mu.Lock()
	moves := w.moved[key]
	delete(w.moved, key)
	w.mu.Unlock()
	var failed error
	for _, m := range moves {
		note := fmt.Sprintf("node %s answers for %s", m.To, m.IP)
		if m.From != "" && m.From != m.To {
			note += " instead of " + m.From
			old := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: statusName(key, m.From)}}
			if err := w.Client.Delete(ctx, old); client.IgnoreNotFound(err) != nil {
				failed = fmt.Errorf("deleting ServiceL2Status %s: %w", old.Name, err)
			}
		}
		if !w.events.TryAccept() {
			continue
		}
		w.Recorder.Eventf(s, nil, corev1.EventTypeNormal, string(reason.Announced), "Announce", "%s (%s)", note, m.Cause)
	}
	return failed
}

// statusName is of a Service and a node, and no longer than a name may be.
func statusName(key types.NamespacedName, node string) string {
	sum := sha256.Sum256([]byte(key.String() + "/" + node))
	return fmt.Sprintf("%s-%s", key.Name, hex.EncodeToString(sum[:5]))
}

// writeL2Status says that this node answers for a Service, or takes that away.
func (w *Writer) writeL2Status(ctx context.Context, key types.NamespacedName, interfaces []string) error {
	name := statusName(key, w.Node)
	object := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Namespace, Name: name,
		Labels: map[string]string{
			names.ManagedBy: names.Porchlight, nodeLabel: w.Node, serviceLabel: key.Name, namespaceLabel: key.Namespace,
		},
	}}
	if len(interfaces) == 0 {
		w.mu.Lock()
		_, wrote := w.wrote[name]
		w.mu.Unlock()
		if !wrote {
			return nil
		}
		if err := w.writes.Wait(ctx); err != nil {
			return err
		}
		if err := w.Client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting ServiceL2Status %s: %w", name, err)
		}
		w.mu.Lock()
		delete(w.wrote, name)
		w.mu.Unlock()
		return nil
	}
	status := v1beta1.ServiceL2StatusStatus{Node: w.Node, ServiceName: key.Name, ServiceNamespace: key.Namespace}
	for _, i := range interfaces {
		status.Interfaces = append(status.Interfaces, v1beta1.InterfaceInfo{Name: i})
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	w.mu.Lock()
	same := w.wrote[name] == string(patch)
	w.mu.Unlock()
	if same {
		return nil
	}
	w.setWrote(name, unknown)
	if err := w.writes.Wait(ctx); err != nil {
		return err
	}
	if err := w.Client.Create(ctx, object.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating ServiceL2Status %s: %w", name, err)
	}
	if err := w.Client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("writing ServiceL2Status %s: %w", name, err)
	}
	w.setWrote(name, string(patch))
	return nil
}

func (w *Writer) setWrote(name, patch string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote[name] = patch
}

// sweep deletes the ServiceL2Statuses that say what is not so: each node its
// own, the others' whoever may write about the Service now.
func (w *Writer) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		var list v1beta1.ServiceL2StatusList
		if err := w.Client.List(ctx, &list, client.InNamespace(w.Namespace), client.MatchingLabels{names.ManagedBy: names.Porchlight}); err != nil {
			w.Log.Debug("listing ServiceL2Statuses", "error", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			key := types.NamespacedName{Namespace: o.Labels[namespaceLabel], Name: o.Labels[serviceLabel]}
			if o.Labels[nodeLabel] == w.Node {
				w.mu.Lock()
				if _, ok := w.wrote[o.Name]; !ok {
					w.wrote[o.Name] = unknown
				}
				w.mu.Unlock()
				w.queue.Add(key)
				continue
			}
			if w.stale(key, o.Labels[nodeLabel]) {
				if err := w.Client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
					w.Log.Debug("deleting a stale ServiceL2Status", "name", o.Name, "error", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stale says whether a node surely does not answer for a Service, and whether
// it is on this node to say so.
func (w *Writer) stale(key types.NamespacedName, node string) bool {
	verdicts, _, writer := w.verdicts(key)
	if len(verdicts) == 0 {
		lowest := false
		w.Ask(func(e *election.Election) { lowest = e.Writer() == w.Node })
		return lowest
	}
	return writer == w.Node && !slices.ContainsFunc(verdicts, func(v election.Verdict) bool { return v.Owner == node || v.Owner == "" })
}
