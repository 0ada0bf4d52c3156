package status

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// decision is what a status says with one condition; zero: nothing.
type decision struct {
	kind            string // the condition's type
	status          metav1.ConditionStatus
	reason, message string
}

// turn is a decision that is another than before.
type turn struct {
	// about is the type of the condition, after the listener or the parent that
	// it belongs to.
	about   string
	was, is decision
}

// decisions returns what a status says of ours, by what it is about.
func decisions(controller gwv1.GatewayController, status any) map[string]decision {
	out := map[string]decision{}
	add := func(of string, conditions []metav1.Condition) {
		for _, c := range conditions {
			out[of+c.Type] = decision{c.Type, c.Status, c.Reason, c.Message}
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

// decided returns what a status says that the one before did not, and what it
// says no more, each sorted.
func decided(controller gwv1.GatewayController, before, now any) []turn {
	was, is := decisions(controller, before), decisions(controller, now)
	var out []turn
	for _, about := range slices.Sorted(maps.Keys(is)) {
		if is[about] != was[about] {
			out = append(out, turn{about, was[about], is[about]})
		}
	}
	for _, about := range slices.Sorted(maps.Keys(was)) {
		if _, still := is[about]; !still {
			out = append(out, turn{about: about, was: was[about]})
		}
	}
	return out
}

// MarshalText is how the log has it.
func (t turn) MarshalText() ([]byte, error) {
	switch {
	case t.is == decision{}:
		return []byte(t.about + " withdrawn"), nil
	case t.is.message == "":
		return fmt.Appendf(nil, "%s=%s %s", t.about, t.is.status, t.is.reason), nil
	}
	return fmt.Appendf(nil, "%s=%s %s: %s", t.about, t.is.status, t.is.reason, t.is.message), nil
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
