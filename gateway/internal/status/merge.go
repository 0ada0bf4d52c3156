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
	wanted.Listeners = slices.Clone(wanted.Listeners)
	for i := range wanted.Listeners {
		l := &wanted.Listeners[i]
		var was []metav1.Condition
		if n := slices.IndexFunc(old.Listeners, func(o gwv1.ListenerStatus) bool { return o.Name == l.Name }); n >= 0 {
			was = old.Listeners[n].Conditions
		}
		l.Conditions = conditions(was, l.Conditions, now)
	}
	return wanted
}

func listenerSet(old, wanted gwv1.ListenerSetStatus, now metav1.Time) gwv1.ListenerSetStatus {
	wanted.Conditions = conditions(old.Conditions, wanted.Conditions, now)
	wanted.Listeners = slices.Clone(wanted.Listeners)
	for i := range wanted.Listeners {
		l := &wanted.Listeners[i]
		var was []metav1.Condition
		if n := slices.IndexFunc(old.Listeners, func(o gwv1.ListenerEntryStatus) bool { return o.Name == l.Name }); n >= 0 {
			was = old.Listeners[n].Conditions
		}
		l.Conditions = conditions(was, l.Conditions, now)
	}
	return wanted
}

// maxAncestors is the API's limit for all controllers together.
const maxAncestors = 16

// ancestors returns the entries of other controllers as they are, and ours as
// wanted, as far as there is room.
func ancestors(controller gwv1.GatewayController, old, wanted []gwv1.PolicyAncestorStatus, now metav1.Time) []gwv1.PolicyAncestorStatus {
	out := []gwv1.PolicyAncestorStatus{}
	for _, o := range old {
		if o.ControllerName != controller {
			out = append(out, o)
		}
	}
	for _, w := range wanted[:min(len(wanted), max(0, maxAncestors-len(out)))] {
		var was []metav1.Condition
		n := slices.IndexFunc(old, func(o gwv1.PolicyAncestorStatus) bool {
			return o.ControllerName == controller && sameParent(o.AncestorRef, w.AncestorRef)
		})
		if n >= 0 {
			was = old[n].Conditions
		}
		w.Conditions = conditions(was, w.Conditions, now)
		out = append(out, w)
	}
	return out
}

// parents returns the entries of other controllers as they are, and ours as
// wanted, as far as there is room.
func parents(controller gwv1.GatewayController, old, wanted []gwv1.RouteParentStatus, now metav1.Time) []gwv1.RouteParentStatus {
	out := []gwv1.RouteParentStatus{}
	for _, o := range old {
		if o.ControllerName != controller {
			out = append(out, o)
		}
	}
	for _, w := range wanted[:min(len(wanted), max(0, ingest.MaxParents-len(out)))] {
		var was []metav1.Condition
		n := slices.IndexFunc(old, func(o gwv1.RouteParentStatus) bool {
			return o.ControllerName == controller && sameParent(o.ParentRef, w.ParentRef)
		})
		if n >= 0 {
			was = old[n].Conditions
		}
		w.Conditions = conditions(was, w.Conditions, now)
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
