package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

const (
	l2statuses = "servicel2statuses"
	// sweepEvery is how often objects are looked for that nobody took away: of a
	// node that died while its Service was deleted, or that is no more.
	sweepEvery = 10 * time.Minute
	// sweepPage is how many are in memory at a time.
	sweepPage = 200
	// unknown stands for what an object of an earlier run, or a write that
	// failed, says.
	unknown = 0
)

// Labels of a ServiceL2Status.
const (
	nodeLabel      = names.Prefix + "node"
	serviceLabel   = names.Prefix + "service-name"
	namespaceLabel = names.Prefix + "service-namespace"
)

// statusName is of a Service and a node, and no longer than a name may be.
func statusName(key types.NamespacedName, node string) string {
	sum := sha256.Sum256([]byte(key.String() + "/" + node))
	return fmt.Sprintf("%s-%s", key.Name, hex.EncodeToString(sum[:5]))
}

// writeL2Status says that this node answers for a Service, or takes that away.
func (w *Writer) writeL2Status(ctx context.Context, key types.NamespacedName, interfaces []string) error {
	o := serviceStatus{resource: l2statuses, kind: "ServiceL2Status", name: statusName(key, w.Node)}
	if len(interfaces) > 0 {
		status := v1beta1.ServiceL2StatusStatus{Node: w.Node, ServiceName: key.Name, ServiceNamespace: key.Namespace}
		for _, i := range interfaces {
			status.Interfaces = append(status.Interfaces, v1beta1.InterfaceInfo{Name: i})
		}
		o.meta, o.status = w.about(key, o.name), status
	}
	return w.writeServiceStatus(ctx, o)
}

// about is the metadata of an object in which this node tells of a Service.
func (w *Writer) about(key types.NamespacedName, name string) *metav1.ObjectMeta {
	return &metav1.ObjectMeta{
		Namespace: w.Namespace, Name: name, OwnerReferences: w.Owners,
		Labels: map[string]string{
			names.ManagedBy: names.Porchlight, nodeLabel: w.Node, serviceLabel: key.Name, namespaceLabel: key.Namespace,
		},
	}
}

// serviceStatus is an object in which this node tells of a Service.
type serviceStatus struct {
	resource, kind, name string
	meta                 *metav1.ObjectMeta // nil: the node has nothing to tell
	status               any
	// key is the Service, where the object is written once in writeEvery at
	// most.
	key types.NamespacedName
	// decided logs what was written; nil: that is logged where it is decided.
	decided func()
}

func (o serviceStatus) log() {
	if o.decided != nil {
		o.decided()
	}
}

// id tells the objects of different kinds apart.
func (o serviceStatus) id() string { return o.resource + "/" + o.name }

// writeServiceStatus writes an object, if it does not say so already, or
// deletes it where there is nothing to tell.
func (w *Writer) writeServiceStatus(ctx context.Context, o serviceStatus) error {
	w.mu.Lock()
	said, wrote := w.wrote[o.id()]
	w.mu.Unlock()
	if o.meta == nil {
		if !wrote || w.tooSoon(o) {
			return nil
		}
		if err := w.pace.wait(ctx); err != nil {
			return err
		}
		if err := w.deleteStatus(ctx, o.resource, o.name); err != nil {
			return err
		}
		w.mu.Lock()
		delete(w.wrote, o.id())
		w.mu.Unlock()
		o.log()
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": o.status})
	if err != nil {
		return err
	}
	h := fnv.New64a()
	_, _ = h.Write(patch)
	if wrote && said == h.Sum64() || w.tooSoon(o) {
		return nil
	}
	w.setWrote(o.id(), unknown)
	if err := w.pace.wait(ctx); err != nil {
		return err
	}
	if said == unknown {
		if err := makeReport(ctx, w.API.Porchlight, o.resource, o.kind, *o.meta); err != nil {
			return err
		}
	}
	err = w.API.Porchlight.Patch(types.MergePatchType).Namespace(w.Namespace).Resource(o.resource).Name(o.name).
		SubResource("status").Body(patch).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		w.mu.Lock()
		delete(w.wrote, o.id()) // to be created at the next try
		w.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", o.id(), err)
	}
	w.setWrote(o.id(), h.Sum64())
	o.log()
	return nil
}

// tooSoon has a Service looked at again where an object was written moments
// ago; else it notes that it is written now.
func (w *Writer) tooSoon(o serviceStatus) bool {
	if o.key == (types.NamespacedName{}) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if wait := writeEvery - time.Since(w.wroteAt[o.id()]); wait > 0 {
		w.queue.AddAfter(o.key, wait)
		return true
	}
	w.wroteAt[o.id()] = time.Now()
	return false
}

func (w *Writer) setWrote(id string, digest uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote[id] = digest
}

func (w *Writer) deleteStatus(ctx context.Context, resource, name string) error {
	err := w.API.Porchlight.Delete().Namespace(w.Namespace).Resource(resource).Name(name).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s/%s: %w", resource, name, err)
	}
	return nil
}

// sweep deletes the objects that say what is not so: of Services, each node its
// own, and the others' whoever may write about the Service now; of nodes, those
// of nodes that are no more.
func (w *Writer) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		w.mu.Lock()
		maps.DeleteFunc(w.wroteAt, func(_ string, at time.Time) bool { return time.Since(at) > writeEvery })
		w.mu.Unlock()
		for resource, stale := range map[string]staleness{
			l2statuses: w.stale, bgpstatuses: w.staleRoute, bgpsessionstates: w.gone, configurationstates: w.gone,
		} {
			if err := w.sweepOnce(ctx, resource, stale); err != nil && ctx.Err() == nil {
				w.Log.Debug("looking for what is stale", "resource", resource, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *Writer) sweepOnce(ctx context.Context, resource string, stale staleness) error {
	options := metav1.ListOptions{LabelSelector: names.ManagedBy + "=" + names.Porchlight, Limit: sweepPage}
	for {
		var list metav1.PartialObjectMetadataList
		raw, err := w.API.Porchlight.Get().Namespace(w.Namespace).Resource(resource).
			VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Raw()
		if err == nil {
			err = json.Unmarshal(raw, &list)
		}
		if err != nil {
			return fmt.Errorf("listing %s: %w", resource, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			key := types.NamespacedName{Namespace: o.Labels[namespaceLabel], Name: o.Labels[serviceLabel]}
			switch node := o.Labels[nodeLabel]; {
			case node == w.Node && key.Name == "": // Sessions looks after it
			case node == w.Node:
				id := serviceStatus{resource: resource, name: o.Name}.id()
				w.mu.Lock()
				if _, ok := w.wrote[id]; !ok {
					w.wrote[id] = unknown
				}
				w.mu.Unlock()
				w.queue.Add(key)
			case stale(ctx, key, node):
				if err := w.deleteStatus(ctx, resource, o.Name); err != nil {
					return err
				}
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
}

// staleness says whether what is said of a Service and a node is not so, and
// whether it is on this node to take it away.
type staleness func(ctx context.Context, service types.NamespacedName, node string) bool

// gone says whether a node surely is no more: one that this node has not heard
// of yet may be new.
func (w *Writer) gone(ctx context.Context, _ types.NamespacedName, node string) (gone bool) {
	w.View(func(s *watch.State) { gone = s.Nodes[node] == nil })
	return gone && apierrors.IsNotFound(w.API.Core.Get().Resource("nodes").Name(node).Do(ctx).Error())
}

// stale says whether a node surely does not answer for a Service, and whether
// it is on this node to say so.
func (w *Writer) stale(_ context.Context, key types.NamespacedName, node string) bool {
	verdicts, _, writer := w.verdicts(key)
	if len(verdicts) == 0 {
		lowest := false
		w.Ask(func(e *election.Election) { lowest = e.Writer() == w.Node })
		return lowest
	}
	return writer == w.Node && !slices.ContainsFunc(verdicts, func(v election.Verdict) bool { return v.Owner == node || v.Owner == "" })
}
