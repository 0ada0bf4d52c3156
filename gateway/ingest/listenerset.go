package ingest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// listenerSet is a ListenerSet of a Gateway of ours and what is decided about
// it.
type listenerSet struct {
	obj     *gwv1.ListenerSet
	name    types.NamespacedName
	gateway *gateway
	// allowed says whether the Gateway admits it.
	allowed   bool
	listeners []*listener
}

// parentOf returns the Gateway that a ListenerSet names, or the empty name.
func parentOf(s *gwv1.ListenerSet) types.NamespacedName {
	ref := &s.Spec.ParentRef
	if ref.Group != nil && *ref.Group != gwv1.GroupName || ref.Kind != nil && *ref.Kind != "Gateway" {
		return types.NamespacedName{}
	}
	n := types.NamespacedName{Namespace: s.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		n.Namespace = string(*ref.Namespace)
	}
	return n
}

// olderSets orders ListenerSets by precedence.
func olderSets(a, b *gwv1.ListenerSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), ir.CompareNames(nameOf(a), nameOf(b)))
}

func newListenerSet(x *index, g *gateway, obj *gwv1.ListenerSet) *listenerSet {
	s := &listenerSet{obj: obj, name: nameOf(obj), gateway: g}
	from, selector := gwv1.NamespacesFromNone, (*metav1.LabelSelector)(nil)
	if al := g.obj.Spec.AllowedListeners; al != nil && al.Namespaces != nil {
		if al.Namespaces.From != nil {
			from = *al.Namespaces.From
		}
		selector = al.Namespaces.Selector
	}
	if s.allowed = x.selects(from, selector, g.name.Namespace, obj.Namespace); !s.allowed {
		return s
	}
	for i := range obj.Spec.Listeners {
		e := &obj.Spec.Listeners[i]
		s.listeners = append(s.listeners, newListener(x, g.obj, owner{"ListenerSet", s.name}, &gwv1.Listener{
			Name: e.Name, Hostname: e.Hostname, Port: e.Port, Protocol: e.Protocol, TLS: e.TLS, AllowedRoutes: e.AllowedRoutes,
		}))
	}
	return s
}

// accepted decides whether the set can be served, wholly or in part.
func (s *listenerSet) accepted() verdict {
	var invalid []string
	for _, l := range s.listeners {
		if !l.servable() {
			invalid = append(invalid, string(l.spec.Name))
		}
	}
	switch {
	case !s.allowed:
		return no(gwv1.ListenerSetReasonNotAllowed, fmt.Sprintf("Gateway %s does not allow ListenerSets of namespace %s.", s.gateway.name, s.name.Namespace))
	case !s.gateway.accepted.ok:
		return no(gwv1.ListenerSetReasonParentNotAccepted, fmt.Sprintf("Gateway %s is not accepted.", s.gateway.name))
	case len(invalid) == len(s.listeners):
		return no(gwv1.ListenerSetReasonListenersNotValid, "No listener can be served.")
	case len(invalid) > 0:
		return yes(gwv1.ListenerSetReasonListenersNotValid, fmt.Sprintf("Listeners that cannot be served: %s.", strings.Join(invalid, ", ")))
	default:
		return yes(gwv1.ListenerSetReasonAccepted, "The ListenerSet is accepted.")
	}
}

func (s *listenerSet) status() ListenerSetStatus {
	generation := s.obj.Generation
	accepted := s.accepted()
	programmed := accepted
	if accepted.ok {
		programmed = s.gateway.serves(s.listeners)
		if programmed.ok {
			programmed = yes(gwv1.ListenerSetReasonProgrammed, "The Gateway has an address and the Envoys have acknowledged the listeners.")
		}
	}
	out := ListenerSetStatus{Name: s.name, Status: gwv1.ListenerSetStatus{Conditions: []metav1.Condition{
		condition(gwv1.ListenerSetConditionAccepted, accepted, generation),
		condition(gwv1.ListenerSetConditionProgrammed, programmed, generation),
	}}}
	for _, l := range s.listeners {
		out.Status.Listeners = append(out.Status.Listeners,
			gwv1.ListenerEntryStatus(l.status(s.gateway.accepted.ok, s.gateway.facts.Programmed[l.spec.Port], generation)))
	}
	return out
}

// sortSets puts ListenerSets in order of precedence.
func sortSets(sets []*gwv1.ListenerSet) []*gwv1.ListenerSet {
	out := slices.Clone(sets)
	slices.SortFunc(out, olderSets)
	return out
}
