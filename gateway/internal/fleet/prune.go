package fleet

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
)

// objects belong to one group of Envoys. Nil: it is not known what does.
type objects []client.Object

func (o objects) have(kind client.Object) bool {
	for _, x := range o {
		if reflect.TypeOf(x) == reflect.TypeOf(kind) {
			return true
		}
	}
	return false
}

// prune deletes what belongs to no group that is wanted, or not any more to
// one that is. The ConfigMap of a group goes last: by it what is left of the
// group is found again after a failure.
func (t *Task) prune(ctx context.Context, kept map[string]objects) error {
	var errs []error
	held := map[string]bool{} // groups of which something else is left
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &autoscalingv2.HorizontalPodAutoscalerList{},
		&policyv1.PodDisruptionBudgetList{}, &corev1.ConfigMapList{},
	} {
		found, err := t.ours(ctx, list)
		if err != nil {
			return err
		}
		for _, o := range found {
			group := o.GetLabels()[Label]
			rendered, wanted := kept[group]
			if wanted && (rendered == nil || rendered.have(o)) || o.GetDeletionTimestamp() != nil {
				continue
			}
			if replaced, err := t.replaced(ctx, o, rendered); err != nil || !replaced {
				errs = append(errs, err)
				continue
			}
			if isKind[*corev1.ConfigMap](o) {
				if held[group] {
					continue
				}
				secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: certs.FleetSecret(group)}}
				if err := t.delete(ctx, secret); err != nil {
					errs = append(errs, err)
					continue
				}
			}
			if err := t.delete(ctx, o); err != nil {
				errs, held[group] = append(errs, err), true
			}
		}
	}
	return errors.Join(errs...)
}

// replaced says that a workload that is not wanted any more is not needed
// either: it has no successor of another kind, or that is ready.
func (t *Task) replaced(ctx context.Context, o client.Object, rendered objects) (bool, error) {
	key := client.ObjectKeyFromObject(o)
	switch {
	case isKind[*appsv1.Deployment](o) && rendered.have(&appsv1.DaemonSet{}):
		var d appsv1.DaemonSet
		err := t.Client.Get(ctx, key, &d)
		return d.Status.NumberReady > 0 && d.Status.NumberReady >= d.Status.DesiredNumberScheduled, client.IgnoreNotFound(err)
	case isKind[*appsv1.DaemonSet](o) && rendered.have(&appsv1.Deployment{}):
		var d appsv1.Deployment
		err := t.Client.Get(ctx, key, &d)
		return d.Spec.Replicas != nil && d.Status.ReadyReplicas >= *d.Spec.Replicas, client.IgnoreNotFound(err)
	}
	return true, nil
}

func isKind[T client.Object](o client.Object) bool {
	_, ok := o.(T)
	return ok
}

func (t *Task) delete(ctx context.Context, o client.Object) error {
	err := t.Client.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("deleting %T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
	}
	if err == nil {
		t.Log.Info("fleet object deleted", "object", fmt.Sprintf("%T", o), "name", o.GetName())
	}
	return nil
}

// ours lists what carries the label of a group.
func (t *Task) ours(ctx context.Context, list client.ObjectList) ([]client.Object, error) {
	if err := t.Client.List(ctx, list, client.InNamespace(t.Keeper.Namespace), client.HasLabels{Label}); err != nil {
		return nil, fmt.Errorf("listing what fleets consist of: %w", err)
	}
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	var out []client.Object
	for i := range items.Len() {
		if o, ok := items.Index(i).Addr().Interface().(client.Object); ok {
			out = append(out, o)
		}
	}
	return out, nil
}
