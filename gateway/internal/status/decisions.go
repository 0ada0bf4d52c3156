package status

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// decision is what a status says with one condition.
type decision struct {
	status          metav1.ConditionStatus
	reason, message string
}

// decisions returns what a status says of ours, by what it is about: the type
// of a condition, after the listener or the parent that it belongs to.
func decisions(controller gwv1.GatewayController, status any) map[string]decision {
	out := map[string]decision{}
	add := func(of string, conditions []metav1.Condition) {
		for _, c := range conditions {
			out[of+c.Type] = decision{c.Status, c.Reason, c.Message}
		}
	}
	switch s := status.(type) {
	case gwv1.GatewayClassStatus:
		add("", s.Conditions)
	case gwv1.GatewayStatus:
		add("", s.Conditions)
		for _, l := range s.Listeners {
			add(fmt.Sprintf("listener %s: ", l.Name), l.Conditions)
		}
	case gwv1.ListenerSetStatus:
		add("", s.Conditions)
		for _, l := range s.Listeners {
			add(fmt.Sprintf("listener %s: ", l.Name), l.Conditions)
		}
	case []gwv1.RouteParentStatus:
		for _, p := range s {
			if p.ControllerName == controller {
				add(parent(p.ParentRef)+": ", p.Conditions)
			}
		}
	case []gwv1.PolicyAncestorStatus:
		for _, a := range s {
			if a.ControllerName == controller {
				add(parent(a.AncestorRef)+": ", a.Conditions)
			}
		}
	}
	return out
}

func (d decision) String() string {
	if d.message == "" {
		return fmt.Sprintf("%s %s", d.status, d.reason)
	}
	return fmt.Sprintf("%s %s: %s", d.status, d.reason, d.message)
}

// decided lists what a status says that the one before did not, and what it
// says no more.
func decided(controller gwv1.GatewayController, before, now any) []string {
	was, is := decisions(controller, before), decisions(controller, now)
	var out []string
	for _, about := range slices.Sorted(maps.Keys(is)) {
		if d := is[about]; was[about] != d {
			out = append(out, about+"="+d.String())
		}
	}
	for _, about := range slices.Sorted(maps.Keys(was)) {
		if _, still := is[about]; !still {
			out = append(out, about+" withdrawn")
		}
	}
	return out
}

// parent names what a reference refers to, and of that the part.
func parent(r gwv1.ParentReference) string {
	out := "Gateway "
	if r.Kind != nil {
		out = string(*r.Kind) + " "
	}
	if r.Namespace != nil {
		out += string(*r.Namespace) + "/"
	}
	out += string(r.Name)
	if r.SectionName != nil {
		out += "/" + string(*r.SectionName)
	}
	if r.Port != nil {
		out += fmt.Sprintf(":%d", *r.Port)
	}
	return out
}
