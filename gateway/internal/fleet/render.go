// Package fleet runs groups of Envoys: it renders their workload and what
// belongs to it as an EnvoyFleet describes it, keeps those applied, deletes
// what no Gateway wants any more, and reports on the EnvoyFleet how many
// Envoys are ready.
package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Label is on everything of a group of Envoys, with the group's name.
const Label = names.Prefix + "fleet"

// Settings of the installation.
type Settings struct {
	// Image of fleets that name none.
	Image string
	// DrainImage has the program that drains an Envoy: the installation's own.
	DrainImage string
	// PullSecrets of both, by name.
	PullSecrets []string
	// XDSPort of the gateway's Service.
	XDSPort int
}

// Wanted is a group of Envoys to run.
type Wanted struct {
	ingest.FleetPlan
	// Fleet has its shape.
	Fleet *v1beta1.EnvoyFleet
}

// drainTime is how long its Envoys drain.
func (w *Wanted) drainTime() time.Duration {
	if t := w.Fleet.Spec.DrainTime; t != nil {
		return t.Duration
	}
	return v1beta1.DefaultDrainTime
}

// Objects renders what runs the group, all of the group's name: a ConfigMap,
// then what scales and guards a Deployment, and last the workload. Replicas is
// the number of Envoys that it has now, and is kept where the cluster decides
// it; zero: there is none yet.
func Objects(w *Wanted, s Settings, replicas int32) ([]client.Object, error) {
	files, err := Files(PlaceOf(w.Name, s.XDSPort))
	if err != nil {
		return nil, err
	}
	meta := objectMeta(w)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{Label: w.Name.Name}}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: meta.Labels,
			Annotations: union(w.Annotations, map[string]string{
				names.Prefix + "config": digest(files),
				"prometheus.io/scrape":  "true",
				"prometheus.io/port":    "19001",
				"prometheus.io/path":    "/stats/prometheus",
			}),
		},
		Spec: podSpec(w, s, selector),
	}
	out := []client.Object{&corev1.ConfigMap{ObjectMeta: *meta.DeepCopy(), Data: files}}
	if w.Fleet.Spec.Kind == v1beta1.FleetDaemonSet {
		return append(out, daemonSet(meta, selector, template)), nil
	}
	if a := w.Fleet.Spec.Autoscaling; a != nil {
		out = append(out, autoscaler(w, meta, a))
	}
	// The pods of a DaemonSet stay on their node: nothing evicts them.
	one, always := intstr.FromInt32(1), policyv1.AlwaysAllow
	out = append(out, &policyv1.PodDisruptionBudget{
		ObjectMeta: *meta.DeepCopy(),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &one, Selector: selector,
			// An Envoy that is not ready serves nobody.
			UnhealthyPodEvictionPolicy: &always,
		},
	})
	return append(out, deployment(w, meta, selector, template, replicas)), nil
}

// objectMeta is the metadata of everything of the group. What the Gateway's
// author asks for gives way to what the gateway relies on.
func objectMeta(w *Wanted) metav1.ObjectMeta {
	labels := union(w.Labels, map[string]string{
		names.ManagedBy: names.Porchlight, Label: w.Name.Name, "app.kubernetes.io/name": "envoy",
	})
	if validation.IsValidLabelValue(labels[gwv1.GatewayNameLabelKey]) != nil {
		delete(labels, gwv1.GatewayNameLabelKey) // it is too long; its digest is in the name
	}
	return metav1.ObjectMeta{
		Namespace:       w.Name.Namespace,
		Name:            w.Name.Name,
		Labels:          labels,
		Annotations:     maps.Clone(w.Annotations),
		OwnerReferences: []metav1.OwnerReference{w.owner()},
	}
}

func (w *Wanted) owner() metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1beta1.GroupVersion.String(), Kind: "EnvoyFleet", Name: w.Fleet.Name, UID: w.Fleet.UID,
		Controller: ptr(true),
	}
}

func deployment(w *Wanted, meta metav1.ObjectMeta, selector *metav1.LabelSelector, template corev1.PodTemplateSpec, replicas int32) *appsv1.Deployment {
	surge, unavailable := intstr.FromInt32(1), intstr.FromInt32(0)
	return &appsv1.Deployment{
		ObjectMeta: *meta.DeepCopy(),
		Spec: appsv1.DeploymentSpec{
			Replicas:             ptr(wantedReplicas(w, replicas)),
			RevisionHistoryLimit: ptr(int32(2)),
			Selector:             selector,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
			Template: template,
		},
	}
}

// wantedReplicas is the number of Envoys of a Deployment that has so many now.
func wantedReplicas(w *Wanted, now int32) int32 {
	switch a := w.Fleet.Spec.Autoscaling; {
	case a != nil:
		return min(max(now, a.MinReplicas), a.MaxReplicas)
	case w.Fleet.Spec.Replicas != nil:
		return *w.Fleet.Spec.Replicas
	default:
		return v1beta1.DefaultFleetReplicas
	}
}

// daemonSet replaces its pods make before break, as a Deployment does: Envoys
// bind ports of their pod, not of the node.
func daemonSet(meta metav1.ObjectMeta, selector *metav1.LabelSelector, template corev1.PodTemplateSpec) *appsv1.DaemonSet {
	surge, unavailable := intstr.FromInt32(1), intstr.FromInt32(0)
	return &appsv1.DaemonSet{
		ObjectMeta: *meta.DeepCopy(),
		Spec: appsv1.DaemonSetSpec{
			RevisionHistoryLimit: ptr(int32(2)),
			Selector:             selector,
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
			Template: template,
		},
	}
}

// autoscaler looks at the Envoys' containers alone: what drains them is idle.
func autoscaler(w *Wanted, meta metav1.ObjectMeta, a *v1beta1.FleetAutoscaling) *autoscalingv2.HorizontalPodAutoscaler {
	h := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: *meta.DeepCopy(),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: w.Name.Name,
			},
			MinReplicas: ptr(a.MinReplicas),
			MaxReplicas: a.MaxReplicas,
		},
	}
	for _, m := range []struct {
		resource corev1.ResourceName
		target   *int32
	}{{corev1.ResourceCPU, a.CPUUtilization}, {corev1.ResourceMemory, a.MemoryUtilization}} {
		if m.target == nil {
			continue
		}
		h.Spec.Metrics = append(h.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ContainerResourceMetricSourceType,
			ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
				Name: m.resource, Container: envoyContainer,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: m.target},
			},
		})
	}
	return h
}

// digest makes the pods new when Envoy's configuration files are.
func digest(files map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString(name + "\x00" + files[name] + "\x00")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

// union returns the entries of both, those of over where both have one.
func union(under, over map[string]string) map[string]string {
	out := make(map[string]string, len(under)+len(over))
	maps.Copy(out, under)
	maps.Copy(out, over)
	return out
}

func ptr[T any](v T) *T { return &v }
