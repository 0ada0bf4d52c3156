package ingest

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// parentKey is what a parentRef names.
type parentKey struct {
	kind gwv1.Kind
	name types.NamespacedName
}

// parentOfRoute returns what a parentRef of a route in a namespace names;
// false where that can be nothing of ours.
func parentOfRoute(namespace string, ref *gwv1.ParentReference) (parentKey, bool) {
	k := parentKey{"Gateway", types.NamespacedName{Namespace: namespace, Name: string(ref.Name)}}
	if ref.Kind != nil {
		k.kind = *ref.Kind
	}
	if ref.Namespace != nil {
		k.name.Namespace = string(*ref.Namespace)
	}
	ok := (ref.Group == nil || *ref.Group == gwv1.GroupName) && (k.kind == "Gateway" || k.kind == "ListenerSet")
	return k, ok
}

// parents are what routes attach to.
type parents struct {
	gateways map[types.NamespacedName]*gateway
	sets     map[types.NamespacedName]*listenerSet
	// defaults are the default Gateways of ours, in order.
	defaults []*gwv1.Gateway
}

// find returns the Gateway that a parent leads to, and those of its listeners
// that a parentRef may choose from; nil where the parent is not ours.
func (p *parents) find(k parentKey) (*gateway, []*listener) {
	switch k.kind {
	case "Gateway":
		if g := p.gateways[k.name]; g != nil {
			return g, g.listeners
		}
	case "ListenerSet":
		if s := p.sets[k.name]; s != nil {
			return s.gateway, s.listeners
		}
	}
	return nil, nil
}

// attachment is a route on a listener.
type attachment struct {
	gateway  *gateway
	listener *listener
	// counted says that the listener's status counts it.
	counted bool
}

// attach binds a route to the listeners of its parents. It returns our part of
// its status, and where it is attached, each listener once.
func (r *route) attach(x *index, p *parents) (RouteStatus, []attachment) {
	s := RouteStatus{Kind: r.kind, Name: r.name}
	var out []attachment
	// A route that two parentRefs attach to one listener is attached once.
	bound := map[*listener]int{}
	refs, omitted := Parents(r.name.Namespace, r.common, p.defaults)
	for i := range refs {
		ref := &refs[i]
		k, ok := parentOfRoute(r.name.Namespace, ref)
		g, choice := p.find(k)
		if !ok || g == nil {
			continue
		}
		ls, refused := r.listenersFor(x, k, choice, ref)
		accepted := r.accepted
		switch {
		case refused != nil:
			accepted = *refused
		case accepted.ok && i >= len(r.common.ParentRefs):
			accepted.message = "The route is accepted: it asks for default Gateways, and this is one."
		}
		for _, l := range ls {
			n, again := bound[l]
			if !again {
				n = len(out)
				bound[l] = n
				out = append(out, attachment{gateway: g, listener: l})
				l.kindsOf[r.kind]++
				for d, hostname := range r.domains(l.hostname) {
					l.put(d, r, hostname)
				}
			}
			if accepted.ok && !out[n].counted {
				out[n].counted = true
				l.attached++
			}
		}
		s.Parents = append(s.Parents, gwv1.RouteParentStatus{
			ParentRef:      *ref,
			ControllerName: x.controller,
			Conditions:     r.conditions(accepted, omitted),
		})
	}
	for _, a := range out {
		r.touch(a)
	}
	return s, out
}

// detach takes a route off a listener.
func (r *route) detach(a attachment) {
	r.touch(a)
	for d := range r.domains(a.listener.hostname) {
		delete(a.listener.routes[d], r)
		if len(a.listener.routes[d]) == 0 {
			delete(a.listener.routes, d)
		}
	}
	a.listener.kindsOf[r.kind]--
	if a.counted {
		a.listener.attached--
	}
}

// touch notes what of the listener's port depends on the route.
func (r *route) touch(a attachment) {
	if p := a.gateway.portOf(a.listener); p != nil {
		for d := range r.domains(a.listener.hostname) {
			p.touch(d)
		}
	}
}

func (l *listener) put(domain string, r *route, hostname string) {
	if l.routes[domain] == nil {
		l.routes[domain] = map[*route]string{}
	}
	l.routes[domain][r] = hostname
}

// listenersFor returns the listeners of a parent that a parentRef attaches the
// route to, or why there are none.
func (r *route) listenersFor(x *index, k parentKey, choice []*listener, ref *gwv1.ParentReference) ([]*listener, *verdict) {
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
	parent := string(k.kind) + " " + k.name.String()
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
	case len(named) > 0 && ref.SectionName == nil && ref.Port == nil:
		return refuse(gwv1.RouteReasonNotAllowedByListeners, "No listener of %s allows the route.", parent)
	case len(named) > 0:
		return refuse(gwv1.RouteReasonNotAllowedByListeners, "No listener of %s that the parentRef names allows the route.", parent)
	default:
		return refuse(gwv1.RouteReasonNoMatchingParent, "%s has no listener with the parentRef's sectionName and port.", parent)
	}
}

// rival returns the route of the other kind of HTTP that keeps this one from a
// listener: of an HTTPRoute and a GRPCRoute that have hostnames in common, the
// older is accepted (GRPCRouteSpec.Hostnames). Older routes are attached
// before; of several, the oldest is named.
func (r *route) rival(l *listener) *route {
	if r.kind == httpRouteKind && l.kindsOf[grpcRouteKind] == 0 || r.kind == grpcRouteKind && l.kindsOf[httpRouteKind] == 0 ||
		r.kind != httpRouteKind && r.kind != grpcRouteKind {
		return nil
	}
	var out *route
	for _, routes := range l.routes {
		for o := range routes {
			if o.kind != r.kind && (out == nil || older(o, out) < 0) && o.overlaps(r) {
				out = o
			}
		}
	}
	return out
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
func (r *route) conditions(accepted verdict, omitted []types.NamespacedName) []metav1.Condition {
	out := []metav1.Condition{
		condition(gwv1.RouteConditionAccepted, accepted, r.generation),
		condition(gwv1.RouteConditionResolvedRefs, r.resolved, r.generation),
	}
	if r.partial != nil {
		out = append(out, condition(gwv1.RouteConditionPartiallyInvalid, *r.partial, r.generation))
	}
	if len(omitted) > 0 {
		out = append(out, condition(names.DefaultGatewaysOmitted, tooManyParents(omitted), r.generation))
	}
	return out
}
