// Package status writes down what the election and the BGP plan decided: the
// condition Announced of Services, ServiceL2Status, ServiceBGPStatus,
// BGPSessionState and ConfigurationState objects, events and metrics. Nothing
// of it is on the path of an announcement.
package status

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

// +kubebuilder:rbac:groups="",resources=services/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=servicel2statuses,verbs=list;create;patch;delete
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=servicel2statuses/status,verbs=patch

const (
	workers = 4
	// mostLines of one change are logged one by one.
	mostLines = 10
	// What another host does is looked at again so long after it was heard, and
	// as long as it goes on.
	heardPause    = 500 * time.Millisecond
	conflictPause = 10 * time.Second
	// refreshEvery is how often conditions are compared that may have become
	// stale because a node changed in what it may do; refreshPause apart.
	refreshEvery = 30 * time.Second
	refreshPause = 50 * time.Millisecond
	unparkEvery  = 250 * time.Millisecond
)

// Recorder tells people of what happened to an object. It does not block.
type Recorder interface {
	// Event is of kind Normal or Warning; why is a reason, action what was done.
	Event(about *corev1.ObjectReference, kind, why, action, note string)
}

// Writer implements agent.Reporter and watch.Listener. All fields are set
// before Run.
type Writer struct {
	Log       *slog.Logger
	Node      string
	Namespace string
	API       *kube.Clients
	Recorder  Recorder
	// Owners of the objects in which this node tells of Services: they go with
	// them.
	Owners []metav1.OwnerReference
	// View runs f with what the API says.
	View func(f func(*watch.State))
	// Ask runs f with the election.
	Ask func(f func(*election.Election)) bool
	// Plan runs f with the BGP plan; nil: there is none.
	Plan func(f func(*bgp.Planner)) bool

	pace  *pace
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]

	mu        sync.Mutex
	wrote     map[string]uint64                        // this node's ServiceL2Statuses: name, and digest of what was written
	wroteAt   map[string]time.Time                     // objects that were written moments ago, by id
	moved     map[types.NamespacedName][]election.Move // owner changes to tell of
	refused   map[types.NamespacedName]time.Time       // Services of which to say that nobody announces them, since when
	parked    map[types.NamespacedName]time.Time       // those of them that it is too soon to say it of
	conflicts map[types.NamespacedName]struct{}        // Services whose addresses another host has
	silent    map[types.NamespacedName]string          // Services of which this node has to say that nobody announces them: why
	said      map[types.NamespacedName]uint64          // digest of the condition that was written and not seen yet
	members   int
	nodes     bool // some node changed in what it may do
}

// Init makes the queue: the other methods may be called from then on.
func (w *Writer) Init() {
	w.queue = workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](50*time.Millisecond, time.Minute))
	w.pace = newPace()
	w.wrote = map[string]uint64{}
	w.wroteAt = map[string]time.Time{}
	w.moved = map[types.NamespacedName][]election.Move{}
	w.refused = map[types.NamespacedName]time.Time{}
	w.parked = map[types.NamespacedName]time.Time{}
	w.conflicts = map[types.NamespacedName]struct{}{}
	w.silent = map[types.NamespacedName]string{}
	w.said = map[types.NamespacedName]uint64{}
}

// Changed implements watch.Listener.
func (w *Writer) Changed(_ *watch.State, c watch.Change) {
	if c.Node != "" {
		w.mu.Lock()
		w.nodes = true
		w.mu.Unlock()
	}
	if c.Service.Name == "" {
		return
	}
	if !c.Reported && !c.Endpoints {
		w.pace.note(time.Now())
	}
	w.mu.Lock()
	delete(w.said, c.Service)
	w.mu.Unlock()
	w.queue.Add(c.Service)
}

// Heard says that another host answered or announced for an address.
func (w *Writer) Heard(ip netip.Addr) {
	for _, key := range w.users(ip) {
		w.queue.AddAfter(key, heardPause)
	}
}

// ProxyBehind says that this node announces an address that its service proxy does
// not know, though it had the time.
func (w *Writer) ProxyBehind(ip netip.Addr) {
	for _, key := range w.users(ip) {
		var s *watch.Service
		w.View(func(state *watch.State) { s = state.Services[key] })
		if s != nil {
			w.event(key, s, corev1.EventTypeWarning, string(reason.ProxyBehind),
				fmt.Sprintf("the service proxy of node %s does not forward %s, which it announces now; see kube-proxy there", w.Node, ip))
		}
	}
}

func (w *Writer) users(ip netip.Addr) (users []types.NamespacedName) {
	w.View(func(s *watch.State) { users = s.Users(ip) })
	return users
}

// Report implements agent.Reporter.
func (w *Writer) Report(r election.Ready, owned, members int) {
	ownedAddresses.Set(float64(owned))
	liveMembers.Set(float64(members))
	w.mu.Lock()
	w.nodes = w.nodes || w.members != members
	w.members = members
	w.mu.Unlock()
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
		for _, key := range w.users(m.IP) {
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
		for _, key := range w.users(ip) {
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
	wg.Go(func() { w.refresh(ctx) })
	wg.Go(func() { w.unpark(ctx) })
	wg.Wait()
}

// unpark has Services looked at again of which it is time to say that nobody
// announces them. In a burst that time moves with every change: nobody looks at
// each of them each time.
func (w *Writer) unpark(ctx context.Context) {
	tick := time.NewTicker(unparkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			w.release(now)
		}
	}
}

func (w *Writer) release(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, since := range w.parked {
		if !now.Before(w.pace.refusalDue(since)) {
			delete(w.parked, key)
			w.queue.Add(key)
		}
	}
}

// refresh has conditions looked at that tell of nodes which changed.
func (w *Writer) refresh(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		changed := w.nodes
		w.nodes = false
		w.mu.Unlock()
		if !changed {
			continue
		}
		w.View(func(s *watch.State) {
			after := time.Duration(0)
			for key := range s.Services {
				w.queue.AddAfter(key, after)
				after += refreshPause
			}
		})
	}
}

// write brings what is written of a Service up to date.
func (w *Writer) write(ctx context.Context, key types.NamespacedName) error {
	verdicts, interfaces, writer := w.verdicts(key)
	if err := w.writeL2Status(ctx, key, interfaces); err != nil {
		return err
	}
	var ips []netip.Addr
	for _, v := range verdicts {
		ips = append(ips, v.IP)
	}
	routes, peers := w.routes(ips)
	if err := w.writeBGPStatus(ctx, key, peers); err != nil {
		return err
	}
	var s *watch.Service
	w.View(func(state *watch.State) { s = state.Services[key] })
	if len(verdicts) == 0 || s == nil || writer != w.Node {
		w.note(key, false, false)
		w.count(key, metav1.Condition{})
	}
	if len(verdicts) == 0 || s == nil {
		return nil
	}
	if err := w.tellMoves(ctx, key, s); err != nil {
		return err
	}
	if writer != w.Node {
		return nil
	}
	if slices.ContainsFunc(verdicts, tellsOfState) {
		w.queue.AddAfter(key, refreshEvery)
	}
	says := condition(verdicts, routes)
	w.count(key, says)
	return w.writeCondition(ctx, key, s, says)
}

// tellsOfState says whether some node is not chosen for what only its speaker
// knows, and nothing tells the end of.
func tellsOfState(v election.Verdict) bool {
	return slices.ContainsFunc(v.Nodes, func(n election.NodeVerdict) bool {
		return n.Reason == reason.ProxyUnhealthy || n.Reason == reason.NodeDraining || n.Reason == reason.NoSubnet
	})
}

// note keeps what this node is to say of a Service and has not said, and of
// which it has to say that it is disputed. It returns since when it is to be
// said that nobody announces it.
func (w *Writer) note(key types.NamespacedName, refused, conflict bool) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if conflict {
		w.conflicts[key] = struct{}{}
	} else {
		delete(w.conflicts, key)
	}
	disputed.Set(float64(len(w.conflicts)))
	if !refused {
		delete(w.refused, key)
		return time.Time{}
	}
	if _, known := w.refused[key]; !known {
		w.refused[key] = time.Now()
	}
	return w.refused[key]
}

// count keeps the metric of the Services that nobody announces.
func (w *Writer) count(key types.NamespacedName, c metav1.Condition) {
	why := ""
	if c.Status == metav1.ConditionFalse {
		why = c.Reason
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.silent[key]
	if why == old {
		return
	}
	if old != "" {
		unannounced.WithLabelValues(old).Dec()
		delete(w.silent, key)
	}
	if why != "" {
		unannounced.WithLabelValues(why).Inc()
		w.silent[key] = why
	}
}

func (w *Writer) writeCondition(ctx context.Context, key types.NamespacedName, s *watch.Service, want metav1.Condition) error {
	conflict := want.Reason == string(reason.AddressConflict)
	if conflict {
		w.queue.AddAfter(key, conflictPause)
	}
	says := watch.Digest(want)
	w.mu.Lock()
	said := w.said[key] == says
	w.mu.Unlock()
	if said || s.Announced.Says == says {
		w.note(key, false, conflict)
		return nil
	}
	refused := want.Status == metav1.ConditionFalse && !conflict
	since := w.note(key, refused, conflict)
	if refused {
		if time.Now().Before(w.pace.refusalDue(since)) {
			w.mu.Lock()
			w.parked[key] = since
			w.mu.Unlock()
			return nil
		}
	}
	want.LastTransitionTime = metav1.Now()
	if s.Announced.Status == want.Status {
		want.LastTransitionTime = metav1.NewTime(s.Announced.Since)
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []metav1.Condition{want}}})
	if err != nil {
		return err
	}
	if err := w.pace.wait(ctx); err != nil {
		return err
	}
	// The watch may bring what is written, and what another node wrote over it,
	// before the answer comes.
	w.mu.Lock()
	w.said[key] = says
	w.mu.Unlock()
	err = w.API.Core.Patch(types.StrategicMergePatchType).Namespace(key.Namespace).Resource("services").Name(key.Name).
		SubResource("status").Body(patch).Do(ctx).Error()
	if err != nil {
		w.mu.Lock()
		delete(w.said, key)
		w.mu.Unlock()
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing condition %s of Service %s: %w", names.Announced, key, err)
	}
	w.note(key, false, conflict)
	w.Log.Info("decided", "service", key.String(), "condition", want.Type, "status", want.Status, "reason", want.Reason, "message", want.Message)
	if want.Reason != string(reason.Announced) {
		w.event(key, s, corev1.EventTypeWarning, want.Reason, want.Message)
	}
	return nil
}

// verdicts asks the election about the Service's addresses. interfaces are
// those on which this node answers for any of them; writer writes the
// condition.
func (w *Writer) verdicts(key types.NamespacedName) (out []election.Verdict, interfaces []string, writer string) {
	var ips []netip.Addr
	w.View(func(state *watch.State) {
		if s := state.Services[key]; s != nil {
			ips = s.Addresses
		}
	})
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

// tellMoves makes events of what this node took, and takes away what the owner
// before it wrote, which may be dead.
func (w *Writer) tellMoves(ctx context.Context, key types.NamespacedName, s *watch.Service) error {
	w.mu.Lock()
	moves := w.moved[key]
	delete(w.moved, key)
	w.mu.Unlock()
	var failed error
	for _, m := range moves {
		note := fmt.Sprintf("node %s answers for %s", m.To, m.IP)
		if m.From != "" && m.From != m.To {
			note += " instead of " + m.From
			if err := w.deleteStatus(ctx, l2statuses, statusName(key, m.From)); err != nil {
				failed = err
			}
		}
		w.event(key, s, corev1.EventTypeNormal, string(reason.Announced), fmt.Sprintf("%s (%s)", note, m.Cause))
	}
	return failed
}

// event tells people, unless there is too much to tell.
func (w *Writer) event(key types.NamespacedName, s *watch.Service, kind, why, note string) {
	if !w.pace.events.TryAccept() {
		return
	}
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: key.Namespace, Name: key.Name, UID: s.UID}
	w.Recorder.Event(about, kind, why, "Announce", note)
}
