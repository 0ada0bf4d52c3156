package watch

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/infra"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// facts returns what the installation in a namespace knows of each Gateway's
// Service and of the Envoys that serve it.
func facts(namespace string, gateways map[types.NamespacedName]*gwv1.Gateway, services map[types.NamespacedName]*corev1.Service,
	pods map[types.NamespacedName]*corev1.Pod,
) map[types.NamespacedName]ingest.Facts {
	served := served(slices.Collect(maps.Values(pods)))
	// Should two Services record one fleet port, it is the older one's: two
	// listeners on one port would be refused.
	byAge := slices.Collect(maps.Values(gateways))
	age := func(g *gwv1.Gateway) *corev1.Service {
		return services[types.NamespacedName{Namespace: g.Namespace, Name: infra.ServiceName(g.Name)}]
	}
	slices.SortFunc(byAge, func(a, b *gwv1.Gateway) int {
		x, y := age(a), age(b)
		switch {
		case x != nil && y != nil && x.CreationTimestamp.Compare(y.CreationTimestamp.Time) != 0:
			return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
		default:
			return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
		}
	})
	type claim struct {
		fleet types.NamespacedName
		port  int32
	}
	claimed := map[claim]bool{}
	out := make(map[types.NamespacedName]ingest.Facts, len(gateways))
	for _, g := range byAge {
		s := age(g)
		f := infra.Facts(s, g)
		f.Programmed = map[int32]bool{}
		for port, fleetPort := range f.FleetPorts {
			c := claim{infra.Fleet(s, namespace), fleetPort}
			if claimed[c] {
				delete(f.FleetPorts, port)
				continue
			}
			claimed[c] = true
			f.Programmed[port] = !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
				return p.Port == port && !served(c.fleet.Name, listenerName(g, p))
			})
		}
		out[types.NamespacedName{Namespace: g.Namespace, Name: g.Name}] = f
	}
	return out
}

// listenerName returns the name of the Envoy listener behind a port of a
// Gateway's Service.
func listenerName(g *gwv1.Gateway, p corev1.ServicePort) string {
	protocol := ir.TCP
	if p.Protocol == corev1.ProtocolUDP {
		protocol = ir.UDP
	}
	return ir.ListenerName(types.NamespacedName{Namespace: g.Namespace, Name: g.Name}, p.Port, protocol)
}

// served returns the answer to whether all ready Envoys of a fleet, and at
// least one, serve a listener. One that has not said yet what it serves does
// not count.
func served(pods []*corev1.Pod) func(fleet, listener string) bool {
	ready := map[string]int{}
	serving := map[string]map[string]int{}
	for _, p := range pods {
		listeners, known := fleet.Serves(p)
		if !known || !fleet.Ready(p) {
			continue
		}
		name := p.Labels[fleet.Label]
		ready[name]++
		if serving[name] == nil {
			serving[name] = map[string]int{}
		}
		for _, l := range listeners {
			serving[name][l]++
		}
	}
	return func(fleet, listener string) bool {
		return ready[fleet] > 0 && serving[fleet][listener] == ready[fleet]
	}
}
