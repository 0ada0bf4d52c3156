package ingest

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// attach binds a route to the listeners of its parents and returns our part
// of its status; nil where no parent is ours.
func (r *httpRoute) attach(x *index, gateways map[types.NamespacedName]*gateway) *HTTPRouteStatus {
	s := &HTTPRouteStatus{Name: r.name}
	// A route that two parentRefs attach to one listener is attached once.
	bound, counted := map[*listener]bool{}, map[*listener]bool{}
	for i := range r.obj.Spec.ParentRefs {
		ref := &r.obj.Spec.ParentRefs[i]
		g := gateways[parentName(r.obj, ref)]
		if g == nil {
			continue
		}
		ls, refused := r.listenersFor(x, g, ref)
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
		s.Parents = append(s.Parents, gwv1.RouteParentStatus{
			ParentRef:      *ref,
			ControllerName: names.GatewayController,
			Conditions:     r.conditions(accepted),
		})
	}
	if s.Parents == nil {
		return nil
	}
	return s
}

// parentName returns the Gateway that a parentRef names, or the empty name
// where it names something else.
func parentName(route *gwv1.HTTPRoute, ref *gwv1.ParentReference) types.NamespacedName {
	if ref.Group != nil && *ref.Group != gwv1.GroupName || ref.Kind != nil && *ref.Kind != "Gateway" {
		return types.NamespacedName{}
	}
	n := types.NamespacedName{Namespace: route.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		n.Namespace = string(*ref.Namespace)
	}
	return n
}

// listenersFor returns the listeners of a Gateway that a parentRef attaches
// the route to, or why there are none.
func (r *httpRoute) listenersFor(x *index, g *gateway, ref *gwv1.ParentReference) ([]*listener, *verdict) {
	var named, allowed, out []*listener
	for _, l := range g.listeners {
		if ref.SectionName != nil && *ref.SectionName != "" && *ref.SectionName != l.spec.Name ||
			ref.Port != nil && *ref.Port != l.spec.Port {
			continue
		}
		named = append(named, l)
		if !l.allowsKind("HTTPRoute") || !l.allowsNamespace(x, g.name.Namespace, r.name.Namespace) {
			continue
		}
		allowed = append(allowed, l)
		if len(r.domains(l.hostname)) > 0 {
			out = append(out, l)
		}
	}
	refuse := func(reason gwv1.RouteConditionReason, format string) ([]*listener, *verdict) {
		v := no(reason, fmt.Sprintf(format, g.name))
		return nil, &v
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(allowed) > 0:
		return refuse(gwv1.RouteReasonNoMatchingListenerHostname, "No listener of Gateway %s has a hostname in common with the route.")
	case len(named) > 0:
		return refuse(gwv1.RouteReasonNotAllowedByListeners, "No listener of Gateway %s that the parentRef names allows the route.")
	default:
		return refuse(gwv1.RouteReasonNoMatchingParent, "Gateway %s has no listener with the parentRef's sectionName and port.")
	}
}

// conditions of the route for one parent.
func (r *httpRoute) conditions(accepted verdict) []metav1.Condition {
	out := []metav1.Condition{
		condition(gwv1.RouteConditionAccepted, accepted, r.obj.Generation),
		condition(gwv1.RouteConditionResolvedRefs, r.resolved, r.obj.Generation),
	}
	if r.partial != nil {
		out = append(out, condition(gwv1.RouteConditionPartiallyInvalid, *r.partial, r.obj.Generation))
	}
	return out
}
