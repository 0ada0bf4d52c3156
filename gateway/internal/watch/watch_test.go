package watch

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
	"github.com/porchlight-lb/porchlight/internal/names"
)

func envoy(ready bool, serves ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{fleet.Label: "f"}, Annotations: map[string]string{}}}
	started := true
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "envoy", Started: &started}}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	for _, s := range serves {
		p.Annotations["porchlight.dev/serves"] = s
	}
	return p
}

func TestServedByAllThatAreReady(t *testing.T) {
	const l = "ns/web/80"
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		want bool
	}{
		"no Envoy":                      {nil, false},
		"one serves":                    {[]*corev1.Pod{envoy(true, "ns/a/80,"+l)}, true},
		"one of two does not":           {[]*corev1.Pod{envoy(true, l), envoy(true, "")}, false},
		"the other is not ready":        {[]*corev1.Pod{envoy(true, l), envoy(false, "")}, true},
		"the other has not said":        {[]*corev1.Pod{envoy(true, l), envoy(true)}, true},
		"the one that serves is not up": {[]*corev1.Pod{envoy(false, l)}, false},
	} {
		if got := served(c.pods)("f", l); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestOneFleetPortIsTheOlderServices(t *testing.T) {
	service := func(gateway string, age time.Duration) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "ns", Name: gateway + "-porchlight", CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age)),
				Labels: map[string]string{names.ManagedBy: names.Porchlight, gwv1.GatewayNameLabelKey: gateway, fleet.Label: "f"},
			},
			Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(20000)}}},
		}
	}
	gateway := func(name string) *gwv1.Gateway {
		return &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	}
	f := facts(ingest.Input{
		Gateways: []*gwv1.Gateway{gateway("a"), gateway("b")},
		Services: []*corev1.Service{service("a", 0), service("b", time.Hour)},
	}, nil)
	a, b := f[types.NamespacedName{Namespace: "ns", Name: "a"}], f[types.NamespacedName{Namespace: "ns", Name: "b"}]
	if len(a.FleetPorts) != 0 || b.FleetPorts[80] != 20000 {
		t.Errorf("a has %v, b has %v", a.FleetPorts, b.FleetPorts)
	}
}

func TestMarks(t *testing.T) {
	m := newMarks()
	h := m.marking(translates, sameSpec)
	route := func(version string, generation int64) *gwv1.HTTPRoute {
		return &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, Generation: generation}}
	}
	h.OnUpdate(route("1", 1), route("1", 1))
	if got := m.take(); got.any {
		t.Error("a resync is taken for an event")
	}
	h.OnUpdate(route("1", 1), route("2", 1))
	if got := m.take(); !got.any || got.effect != writes {
		t.Errorf("a status: %+v", got)
	}
	h.OnUpdate(route("2", 1), route("3", 2))
	m.markingEndpoints().OnAdd(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}}}, false)
	m.add(writes)
	got := m.take()
	if _, ok := got.endpoints[types.NamespacedName{Namespace: "ns", Name: "s"}]; !ok || got.effect != translates {
		t.Errorf("a spec, a slice and a status: %+v", got)
	}
	if got := m.take(); got.any || len(got.endpoints) > 0 {
		t.Errorf("taken twice: %+v", got)
	}
}

// TestRefresh: new endpoints give a new snapshot, and what was published stays
// as it was.
func TestRefresh(t *testing.T) {
	name := types.NamespacedName{Namespace: "porchlight-system", Name: "f"}
	cluster := ir.Cluster{Service: types.NamespacedName{Namespace: "ns", Name: "s"}, Port: 80, Protocol: ir.HTTP1}
	other := resource.Resource{Key: resource.Key{Type: resource.Endpoint, Name: "other"}, Version: "1"}
	set := resource.Set{}
	set.Put(other)
	l := New()
	l.last = &translation{clusters: map[types.NamespacedName][]ir.Cluster{name: {cluster}}, sets: map[types.NamespacedName]resource.Set{name: set}}
	port := int32(8080)
	o := &objects{endpoints: map[types.NamespacedName][]*discoveryv1.EndpointSlice{cluster.Service: {{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		Ports:      []discoveryv1.EndpointPort{{Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
	}}}}
	got := l.refresh(o, map[types.NamespacedName]struct{}{cluster.Service: {}}).sets[name]
	if _, ok := got.Get(resource.Key{Type: resource.Endpoint, Name: cluster.Name()}); !ok {
		t.Error("the endpoints are not in the new snapshot")
	}
	if _, ok := got.Get(other.Key); !ok || len(set[resource.Endpoint]) != 1 {
		t.Error("other endpoints are touched")
	}
}

// A Service that no route names and that is no Gateway's costs nothing.
func TestOnlyServicesOfRoutesAndGatewaysConcernUs(t *testing.T) {
	name := func(n string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: n} }
	ref := func(n gwv1.ObjectName) gwv1.BackendObjectReference { return gwv1.BackendObjectReference{Name: n} }
	route := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}
	route.Spec.Rules = []gwv1.HTTPRouteRule{{
		BackendRefs: []gwv1.HTTPBackendRef{{BackendRef: gwv1.BackendRef{BackendObjectReference: ref("backend")}}},
		Filters:     []gwv1.HTTPRouteFilter{{RequestMirror: &gwv1.HTTPRequestMirrorFilter{BackendRef: ref("mirror")}}},
	}}
	about := concerned(ingest.Input{
		Gateways:   []*gwv1.Gateway{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}}},
		HTTPRoutes: []*gwv1.HTTPRoute{route},
	})
	for service, concerns := range map[string]bool{"backend": true, "mirror": true, "web-porchlight": true, "other": false} {
		m := newMarks()
		m.markingServices().OnAdd(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: service}}, false)
		if got := m.take().among(about); (got.any && got.effect == translates) != concerns {
			t.Errorf("service %s: translates %v, want %v", service, !concerns, concerns)
		}
		m.addEndpoints(name(service))
		if got := m.take().among(about); (len(got.endpoints) == 1) != concerns {
			t.Errorf("endpoints of %s: %v, want %v", service, !concerns, concerns)
		}
	}
	m := newMarks()
	m.markingServices().OnDelete(&corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "gone", Labels: map[string]string{names.ManagedBy: names.Porchlight},
	}})
	if got := m.take().among(about); !got.any {
		t.Error("a Service that we made for a Gateway that is gone does concern us")
	}
}
