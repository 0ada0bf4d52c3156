package ingest

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Translate makes the IR and the statuses from the objects.
//
// It works on units that depend on little each: a route is translated without
// regard to where it is attached, a Gateway without regard to its routes, and
// a Gateway's port from those two.
func Translate(in Input) Output {
	x := newIndex(&in)
	out := Output{Fleets: map[types.NamespacedName]*ir.Fleet{}}

	ours := classes(&in, x)
	for _, c := range ours {
		out.GatewayClassStatuses = append(out.GatewayClassStatuses, c.status())
	}
	p := newParents(&in, x, ours)
	reached := ancestors{}
	for _, r := range routes(&in, x, p) {
		s, gateways := r.attach(x, p)
		out.RouteStatuses = append(out.RouteStatuses, s)
		reached.add(r, gateways)
	}
	for name, plan := range fleetPlans(x, ours, p.gateways) {
		out.FleetPlans = append(out.FleetPlans, plan)
		out.Fleets[name] = &ir.Fleet{}
	}
	for _, g := range p.gateways {
		out.Gateways = append(out.Gateways, g.plan(x))
		out.GatewayStatuses = append(out.GatewayStatuses, g.status())
		if f := out.Fleets[g.fleet(x)]; f != nil {
			g.addTo(x, f)
		}
	}
	for _, s := range p.sets {
		out.ListenerSetStatuses = append(out.ListenerSetStatuses, s.status())
	}
	out.PolicyStatuses = reached.statuses(x)
	out.sort()
	return out
}

// newParents decides about the Gateways of our classes and their ListenerSets.
func newParents(in *Input, x *index, ours map[string]*class) *parents {
	p := &parents{gateways: map[types.NamespacedName]*gateway{}, sets: map[types.NamespacedName]*listenerSet{}}
	sets := map[types.NamespacedName][]*gwv1.ListenerSet{}
	for _, s := range in.ListenerSets {
		sets[parentOf(s)] = append(sets[parentOf(s)], s)
	}
	for _, obj := range in.Gateways {
		if c := ours[string(obj.Spec.GatewayClassName)]; c != nil {
			g := newGateway(x, c, obj, sortSets(sets[nameOf(obj)]))
			p.gateways[g.name] = g
			for _, s := range g.sets {
				p.sets[s.name] = s
			}
		}
	}
	return p
}

// routes translates the routes that have a parent of ours, the oldest first.
func routes(in *Input, x *index, p *parents) []*route {
	var out []*route
	for _, o := range in.HTTPRoutes {
		if p.concern(o.Namespace, o.Spec.ParentRefs) {
			out = append(out, newHTTPRoute(x, o))
		}
	}
	for _, o := range in.GRPCRoutes {
		if p.concern(o.Namespace, o.Spec.ParentRefs) {
			out = append(out, newGRPCRoute(x, o))
		}
	}
	for _, o := range in.TLSRoutes {
		if p.concern(o.Namespace, o.Spec.ParentRefs) {
			out = append(out, newTLSRoute(x, o))
		}
	}
	for _, o := range in.TCPRoutes {
		if p.concern(o.Namespace, o.Spec.ParentRefs) {
			out = append(out, newTCPRoute(x, o))
		}
	}
	for _, o := range in.UDPRoutes {
		if p.concern(o.Namespace, o.Spec.ParentRefs) {
			out = append(out, newUDPRoute(x, o))
		}
	}
	slices.SortFunc(out, older)
	return out
}

// ancestors are the Gateways that reach a Service by a route.
type ancestors map[types.NamespacedName][]types.NamespacedName

func (a ancestors) add(r *route, gateways []*gateway) {
	for _, s := range r.services {
		for _, g := range gateways {
			if !slices.Contains(a[s], g.name) {
				a[s] = append(a[s], g.name)
			}
		}
	}
}

// statuses of the policies for what is reached.
func (a ancestors) statuses(x *index) []PolicyStatus {
	of := map[*policy][]types.NamespacedName{}
	for service, gateways := range a {
		for _, p := range x.policiesOf[service] {
			of[p] = append(of[p], gateways...)
		}
	}
	var out []PolicyStatus
	for p, gateways := range of {
		slices.SortFunc(gateways, ir.CompareNames)
		out = append(out, *p.status(slices.Compact(gateways)))
	}
	return out
}

// addTo adds what the Gateway serves to its fleet.
func (g *gateway) addTo(x *index, f *ir.Fleet) {
	served := g.fleetListeners(x)
	f.Listeners = append(f.Listeners, served...)
	for i := range served {
		for _, c := range served[i].Chains {
			f.Certificates = append(f.Certificates, c.Certificates...)
			if c.Clients != nil {
				f.Authorities = append(f.Authorities, c.Clients.Authorities)
			}
		}
		for _, l := range g.onPort(PlanPort{served[i].Port, served[i].Protocol}) {
			for _, r := range l.routes {
				f.Clusters = append(f.Clusters, r.clusters(binding{certificate: g.certificate, passthrough: l.passthrough()})...)
			}
		}
	}
	for _, c := range f.Clusters {
		if t := c.TLS; t != nil {
			f.Authorities = append(f.Authorities, t.Authorities)
			if t.Certificate != nil {
				f.Certificates = append(f.Certificates, *t.Certificate)
			}
		}
	}
}

func (o *Output) sort() {
	for _, f := range o.Fleets {
		f.Sort()
	}
	slices.SortFunc(o.FleetPlans, compareFleetPlans)
	slices.SortFunc(o.Gateways, func(a, b GatewayPlan) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.GatewayClassStatuses, func(a, b GatewayClassStatus) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(o.GatewayStatuses, func(a, b GatewayStatus) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.ListenerSetStatuses, func(a, b ListenerSetStatus) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.RouteStatuses, func(a, b RouteStatus) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), ir.CompareNames(a.Name, b.Name))
	})
	slices.SortFunc(o.PolicyStatuses, func(a, b PolicyStatus) int { return ir.CompareNames(a.Name, b.Name) })
}
