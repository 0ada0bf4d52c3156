package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// count is of Envoys: how many there should be, and how many are ready.
type count struct{ wanted, ready int32 }

// report writes the statuses of the EnvoyFleets where they have changed. That
// of a dedicated one sums up the Envoys of all its Gateways. One that the API
// server refuses to have run as it says is not ready, whatever runs, and neither
// is one with an access log that Envoy would refuse.
func (t *Task) report(ctx context.Context, fleets []Wanted, refused map[string]error) error {
	counts := map[string]count{}
	for i := range fleets {
		w := &fleets[i]
		c, err := t.count(ctx, w)
		if err != nil {
			return err
		}
		sum := counts[w.Fleet.Name]
		counts[w.Fleet.Name] = count{sum.wanted + c.wanted, sum.ready + c.ready}
	}
	var list v1beta1.EnvoyFleetList
	if err := t.Client.List(ctx, &list, client.InNamespace(t.Keeper.Namespace)); err != nil {
		return fmt.Errorf("listing the EnvoyFleets: %w", err)
	}
	var errs []error
	for i := range list.Items {
		name := list.Items[i].Name
		errs = append(errs, t.write(ctx, &list.Items[i], counts[name], refused[name]))
	}
	return errors.Join(errs...)
}

func (t *Task) count(ctx context.Context, w *Wanted) (count, error) {
	var c count
	var err error
	if w.Fleet.Spec.Kind == v1beta1.FleetDaemonSet {
		var d appsv1.DaemonSet
		err = t.Client.Get(ctx, w.Name, &d)
		c.wanted = d.Status.DesiredNumberScheduled
	} else {
		var d appsv1.Deployment
		if err = t.Client.Get(ctx, w.Name, &d); err == nil && d.Spec.Replicas != nil {
			c.wanted = *d.Spec.Replicas
		}
	}
	if client.IgnoreNotFound(err) != nil { // its creation comes as an event
		return c, fmt.Errorf("reading the workload of fleet %s: %w", w.Name.Name, err)
	}
	var pods corev1.PodList
	if err := t.Client.List(ctx, &pods, client.InNamespace(w.Name.Namespace), client.MatchingLabels{Label: w.Name.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return c, fmt.Errorf("listing the pods of fleet %s: %w", w.Name.Name, err)
	}
	for i := range pods.Items {
		if Ready(&pods.Items[i]) {
			c.ready++
		}
	}
	return c, nil
}

// logRefused begins what a condition says about an access log.
const logRefused = " The access log is not written as the spec says: "

// aboutLog returns what a condition with this message says about the access log.
func aboutLog(message string) string {
	_, about, _ := strings.Cut(message, logRefused)
	return about
}

// tell makes an event of what is said about the access log, where that is not
// what was said before.
func (t *Task) tell(f *v1beta1.EnvoyFleet, was, is string) {
	switch {
	case was == is:
	case is != "":
		t.Events.Eventf(f, nil, corev1.EventTypeWarning, string(reason.AccessLogRefused), "Configure", "%.1000s", strings.TrimSpace(logRefused)+" "+is)
	default:
		t.Events.Eventf(f, nil, corev1.EventTypeNormal, string(reason.Ready), "Configure", "The access log is written as the spec says.")
	}
}

func (t *Task) write(ctx context.Context, f *v1beta1.EnvoyFleet, n count, refused error) error {
	updated := f.DeepCopy()
	updated.Status.Replicas, updated.Status.ReadyReplicas = n.wanted, n.ready
	c := metav1.Condition{
		Type: string(reason.Ready), Status: metav1.ConditionTrue, Reason: string(reason.Ready),
		ObservedGeneration: f.Generation, LastTransitionTime: metav1.NewTime(t.Now()),
		Message: fmt.Sprintf("%d of %d Envoys are ready.", n.ready, n.wanted),
	}
	if n.ready < n.wanted || refused != nil {
		c.Status, c.Reason = metav1.ConditionFalse, string(reason.EnvoysNotReady)
	}
	if refused != nil {
		c.Message += " They cannot be run as the spec says: " + refused.Error()
	}
	if err := ingest.CheckAccessLog(f.Spec.AccessLog); err != nil {
		if c.Status == metav1.ConditionTrue {
			c.Status, c.Reason = metav1.ConditionFalse, string(reason.AccessLogRefused)
		}
		c.Message += logRefused + err.Error()
	}
	was := ""
	if before := meta.FindStatusCondition(f.Status.Conditions, c.Type); before != nil {
		was = aboutLog(before.Message)
	}
	meta.SetStatusCondition(&updated.Status.Conditions, c)
	if equality.Semantic.DeepEqual(f.Status, updated.Status) {
		return nil
	}
	if err := t.Client.Status().Update(ctx, updated); err != nil {
		return fmt.Errorf("writing the status of EnvoyFleet %s: %w", f.Name, err)
	}
	t.tell(f, was, aboutLog(c.Message))
	return nil
}
