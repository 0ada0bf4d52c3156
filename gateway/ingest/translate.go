package ingest

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Translate makes the IR and the statuses from the objects.
//
// It works on units that depend on little each: a route is translated without
// regard to where it is attached (newHTTPRoute), a Gateway without regard to
// its routes (newGateway), and a Gateway's port from those two (chains).
func Translate(in Input) Output {
	x := newIndex(&in)
	out := Output{Fleets: map[types.NamespacedName]*ir.Fleet{}}

	ours := classes(&in, x)
	for _, c := range ours {
		out.GatewayClassStatuses = append(out.GatewayClassStatuses, c.status())
		if c.accepted.ok && out.Fleets[c.fleet] == nil {
			out.Fleets[c.fleet] = &ir.Fleet{}
		}
	}

	gateways := map[types.NamespacedName]*gateway{}
	for _, obj := range in.Gateways {
		if c := ours[string(obj.Spec.GatewayClassName)]; c != nil {
			gateways[nameOf(obj)] = newGateway(x, c, obj)
		}
	}
	for _, obj := range in.HTTPRoutes {
		if !refersTo(obj, gateways) {
			continue
		}
		if s := newHTTPRoute(x, obj).attach(x, gateways); s != nil {
			out.HTTPRouteStatuses = append(out.HTTPRouteStatuses, *s)
		}
	}
	for _, g := range gateways {
		out.Gateways = append(out.Gateways, g.plan())
		out.GatewayStatuses = append(out.GatewayStatuses, g.status())
		if f := out.Fleets[g.class.fleet]; f != nil {
			g.addTo(f)
		}
	}
	out.sort()
	return out
}

// refersTo says whether any parent of the route is ours.
func refersTo(r *gwv1.HTTPRoute, gateways map[types.NamespacedName]*gateway) bool {
	return slices.ContainsFunc(r.Spec.ParentRefs, func(p gwv1.ParentReference) bool {
		return gateways[parentName(r, &p)] != nil
	})
}

// addTo adds what the Gateway serves to its fleet.
func (g *gateway) addTo(f *ir.Fleet) {
	served := g.fleetListeners()
	f.Listeners = append(f.Listeners, served...)
	for i := range served {
		for _, c := range served[i].Chains {
			f.Certificates = append(f.Certificates, c.Certificates...)
		}
		for _, l := range g.onPort(served[i].Port) {
			for _, r := range l.routes {
				for j := range r.rules {
					f.Clusters = append(f.Clusters, r.rules[j].clusters...)
				}
			}
		}
	}
}

func (o *Output) sort() {
	for _, f := range o.Fleets {
		f.Sort()
	}
	slices.SortFunc(o.Gateways, func(a, b GatewayPlan) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.GatewayClassStatuses, func(a, b GatewayClassStatus) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(o.GatewayStatuses, func(a, b GatewayStatus) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.HTTPRouteStatuses, func(a, b HTTPRouteStatus) int {
		return ir.CompareNames(a.Name, b.Name)
	})
}
