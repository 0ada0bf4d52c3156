package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/infra"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// objects is one view of the cache. Nothing in it may be changed.
type objects struct {
	input      ingest.Input
	endpoints  map[types.NamespacedName][]*discoveryv1.EndpointSlice
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
}

func (o *objects) configMap(namespace, name string) *corev1.ConfigMap {
	return o.configMaps[types.NamespacedName{Namespace: namespace, Name: name}]
}

// endpointsOf returns the slices of the Services that a cluster reaches.
func (o *objects) endpointsOf(c ir.Cluster) []*discoveryv1.EndpointSlice {
	if c.Shares == nil {
		return o.endpoints[c.Service]
	}
	var out []*discoveryv1.EndpointSlice
	for _, s := range c.Services() {
		out = append(out, o.endpoints[s]...)
	}
	return out
}

// read takes a view of the cache.
func read(ctx context.Context, c client.Reader, namespace string) (*objects, error) {
	var (
		fleets    v1beta1.EnvoyFleetList
		classes   gwv1.GatewayClassList
		gateways  gwv1.GatewayList
		sets      gwv1.ListenerSetList
		http      gwv1.HTTPRouteList
		grpc      gwv1.GRPCRouteList
		tls       gwv1.TLSRouteList
		tcp       gwv1.TCPRouteList
		udp       gwv1.UDPRouteList
		grants    gwv1.ReferenceGrantList
		policies  gwv1.BackendTLSPolicyList
		spaces    corev1.NamespaceList
		services  corev1.ServiceList
		secrets   corev1.SecretList
		maps      corev1.ConfigMapList
		pods      corev1.PodList
		endpoints discoveryv1.EndpointSliceList
	)
	for _, l := range []client.ObjectList{
		&fleets, &classes, &gateways, &sets, &http, &grpc, &tls, &tcp, &udp, &grants, &policies,
		&spaces, &services, &secrets, &maps, &pods, &endpoints,
	} {
		if err := c.List(ctx, l, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("reading %T: %w", l, err)
		}
	}
	o := &objects{
		input: ingest.Input{
			Namespace:          namespace,
			Fleets:             pointers(fleets.Items),
			GatewayClasses:     pointers(classes.Items),
			Gateways:           pointers(gateways.Items),
			ListenerSets:       pointers(sets.Items),
			HTTPRoutes:         pointers(http.Items),
			GRPCRoutes:         pointers(grpc.Items),
			TLSRoutes:          pointers(tls.Items),
			TCPRoutes:          pointers(tcp.Items),
			UDPRoutes:          pointers(udp.Items),
			ReferenceGrants:    pointers(grants.Items),
			BackendTLSPolicies: pointers(policies.Items),
			Namespaces:         pointers(spaces.Items),
			Services:           pointers(services.Items),
			Secrets:            pointers(secrets.Items),
			ConfigMaps:         pointers(maps.Items),
		},
		endpoints:  map[types.NamespacedName][]*discoveryv1.EndpointSlice{},
		secrets:    map[types.NamespacedName]*corev1.Secret{},
		configMaps: map[types.NamespacedName]*corev1.ConfigMap{},
	}
	for _, m := range o.input.ConfigMaps {
		o.configMaps[types.NamespacedName{Namespace: m.Namespace, Name: m.Name}] = m
	}
	for _, s := range o.input.Secrets {
		o.secrets[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
	for _, s := range pointers(endpoints.Items) {
		o.endpoints[serviceOf(s)] = append(o.endpoints[serviceOf(s)], s)
	}
	o.input.Facts = facts(o.input, pointers(pods.Items))
	return o, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

// facts returns what is known of each Gateway's Service and of the Envoys that
// serve it.
func facts(in ingest.Input, pods []*corev1.Pod) map[types.NamespacedName]ingest.Facts {
	services := map[types.NamespacedName]*corev1.Service{}
	for _, s := range in.Services {
		services[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
	}
	served := served(pods)
	// Should two Services record one fleet port, it is the older one's: two
	// listeners on one port would be refused.
	gateways := slices.Clone(in.Gateways)
	age := func(g *gwv1.Gateway) *corev1.Service {
		return services[types.NamespacedName{Namespace: g.Namespace, Name: infra.ServiceName(g.Name)}]
	}
	slices.SortFunc(gateways, func(a, b *gwv1.Gateway) int {
		x, y := age(a), age(b)
		switch {
		case x != nil && y != nil && x.CreationTimestamp.Compare(y.CreationTimestamp.Time) != 0:
			return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
		default:
			return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
		}
	})
	type claim struct {
		fleet string
		port  int32
	}
	claimed := map[claim]bool{}
	out := make(map[types.NamespacedName]ingest.Facts, len(gateways))
	for _, g := range gateways {
		s := age(g)
		f := infra.Facts(s, g)
		f.Programmed = map[int32]bool{}
		for port, fleetPort := range f.FleetPorts {
			c := claim{s.Labels[fleet.Label], fleetPort}
			if claimed[c] {
				delete(f.FleetPorts, port)
				continue
			}
			claimed[c] = true
			f.Programmed[port] = !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
				return p.Port == port && !served(c.fleet, listenerName(g, p))
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

// concerned returns the Services that translation asks about, whether they
// exist or not: the backends of routes, and those of the Gateways.
func concerned(in ingest.Input) map[types.NamespacedName]struct{} {
	out := map[types.NamespacedName]struct{}{}
	for _, g := range in.Gateways {
		out[types.NamespacedName{Namespace: g.Namespace, Name: infra.ServiceName(g.Name)}] = struct{}{}
	}
	backend := func(namespace string, ref *gwv1.BackendObjectReference) {
		if ref.Namespace != nil {
			namespace = string(*ref.Namespace)
		}
		out[types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}] = struct{}{}
	}
	for _, r := range in.HTTPRoutes {
		for i := range r.Spec.Rules {
			rule := &r.Spec.Rules[i]
			for j := range rule.Filters {
				if m := rule.Filters[j].RequestMirror; m != nil {
					backend(r.Namespace, &m.BackendRef)
				}
			}
			for j := range rule.BackendRefs {
				backend(r.Namespace, &rule.BackendRefs[j].BackendObjectReference)
			}
		}
	}
	for _, r := range in.GRPCRoutes {
		for i := range r.Spec.Rules {
			rule := &r.Spec.Rules[i]
			for j := range rule.Filters {
				if m := rule.Filters[j].RequestMirror; m != nil {
					backend(r.Namespace, &m.BackendRef)
				}
			}
			for j := range rule.BackendRefs {
				backend(r.Namespace, &rule.BackendRefs[j].BackendObjectReference)
			}
		}
	}
	streams := func(route string, refs []gwv1.BackendRef) {
		for i := range refs {
			backend(route, &refs[i].BackendObjectReference)
		}
	}
	for _, r := range in.TLSRoutes {
		for i := range r.Spec.Rules {
			streams(r.Namespace, r.Spec.Rules[i].BackendRefs)
		}
	}
	for _, r := range in.TCPRoutes {
		for i := range r.Spec.Rules {
			streams(r.Namespace, r.Spec.Rules[i].BackendRefs)
		}
	}
	for _, r := range in.UDPRoutes {
		for i := range r.Spec.Rules {
			streams(r.Namespace, r.Spec.Rules[i].BackendRefs)
		}
	}
	return out
}
