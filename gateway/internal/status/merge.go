// Package status writes what translation says about objects into their
// statuses: our own entries only, only where something has changed, and one
// object not more often than a person can read.
package status

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// conditions returns the wanted conditions, in their order, with the time
// since which each has its status, and after them what others wrote: those
// whose type has a domain that is not ours. One of ours that is not wanted any
// more is left out.
func conditions(old, wanted []metav1.Condition, now metav1.Time) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(wanted))
	for _, c := range wanted {
		c.LastTransitionTime = now
		if i := slices.IndexFunc(old, func(o metav1.Condition) bool { return o.Type == c.Type }); i >= 0 && old[i].Status == c.Status {
			c.LastTransitionTime = old[i].LastTransitionTime
		}
		out = append(out, c)
	}
	for _, o := range old {
		foreign := strings.Contains(o.Type, "/") && !strings.HasPrefix(o.Type, names.Prefix) &&
			!slices.ContainsFunc(wanted, func(c metav1.Condition) bool { return c.Type == o.Type })
		if foreign {
			out = append(out, o)
		}
	}
	return out
}

func gatewayClass(old, wanted gwv1.GatewayClassStatus, now metav1.Time) gwv1.GatewayClassStatus {
	wanted.Conditions = conditions(old.Conditions, wanted.Conditions, now)
	return wanted
}

func gateway(old, wanted gwv1.GatewayStatus, now metav1.Time) gwv1.GatewayStatus {
	wanted.Conditions = conditions(old.Conditions, wanted.Conditions, now)
	wanted.Listeners = listeners(old.Listeners, wanted.Listeners, now, func(l *gwv1.ListenerStatus) (gwv1.SectionName, *[]metav1.Condition) {
		return l.Name, &l.Conditions
	})
	return wanted
}

func listenerSet(old, wanted gwv1.ListenerSetStatus, now metav1.Time) gwv1.ListenerSetStatus {
	wanted.Conditions = conditions(old.Conditions, wanted.Conditions, now)
	wanted.Listeners = listeners(old.Listeners, wanted.Listeners, now, func(l *gwv1.ListenerEntryStatus) (gwv1.SectionName, *[]metav1.Condition) {
		return l.Name, &l.Conditions
	})
	return wanted
}

// listeners returns the wanted listeners, the conditions of each after those
// of the old one of its name.
func listeners[L any](old, wanted []L, now metav1.Time, read func(*L) (gwv1.SectionName, *[]metav1.Condition)) []L {
	was := map[gwv1.SectionName][]metav1.Condition{}
	for i := range old {
		name, its := read(&old[i])
		was[name] = *its
	}
	wanted = slices.Clone(wanted)
	for i := range wanted {
		name, its := read(&wanted[i])
		*its = conditions(was[name], *its, now)
	}
	return wanted
}

// maxAncestors is the API's limit for all controllers together.
const maxAncestors = 16

func ancestors(controller gwv1.GatewayController, old, wanted []gwv1.PolicyAncestorStatus, now metav1.Time) []gwv1.PolicyAncestorStatus {
	return entries(controller, maxAncestors, old, wanted, now, func(a *gwv1.PolicyAncestorStatus) entry {
		return entry{a.ControllerName, a.AncestorRef, &a.Conditions}
	})
}

func parents(controller gwv1.GatewayController, old, wanted []gwv1.RouteParentStatus, now metav1.Time) []gwv1.RouteParentStatus {
	return entries(controller, ingest.MaxParents, old, wanted, now, func(p *gwv1.RouteParentStatus) entry {
		return entry{p.ControllerName, p.ParentRef, &p.Conditions}
	})
}

// entry is what an entry of a list has into which every controller writes its own.
type entry struct {
	controller gwv1.GatewayController
	parent     gwv1.ParentReference
	conditions *[]metav1.Condition
}

// entries returns those of other controllers as they are, and ours as wanted,
// as far as there is room for most.
func entries[E any](controller gwv1.GatewayController, most int, old, wanted []E, now metav1.Time, read func(*E) entry) []E {
	out := []E{}
	var ours []entry
	for i := range old {
		if e := read(&old[i]); e.controller == controller {
			ours = append(ours, e)
		} else {
			out = append(out, old[i])
		}
	}
	for _, w := range wanted[:min(len(wanted), max(0, most-len(out)))] {
		e := read(&w)
		var was []metav1.Condition
		if n := slices.IndexFunc(ours, func(o entry) bool { return sameParent(o.parent, e.parent) }); n >= 0 {
			was = *ours[n].conditions
		}
		*e.conditions = conditions(was, *e.conditions, now)
		out = append(out, w)
	}
	return out
}

func sameParent(a, b gwv1.ParentReference) bool {
	return a.Name == b.Name && equal(a.Namespace, b.Namespace) && equal(a.SectionName, b.SectionName) &&
		equal(a.Port, b.Port) && equal(a.Kind, b.Kind) && equal(a.Group, b.Group)
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
