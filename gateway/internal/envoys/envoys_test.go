package envoys

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

var edge = types.NamespacedName{Namespace: "ns", Name: "edge"}

func TestServesIsOnThePod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{fleet.Label: "edge"}}}
	c := fake.NewClientBuilder().WithObjects(pod).Build()
	task := New(c, "ns", events.NewFakeRecorder(8), slog.New(slog.DiscardHandler))
	got := func() ([]string, bool) {
		var p corev1.Pod
		if err := c.Get(context.Background(), client.ObjectKeyFromObject(pod), &p); err != nil {
			t.Fatal(err)
		}
		return fleet.Serves(&p)
	}
	if _, known := got(); known {
		t.Error("known before the Envoy has said anything")
	}
	// Of another fleet, and of no pod.
	task.Serves(types.NamespacedName{Namespace: "ns", Name: "other"}, "p", []string{"x"})
	task.Serves(edge, "nobody", []string{"x"})
	if !task.write(context.Background()) {
		t.Error("not written")
	}
	if _, known := got(); known {
		t.Error("an Envoy of another fleet speaks for the pod")
	}
	for _, listeners := range [][]string{{"ns/a/80", "ns/b/80"}, {}} {
		task.Serves(edge, "p", listeners)
		if !task.write(context.Background()) {
			t.Error("not written")
		}
		if l, known := got(); !known || !slices.Equal(l, listeners) {
			t.Errorf("serves %v, %v; want %v", l, known, listeners)
		}
	}
}

func TestRefusalIsOneEventOnItsObject(t *testing.T) {
	recorder := events.NewFakeRecorder(8)
	task := New(fake.NewClientBuilder().Build(), "ns", recorder, slog.New(slog.DiscardHandler))
	r := ads.Refusal{Key: resource.Key{Type: resource.Route, Name: "ns/web/80"}, Version: "1", Detail: "too bad"}
	task.Refused(edge, "p", r)
	task.Refused(edge, "q", r)
	r.Version = "2"
	task.Refused(edge, "p", r)
	task.Refused(types.NamespacedName{Namespace: "ns", Name: "other"}, "r", r)
	if n := len(recorder.Events); n != 3 {
		t.Errorf("%d events, want one for each version and fleet", n)
	}
	if e := <-recorder.Events; !strings.Contains(e, "ConfigurationRefused") || !strings.Contains(e, "too bad") {
		t.Errorf("event %q", e)
	}
	for k, want := range map[resource.Key]string{
		{Type: resource.Listener, Name: "a/b/80"}:       "Gateway a/b",
		{Type: resource.Route, Name: "a/b/443/host"}:    "Gateway a/b",
		{Type: resource.Secret, Name: "a/b"}:            "Secret a/b",
		{Type: resource.Cluster, Name: "a/b/8080/http"}: "Service a/b",
		{Type: resource.Cluster, Name: "odd"}:           "EnvoyFleet ns/edge",

		{Type: resource.Secret, Name: ir.SystemAuthorities().Name()}: "EnvoyFleet ns/edge",
	} {
		o := regarding(edge, k)
		if got := o.GetObjectKind().GroupVersionKind().Kind + " " + o.GetNamespace() + "/" + o.GetName(); got != want {
			t.Errorf("%v is about %s, want %s", k, got, want)
		}
	}
}

// What an EnvoyFleet wants to be logged is in each of its listeners: it hears
// of that once, by its own name, and each Gateway hears that it is not served.
func TestRefusalOfListenersIsOnTheFleet(t *testing.T) {
	ofGroup := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "envoy-ns-web-1",
		OwnerReferences: []metav1.OwnerReference{{Kind: "EnvoyFleet", Name: "apart"}}}}
	recorder := &regarded{}
	task := New(fake.NewClientBuilder().WithObjects(ofGroup).Build(), "ns", recorder, slog.New(slog.DiscardHandler))
	group := types.NamespacedName{Namespace: "ns", Name: "envoy-ns-web-1"}
	for _, name := range []string{"ns/web/80", "ns/web/81"} {
		for _, version := range []string{"1", "2"} {
			task.Refused(group, "p", ads.Refusal{Key: resource.Key{Type: resource.Listener, Name: name}, Version: version, Detail: "no such command"})
		}
	}
	want := []string{"Gateway ns/web", "EnvoyFleet ns/apart", "Gateway ns/web", "Gateway ns/web", "Gateway ns/web"}
	if !slices.Equal(recorder.objects, want) {
		t.Errorf("events on %v, want %v", recorder.objects, want)
	}
}

// regarded notes what events are about.
type regarded struct{ objects []string }

func (r *regarded) Eventf(about, _ runtime.Object, _, _, _, _ string, _ ...any) {
	o := about.(client.Object)
	r.objects = append(r.objects, o.GetObjectKind().GroupVersionKind().Kind+" "+o.GetNamespace()+"/"+o.GetName())
}
