package ingest

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// parents are what routes attach to.
type parents struct {
	gateways map[types.NamespacedName]*gateway
	sets     map[types.NamespacedName]*listenerSet
}

// find returns the Gateway that a parentRef of a route in a namespace leads to,
// and those of its listeners that the parentRef may choose from; nil where the
// parent is not ours.
func (p *parents) find(namespace string, ref *gwv1.ParentReference) (*gateway, []*listener) {
	if ref.Group != nil && *ref.Group != gwv1.GroupName {
		return nil, nil
	}
	n := types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		n.Namespace = string(*ref.Namespace)
	}
	switch parentKind(ref) {
	case "Gateway":
		if g := p.gateways[n]; g != nil {
			return g, g.listeners
		}
	case "ListenerSet":
		if s := p.sets[n]; s != nil {
			return s.gateway, s.listeners
		}
	}
	return nil, nil
}

func parentKind(ref *gwv1.ParentReference) gwv1.Kind {
	if ref.Kind == nil {
		return "Gateway"
	}
	return *ref.Kind
}

// concern says whether any parent of the route is ours.
func (p *parents) concern(namespace string, refs []gwv1.ParentReference) bool {
	return slices.ContainsFunc(refs, func(ref gwv1.ParentReference) bool {
		g, _ := p.find(namespace, &ref)
		return g != nil
	})
}

// attach binds a route to the listeners of its parents, and returns our part
// of its status, and the Gateways that it is attached to, each once.
func (r *route) attach(x *index, p *parents) (RouteStatus, []*gateway) {
	s := RouteStatus{Kind: r.kind, Name: r.name}
	var gateways []*gateway
	// A route that two parentRefs attach to one listener is attached once.
	bound, counted := map[*listener]bool{}, map[*listener]bool{}
	for i := range r.parents {
		ref := &r.parents[i]
		g, choice := p.find(r.name.Namespace, ref)
		if g == nil {
			continue
		}
		ls, refused := r.listenersFor(x, choice, ref)
		accepted := r.accepted
		if refused != nil {
			accepted = *refused
		}
		for _, l := range ls {
			if !bound[l] {
				bound[l] = true
				l.routes = append(l.routes, r)
			}
			if accepted.ok && !counted[l] {
				counted[l] = true
				l.attached++
			}
		}
		if len(ls) > 0 && !slices.Contains(gateways, g) {
			gateways = append(gateways, g)
		}
		s.Parents = append(s.Parents, gwv1.RouteParentStatus{
			ParentRef:      *ref,
			ControllerName: names.GatewayController,
			Conditions:     r.conditions(accepted),
		})
	}
	return s, gateways
}

// listenersFor returns the listeners of a parent that a parentRef attaches the
// route to, or why there are none.
func (r *route) listenersFor(x *index, choice []*listener, ref *gwv1.ParentReference) ([]*listener, *verdict) {
	var named, allowed, common, out []*listener
	var rival *route
	for _, l := range choice {
		if ref.SectionName != nil && *ref.SectionName != "" && *ref.SectionName != l.spec.Name ||
			ref.Port != nil && *ref.Port != l.spec.Port {
			continue
		}
		named = append(named, l)
		if !l.allowsKind(r.kind) || !l.allowsNamespace(x, r.name.Namespace) {
			continue
		}
		allowed = append(allowed, l)
		if len(r.domains(l.hostname)) == 0 {
			continue
		}
		common = append(common, l)
		if o := r.rival(l); o != nil {
			rival = o
			continue
		}
		out = append(out, l)
	}
	parent := r.name.Namespace + "/" + string(ref.Name)
	if ref.Namespace != nil {
		parent = string(*ref.Namespace) + "/" + string(ref.Name)
	}
	parent = string(parentKind(ref)) + " " + parent
	refuse := func(reason gwv1.RouteConditionReason, format string, args ...any) ([]*listener, *verdict) {
		v := no(reason, fmt.Sprintf(format, args...))
		return nil, &v
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(common) > 0:
		return refuse(gwv1.RouteReasonNotAllowedByListeners, "%s %s is older and has hostnames in common with the route on %s.", rival.kind, rival.name, parent)
	case len(allowed) > 0:
		return refuse(gwv1.RouteReasonNoMatchingListenerHostname, "No listener of %s has a hostname in common with the route.", parent)
	case len(named) > 0:
		return refuse(gwv1.RouteReasonNotAllowedByListeners, "No listener of %s that the parentRef names allows the route.", parent)
	default:
		return refuse(gwv1.RouteReasonNoMatchingParent, "%s has no listener with the parentRef's sectionName and port.", upperFirst(parent))
	}
}

// rival returns a route of the other kind of HTTP that keeps this one from a
// listener: of an HTTPRoute and a GRPCRoute that have hostnames in common, the
// older is accepted (GRPCRouteSpec.Hostnames). Older routes are attached
// before.
func (r *route) rival(l *listener) *route {
	if r.kind != httpRouteKind && r.kind != grpcRouteKind {
		return nil
	}
	for _, o := range l.routes {
		if o.kind != r.kind && o.overlaps(r) {
			return o
		}
	}
	return nil
}

func (r *route) overlaps(o *route) bool {
	for _, a := range r.hostnames {
		for _, b := range o.hostnames {
			if _, ok := intersect(a, b); ok {
				return true
			}
		}
	}
	return false
}

// conditions of the route for one parent.
func (r *route) conditions(accepted verdict) []metav1.Condition {
	out := []metav1.Condition{
		condition(gwv1.RouteConditionAccepted, accepted, r.generation),
		condition(gwv1.RouteConditionResolvedRefs, r.resolved, r.generation),
	}
	if r.partial != nil {
		out = append(out, condition(gwv1.RouteConditionPartiallyInvalid, *r.partial, r.generation))
	}
	return out
}
