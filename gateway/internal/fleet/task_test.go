package fleet

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/gateway/internal/manager"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

const ns = "porchlight-system"

type world struct {
	*Task
	t      *testing.T
	events *events.FakeRecorder
}

func newWorld(t *testing.T, objects ...client.Object) world {
	c := fake.NewClientBuilder().WithScheme(manager.Scheme()).WithObjects(objects...).WithStatusSubresource(&v1beta1.EnvoyFleet{}).Build()
	log := slog.New(slog.DiscardHandler)
	keeper := &certs.Keeper{Client: c, Uncached: c, Namespace: ns, Overlap: certs.DefaultOverlap, Now: time.Now, Log: log}
	recorder := events.NewFakeRecorder(8)
	return world{New(c, keeper, Settings{Image: "envoy:1", DrainImage: "porchlight:1", XDSPort: 18000}, mailbox.New[[]Wanted](), recorder, log), t, recorder}
}

func (w world) keeps(fleets ...*Wanted) {
	w.t.Helper()
	var list []Wanted
	for _, f := range fleets {
		list = append(list, *f)
	}
	if err := w.keep(context.Background(), list, true); err != nil {
		w.t.Fatal(err)
	}
}

// has wants exactly these objects of a group, by kind.
func (w world) has(group string, want ...string) {
	w.t.Helper()
	var got []string
	for kind, o := range map[string]client.Object{
		"ConfigMap": &corev1.ConfigMap{}, "Deployment": &appsv1.Deployment{}, "DaemonSet": &appsv1.DaemonSet{},
		"HorizontalPodAutoscaler": &autoscalingv2.HorizontalPodAutoscaler{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudget{},
	} {
		if err := w.Client.Get(context.Background(), types.NamespacedName{Namespace: ns, Name: group}, o); err == nil {
			got = append(got, kind)
		}
	}
	if err := w.Client.Get(context.Background(), types.NamespacedName{Namespace: ns, Name: certs.FleetSecret(group)}, &corev1.Secret{}); err == nil {
		got = append(got, "Secret")
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("%s has %v, want %v", group, got, want)
	}
}

// A group that is not wanted any more leaves nothing, and takes nothing along.
func TestWhatIsNotWantedGoes(t *testing.T) {
	w := newWorld(t)
	shared, own := wanted("shared"), wanted("envoy-ns-web-1")
	own.Gateway = &types.NamespacedName{Namespace: "ns", Name: "web"}
	own.Fleet.Spec.Autoscaling = &v1beta1.FleetAutoscaling{MinReplicas: 1, MaxReplicas: 2, CPUUtilization: ptr(int32(80))}
	w.keeps(shared, own)
	w.has("shared", "ConfigMap", "Deployment", "PodDisruptionBudget", "Secret")
	w.has("envoy-ns-web-1", "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Secret")
	own.Fleet.Spec.Autoscaling = nil
	w.keeps(shared, own)
	w.has("envoy-ns-web-1", "ConfigMap", "Deployment", "PodDisruptionBudget", "Secret")
	w.keeps(shared)
	w.has("envoy-ns-web-1")
	w.has("shared", "ConfigMap", "Deployment", "PodDisruptionBudget", "Secret")
}

// Before it is known what is wanted, nothing goes.
func TestNothingGoesBeforeThePlan(t *testing.T) {
	w := newWorld(t)
	w.keeps(wanted("shared"))
	if err := w.keep(context.Background(), nil, false); err != nil {
		t.Fatal(err)
	}
	w.has("shared", "ConfigMap", "Deployment", "PodDisruptionBudget", "Secret")
}

// Another kind of workload serves before the one before it goes.
func TestKindChangesMakeBeforeBreak(t *testing.T) {
	w := newWorld(t)
	f := wanted("shared")
	w.keeps(f)
	f.Fleet.Spec.Kind = v1beta1.FleetDaemonSet
	w.keeps(f)
	w.has("shared", "ConfigMap", "DaemonSet", "Deployment", "Secret")
	var d appsv1.DaemonSet
	if err := w.Client.Get(context.Background(), f.Name, &d); err != nil {
		t.Fatal(err)
	}
	d.Status.DesiredNumberScheduled, d.Status.NumberReady = 3, 3
	if err := w.Client.Status().Update(context.Background(), &d); err != nil {
		t.Fatal(err)
	}
	w.keeps(f)
	w.has("shared", "ConfigMap", "DaemonSet", "Secret")
}

// The status of a dedicated EnvoyFleet sums up its Gateways' Envoys.
func TestReport(t *testing.T) {
	f := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "apart"}}
	pod := func(name, group string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name,
			Labels: map[string]string{Label: group}, Annotations: map[string]string{ServesAnnotation: ""}}}
	}
	w := newWorld(t, f, pod("a", "one"), pod("b", "two"), pod("c", "two"))
	one, two := wanted("one"), wanted("two")
	one.Fleet.Name, two.Fleet.Name = "apart", "apart"
	got := func() v1beta1.EnvoyFleetStatus {
		t.Helper()
		if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(f), f); err != nil {
			t.Fatal(err)
		}
		return f.Status
	}
	w.keeps(one, two)
	if s := got(); s.Replicas != 4 || s.ReadyReplicas != 3 || s.Conditions[0].Reason != string(reason.EnvoysNotReady) {
		t.Errorf("status %+v", s)
	}
	w.keeps(two)
	if s := got(); s.Replicas != 2 || s.ReadyReplicas != 2 || s.Conditions[0].Reason != string(reason.Ready) {
		t.Errorf("status %+v", s)
	}
}

// An EnvoyFleet whose workload the API server refuses says so, and others run.
func TestRefusedWorkload(t *testing.T) {
	bad := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bad"}}
	w := newWorld(t, bad)
	w.Client = interceptor.NewClient(w.Client.(client.WithWatch), interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if u := o.(interface {
				GetName() string
				GetKind() string
			}); u.GetName() == "bad" && u.GetKind() == "Deployment" {
				return apierrors.NewInvalid(appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind(), "bad", nil)
			}
			return c.Apply(ctx, o, opts...)
		},
	})
	if err := w.keep(context.Background(), []Wanted{*wanted("bad"), *wanted("good")}, true); !apierrors.IsInvalid(err) {
		t.Errorf("it went on with %v", err)
	}
	w.has("good", "ConfigMap", "Deployment", "PodDisruptionBudget", "Secret")
	if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(bad), bad); err != nil {
		t.Fatal(err)
	}
	if c := bad.Status.Conditions[0]; c.Reason != string(reason.EnvoysNotReady) || !strings.Contains(c.Message, `"bad" is invalid`) {
		t.Errorf("condition %+v", c)
	}
}

// An EnvoyFleet whose access log Envoy would refuse says so, whatever runs, with
// an event when that changes; others are as they were.
func TestRefusedAccessLog(t *testing.T) {
	bad := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "bad"}}
	good := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "good"}}
	w := newWorld(t, bad, good)
	one, other := wanted("bad"), wanted("good")
	one.Fleet.Spec.Replicas, other.Fleet.Spec.Replicas = ptr(int32(0)), ptr(int32(0))
	says := func(log *v1beta1.FleetAccessLog, want reason.Reason, event, message string) {
		t.Helper()
		if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(bad), bad); err != nil {
			t.Fatal(err)
		}
		bad.Spec.AccessLog = log
		if err := w.Client.Update(context.Background(), bad); err != nil {
			t.Fatal(err)
		}
		w.keeps(one, other)
		w.keeps(one, other)
		for _, o := range []*v1beta1.EnvoyFleet{bad, good} {
			if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(o), o); err != nil {
				t.Fatal(err)
			}
		}
		if c := bad.Status.Conditions[0]; c.Reason != string(want) || (c.Status == metav1.ConditionTrue) != (want == reason.Ready) || !strings.HasSuffix(c.Message, message) {
			t.Errorf("condition %+v, want %s, %q", c, want, message)
		}
		if c := good.Status.Conditions[0]; c.Reason != string(reason.Ready) {
			t.Errorf("the condition of the other one is %+v", c)
		}
		var got []string
		for len(w.events.Events) > 0 {
			got = append(got, <-w.events.Events)
		}
		if event == "" && len(got) > 0 || event != "" && (len(got) != 1 || !strings.HasPrefix(got[0], event)) {
			t.Errorf("events %q, want %q", got, event)
		}
	}
	says(nil, reason.Ready, "", "Envoys are ready.")
	says(&v1beta1.FleetAccessLog{Text: "%NO_SUCH%"}, reason.AccessLogRefused, "Warning AccessLogRefused The access log", `"%NO_SUCH%": there is no such command operator`)
	says(&v1beta1.FleetAccessLog{Text: "%REQ%"}, reason.AccessLogRefused, "Warning AccessLogRefused The access log", "REQ needs an argument")
	one.Fleet.Spec.Replicas = ptr(int32(1))
	says(&v1beta1.FleetAccessLog{Text: "%REQ%"}, reason.EnvoysNotReady, "", "REQ needs an argument")
	one.Fleet.Spec.Replicas = ptr(int32(0))
	says(&v1beta1.FleetAccessLog{Text: "%REQ(x)%"}, reason.Ready, "Normal Ready", "Envoys are ready.")
}
