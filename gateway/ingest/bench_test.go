package ingest_test

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

// crowd is a Gateway with n routes of two rules each, every route with a host
// of its own.
func crowd(n int) ingest.Input {
	in := ingest.Input{
		Namespace: "porchlight-system",
		Fleets:    []*v1beta1.EnvoyFleet{{ObjectMeta: metav1.ObjectMeta{Name: "porchlight-envoy", Namespace: "porchlight-system"}}},
		GatewayClasses: []*gwv1.GatewayClass{{
			ObjectMeta: metav1.ObjectMeta{Name: "porchlight"},
			Spec:       gwv1.GatewayClassSpec{ControllerName: "porchlight.dev/gateway"},
		}},
		Gateways: []*gwv1.Gateway{{
			ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: "infra"},
			Spec: gwv1.GatewaySpec{
				GatewayClassName: "porchlight",
				Listeners:        []gwv1.Listener{{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType}},
			},
		}},
		Services: []*corev1.Service{{
			ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "infra"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}},
		Facts: map[types.NamespacedName]ingest.Facts{{Namespace: "infra", Name: "gw"}: {
			Addresses:  []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			FleetPorts: map[int32]int32{80: 10000},
		}},
	}
	for i := range n {
		r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("r%d", i), Namespace: "infra"}}
		r.Spec.ParentRefs = []gwv1.ParentReference{{Name: "gw"}}
		r.Spec.Hostnames = []gwv1.Hostname{gwv1.Hostname(fmt.Sprintf("h%d.example.com", i))}
		for _, backend := range []gwv1.ObjectName{"s", "missing"} {
			r.Spec.Rules = append(r.Spec.Rules, gwv1.HTTPRouteRule{
				Matches: []gwv1.HTTPRouteMatch{{Path: &gwv1.HTTPPathMatch{Value: ptr("/" + string(backend))}}},
				BackendRefs: []gwv1.HTTPBackendRef{{BackendRef: gwv1.BackendRef{
					BackendObjectReference: gwv1.BackendObjectReference{Name: backend, Port: ptr(int32(80))},
				}}},
			})
		}
		in.HTTPRoutes = append(in.HTTPRoutes, r)
	}
	return in
}

// The whole of 5,000 routes, to Envoy resources: TARGETS, at most 300 ms.
func BenchmarkTranslate5000Routes(b *testing.B) {
	in := crowd(5000)
	b.Run("ingest", func(b *testing.B) {
		for b.Loop() {
			ingest.Translate(in)
		}
	})
	b.Run("xds", func(b *testing.B) {
		out := ingest.Translate(in)
		for b.Loop() {
			for _, f := range out.Fleets {
				xds.Fleet(f)
			}
		}
	})
}
