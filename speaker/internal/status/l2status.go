package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

const (
	l2statuses = "servicel2statuses"
	// sweepEvery is how often ServiceL2Statuses are looked for that nobody
	// took away: of a node that died while its Service was deleted.
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
	name := statusName(key, w.Node)
	w.mu.Lock()
	said, wrote := w.wrote[name]
	w.mu.Unlock()
	if len(interfaces) == 0 {
		if !wrote {
			return nil
		}
		if err := w.pace.wait(ctx); err != nil {
			return err
		}
		if err := w.deleteL2Status(ctx, name); err != nil {
			return err
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
	h := fnv.New64a()
	_, _ = h.Write(patch)
	if wrote && said == h.Sum64() {
		return nil
	}
	w.setWrote(name, unknown)
	if err := w.pace.wait(ctx); err != nil {
		return err
	}
	if !wrote {
		object := &v1beta1.ServiceL2Status{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: name,
			Labels: map[string]string{
				names.ManagedBy: names.Porchlight, nodeLabel: w.Node, serviceLabel: key.Name, namespaceLabel: key.Namespace,
			},
		}}
		err := w.API.Porchlight.Post().Namespace(w.Namespace).Resource(l2statuses).Body(object).Do(ctx).Error()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating ServiceL2Status %s: %w", name, err)
		}
	}
	err = w.API.Porchlight.Patch(types.MergePatchType).Namespace(w.Namespace).Resource(l2statuses).Name(name).
		SubResource("status").Body(patch).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		w.mu.Lock()
		delete(w.wrote, name) // to be created at the next try
		w.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("writing ServiceL2Status %s: %w", name, err)
	}
	w.setWrote(name, h.Sum64())
	return nil
}

func (w *Writer) setWrote(name string, digest uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote[name] = digest
}

func (w *Writer) deleteL2Status(ctx context.Context, name string) error {
	err := w.API.Porchlight.Delete().Namespace(w.Namespace).Resource(l2statuses).Name(name).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting ServiceL2Status %s: %w", name, err)
	}
	return nil
}

// sweep deletes the ServiceL2Statuses that say what is not so: each node its
// own, the others' whoever may write about the Service now.
func (w *Writer) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := w.sweepOnce(ctx); err != nil && ctx.Err() == nil {
			w.Log.Debug("looking for stale ServiceL2Statuses", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *Writer) sweepOnce(ctx context.Context) error {
	options := metav1.ListOptions{LabelSelector: names.ManagedBy + "=" + names.Porchlight, Limit: sweepPage}
	for {
		var list v1beta1.ServiceL2StatusList
		err := w.API.Porchlight.Get().Namespace(w.Namespace).Resource(l2statuses).
			VersionedParams(&options, metav1.ParameterCodec).Do(ctx).Into(&list)
		if err != nil {
			return fmt.Errorf("listing ServiceL2Statuses: %w", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			key := types.NamespacedName{Namespace: o.Labels[namespaceLabel], Name: o.Labels[serviceLabel]}
			switch node := o.Labels[nodeLabel]; {
			case node == w.Node:
				w.mu.Lock()
				if _, ok := w.wrote[o.Name]; !ok {
					w.wrote[o.Name] = unknown
				}
				w.mu.Unlock()
				w.queue.Add(key)
			case w.stale(key, node):
				if err := w.deleteL2Status(ctx, o.Name); err != nil {
					return err
				}
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
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
