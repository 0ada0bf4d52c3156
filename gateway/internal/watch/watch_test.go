package watch

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
	"github.com/porchlight-lb/porchlight/internal/names"
)

func envoy(ready bool, serves ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{fleet.Label: "f"}, Annotations: map[string]string{}}}
	started := true
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "envoy", Started: &started, Ready: true}}
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

// Two installations may have fleets of one name, and may have given one port.
func TestFleetPortsOfAnotherInstallation(t *testing.T) {
	gateways, services := map[types.NamespacedName]*gwv1.Gateway{}, map[types.NamespacedName]*corev1.Service{}
	for gateway, installation := range map[string]string{"a": "first", "b": "second"} {
		meta := metav1.ObjectMeta{Namespace: "ns", Name: gateway}
		gateways[types.NamespacedName{Namespace: "ns", Name: gateway}] = &gwv1.Gateway{ObjectMeta: meta}
		meta.Name += "-porchlight"
		meta.Labels = map[string]string{
			names.ManagedBy: names.Porchlight, gwv1.GatewayNameLabelKey: gateway,
			fleet.Label: "f", names.Prefix + "fleet-namespace": installation,
		}
		services[types.NamespacedName{Namespace: "ns", Name: meta.Name}] = &corev1.Service{
			ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(20000)}}},
		}
	}
	for n, f := range facts("second", gateways, services, nil) {
		if f.FleetPorts[80] != 20000 {
			t.Errorf("Gateway %s has fleet ports %v", n, f.FleetPorts)
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
	name := func(n string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: n} }
	f := facts("porchlight-system", map[types.NamespacedName]*gwv1.Gateway{name("a"): gateway("a"), name("b"): gateway("b")},
		map[types.NamespacedName]*corev1.Service{name("a-porchlight"): service("a", 0), name("b-porchlight"): service("b", time.Hour)}, nil)
	a, b := f[types.NamespacedName{Namespace: "ns", Name: "a"}], f[types.NamespacedName{Namespace: "ns", Name: "b"}]
	if len(a.FleetPorts) != 0 || b.FleetPorts[80] != 20000 {
		t.Errorf("a has %v, b has %v", a.FleetPorts, b.FleetPorts)
	}
}

func TestQueue(t *testing.T) {
	q := newQueue()
	touched := 0
	h := q.handler(sameSpec, func(client.Object) { touched++ })
	route := func(version string, generation int64) *gwv1.HTTPRoute {
		return &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r", ResourceVersion: version, Generation: generation}}
	}
	h.OnUpdate(route("1", 1), route("1", 1))
	if got := q.take(); len(got) != 0 || touched != 0 {
		t.Errorf("a resync is taken for an event: %v, touched %d", got, touched)
	}
	h.OnUpdate(route("1", 1), route("2", 1))
	if got := q.take(); len(got) != 0 || touched != 1 {
		t.Errorf("a status: %v, touched %d; want a touch alone", got, touched)
	}
	h.OnUpdate(route("2", 1), route("3", 2))
	h.OnUpdate(route("3", 2), route("4", 3))
	if got := q.take(); len(got) != 1 || got[0].object.GetGeneration() != 3 || !got[0].there {
		t.Errorf("two specs: %v; want the newest alone", got)
	}
	h.OnAdd(route("5", 1), false)
	h.OnDelete(toolscache.DeletedFinalStateUnknown{Obj: route("5", 1)})
	if got := q.take(); len(got) != 1 || got[0].there {
		t.Errorf("made and deleted: %v; want it gone", got)
	}
	if got := q.take(); len(got) != 0 {
		t.Errorf("taken twice: %v", got)
	}
}

// shared is a Gateway whose Service has port 80, with a route to Service s.
func shared() []change {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	g := &gwv1.Gateway{ObjectMeta: meta("web")}
	g.Spec.GatewayClassName = "porchlight"
	g.Spec.Listeners = []gwv1.Listener{{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType}}
	own := &corev1.Service{ObjectMeta: meta("web-porchlight")}
	own.Labels = map[string]string{names.ManagedBy: names.Porchlight, gwv1.GatewayNameLabelKey: "web", fleet.Label: names.DefaultFleet}
	own.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(20000)}}
	r := &gwv1.HTTPRoute{ObjectMeta: meta("r")}
	r.Spec.ParentRefs = []gwv1.ParentReference{{Name: "web"}}
	port := int32(80)
	r.Spec.Rules = []gwv1.HTTPRouteRule{{BackendRefs: []gwv1.HTTPBackendRef{{BackendRef: gwv1.BackendRef{
		BackendObjectReference: gwv1.BackendObjectReference{Name: "s", Port: &port},
	}}}}}
	return []change{
		{&v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: "porchlight-system", Name: names.DefaultFleet}}, true},
		{&gwv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "porchlight"}, Spec: gwv1.GatewayClassSpec{ControllerName: names.GatewayController}}, true},
		{g, true}, {own, true}, {r, true},
		{&corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, true},
	}
}

var theFleet = types.NamespacedName{Namespace: "porchlight-system", Name: names.DefaultFleet}

func slice(address string) change {
	port := int32(8080)
	return change{&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		Ports:      []discoveryv1.EndpointPort{{Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
	}, true}
}

// New endpoints give a new snapshot, and what was published stays as it was.
func TestEndpointsPassTranslationBy(t *testing.T) {
	w := newWorld("porchlight-system", names.GatewayController)
	w.apply(append(shared(), slice("10.0.0.1")))
	endpoints := resource.Key{Type: resource.Endpoint, Name: "ns/s/80/http"}
	before := w.sets()[theFleet]
	first, ok := before.Get(endpoints)
	if !ok {
		t.Fatalf("no endpoints among %v", before)
	}
	out := w.apply([]change{slice("10.0.0.2")})
	if !out.published || out.written || len(out.changes.Fleets) != 0 {
		t.Errorf("an endpoint: %+v; want it published and nothing else", out)
	}
	if now, _ := w.sets()[theFleet].Get(endpoints); now.Version == first.Version {
		t.Error("the snapshot has the endpoints of before")
	}
	if kept, _ := before.Get(endpoints); kept.Version != first.Version {
		t.Error("what was published has changed")
	}
	if out := w.apply([]change{slice("10.0.0.2")}); out.published {
		t.Error("the same endpoints again are published")
	}
}

// What no route names and is no Gateway's costs nothing.
func TestOthersConcernNobody(t *testing.T) {
	w := newWorld("porchlight-system", names.GatewayController)
	w.apply(shared())
	w.sets()
	other := metav1.ObjectMeta{Namespace: "ns", Name: "other"}
	for _, o := range []client.Object{
		&corev1.Service{ObjectMeta: other}, &corev1.Secret{ObjectMeta: other}, &corev1.ConfigMap{ObjectMeta: other},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}}, &gwv1.HTTPRoute{ObjectMeta: other},
	} {
		out := w.apply([]change{{o, true}})
		if out.published || out.written || len(out.changes.RouteStatuses) > 0 {
			t.Errorf("%T: %+v", o, out)
		}
	}
	out := w.apply([]change{{&corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "gone", Labels: map[string]string{names.ManagedBy: names.Porchlight},
	}}, false}})
	if !out.written {
		t.Error("a Service that we made for a Gateway that is gone does concern us")
	}
}

// A Gateway that goes takes its listener and all that its routes named with it.
func TestGatewayGoes(t *testing.T) {
	w := newWorld("porchlight-system", names.GatewayController)
	all := shared()
	w.apply(append(all, slice("10.0.0.1")))
	if n := len(w.sets()[theFleet].All()); n != 7 {
		t.Errorf("%d resources; want a listener, its two route configurations and the scopes of both, a cluster and its endpoints", n)
	}
	out := w.apply([]change{{all[2].object, false}})
	if left := w.sets()[theFleet].All(); len(left) != 0 || !out.published || !out.written {
		t.Errorf("left: %v, %+v", left, out)
	}
	if _, plan := w.wanted(); len(plan.Gateways) != 0 || len(plan.Fleets) != 1 {
		t.Errorf("wanted: %+v; want the shared fleet alone", plan)
	}
}

func TestTheLoopWaitsForWhatLapses(t *testing.T) {
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		lapse time.Time
		want  time.Duration
	}{
		{time.Time{}, lookEvery},
		{now.Add(time.Minute), time.Minute},
		{now.AddDate(5000, 0, 0), lookEvery},
		{now.Add(-time.Second), -time.Second},
	} {
		if got := until(c.lapse, now); got != c.want {
			t.Errorf("for what lapses at %v it waits %v, want %v", c.lapse, got, c.want)
		}
	}
}

// The metrics have the certificates that are in use, and no others.
func TestCertificatesAreCounted(t *testing.T) {
	name := func(n string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: n} }
	shown := func(gateway string, listeners ...string) ingest.GatewayCertificates {
		g := ingest.GatewayCertificates{Name: name(gateway)}
		for _, l := range listeners {
			g.Listeners = append(g.Listeners, ingest.ListenerCertificate{Listener: l, Secret: name("c"), NotBefore: time.Unix(1000, 0), NotAfter: time.Unix(2000, 0)})
		}
		return g
	}
	// ends has when each certificate ends, by listener and Gateway.
	ends := func() map[string]float64 {
		families, err := metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			if f.GetName() != "porchlight_gateway_certificate_not_after_timestamp_seconds" {
				continue
			}
			for _, m := range f.GetMetric() {
				out[m.GetLabel()[1].GetValue()+" of "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
		return out
	}
	series := func(want map[string]float64, c ingest.Changes) {
		t.Helper()
		observeCertificates(&c)
		if got := ends(); !maps.Equal(got, want) {
			t.Errorf("the metrics have %v, want %v", got, want)
		}
	}
	changed := func(after ...ingest.GatewayCertificates) ingest.Changes {
		return ingest.Changes{Output: ingest.Output{Certificates: after}}
	}
	series(map[string]float64{"x of ns/a": 2000, "y of ns/a": 2000, "x of ns/b": 2000}, changed(shown("a", "x", "y"), shown("b", "x")))
	series(map[string]float64{"y of ns/a": 2000, "x of ns/b": 2000}, changed(shown("a", "y")))
	series(map[string]float64{"y of ns/a": 2000}, changed(shown("b")))
	series(map[string]float64{}, ingest.Changes{Gone: []types.NamespacedName{name("a")}})
}

// So are the CA certificates that Gateways and policies name.
func TestAuthoritiesAreCounted(t *testing.T) {
	name := types.NamespacedName{Namespace: "ns", Name: "a"}
	ends := func(listener string, at ...int64) (out []ingest.AuthorityCertificate) {
		for i, end := range at {
			out = append(out, ingest.AuthorityCertificate{
				Listener: listener, ConfigMap: types.NamespacedName{Namespace: "ns", Name: "ca"},
				End: []ingest.CertificateEnd{ingest.LastEnd, ingest.FirstEnd}[i], NotBefore: time.Unix(10, 0), NotAfter: time.Unix(end, 0),
			})
		}
		return out
	}
	series := func(want map[string]float64, c ingest.Changes) {
		t.Helper()
		observeCertificates(&c)
		families, err := metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for suffix, value := range map[string]func(float64) float64{"after": func(v float64) float64 { return v }, "before": func(float64) float64 { return 10 }} {
			got, wanted := map[string]float64{}, map[string]float64{}
			for k, v := range want {
				wanted[k] = value(v)
			}
			for _, f := range families {
				if f.GetName() != "porchlight_gateway_ca_certificate_not_"+suffix+"_timestamp_seconds" {
					continue
				}
				for _, m := range f.GetMetric() {
					var labels []string
					for _, l := range m.GetLabel() {
						labels = append(labels, l.GetValue())
					}
					got[strings.Join(labels, ",")] = m.GetGauge().GetValue()
				}
			}
			if !maps.Equal(got, wanted) {
				t.Errorf("not %s is %v, want %v", suffix, got, wanted)
			}
		}
	}
	policy := func(a []ingest.AuthorityCertificate) ingest.Changes {
		return ingest.Changes{Output: ingest.Output{PolicyStatuses: []ingest.PolicyStatus{{Name: name, Authorities: a}}}}
	}
	series(map[string]float64{"ns/ca,last,https,Gateway ns/a": 20}, ingest.Changes{Output: ingest.Output{
		Certificates: []ingest.GatewayCertificates{{Name: name, Authorities: ends("https", 20)}},
	}})
	series(map[string]float64{
		"ns/ca,last,https,Gateway ns/a": 20, "ns/ca,last,,BackendTLSPolicy ns/a": 40, "ns/ca,first,,BackendTLSPolicy ns/a": 30,
	}, policy(ends("", 40, 30)))
	series(map[string]float64{"ns/ca,last,https,Gateway ns/a": 20, "ns/ca,last,,BackendTLSPolicy ns/a": 50}, policy(ends("", 50)))
	series(map[string]float64{"ns/ca,last,,BackendTLSPolicy ns/a": 50}, ingest.Changes{Gone: []types.NamespacedName{name}})
	series(map[string]float64{}, policy(nil))
}

// That a Gateway's Service is refused comes to be known without an object that
// changes, and is said while it is so.
func TestRefusedServiceIsSaid(t *testing.T) {
	w := newWorld("porchlight-system", names.GatewayController)
	g := types.NamespacedName{Namespace: "ns", Name: "web"}
	w.apply(shared())
	programmed := func() string {
		for _, s := range w.apply(nil).changes.GatewayStatuses {
			for _, c := range s.Status.Conditions {
				if s.Name == g && c.Type == string(gwv1.GatewayConditionProgrammed) {
					return c.Reason
				}
			}
		}
		return "nothing new"
	}
	for _, step := range []struct {
		refused map[types.NamespacedName]string
		want    string
	}{
		{map[types.NamespacedName]string{g: "a label is none"}, "ServiceRefused"},
		{map[types.NamespacedName]string{g: "a label is none", {Namespace: "ns", Name: "gone"}: "x"}, "nothing new"},
		{nil, "AddressNotAssigned"},
	} {
		w.refuse(step.refused)
		if got := programmed(); got != step.want {
			t.Errorf("with %v: %s, want %s", step.refused, got, step.want)
		}
	}
}
