package check

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// gateways looks at classes, fleets, Gateways and listeners.
func (c *checker) gateways() string {
	ours := c.GatewayClasses()
	for _, class := range inventory.Sorted(c.Classes.Items) {
		if ours[class.Name] {
			c.condition(inventory.Ref("GatewayClass", "", class.Name), class.Status.Conditions, "Accepted", metav1.ConditionTrue)
		}
	}
	for _, f := range inventory.Sorted(c.Fleets.Items) {
		c.condition(inventory.Ref("EnvoyFleet", "", f.Name), f.Status.Conditions, "Ready", metav1.ConditionTrue)
	}
	n, programmed := 0, 0
	for _, g := range inventory.Sorted(c.Gateways.Items) {
		ref := inventory.Ref("Gateway", g.Namespace, g.Name)
		class := string(g.Spec.GatewayClassName)
		if !ours[class] {
			if inventory.Find(c.Classes.Items, "", class) == nil {
				c.warn(ref, reason.NotFound, "GatewayClass %s does not exist", class)
			}
			continue
		}
		n++
		c.condition(ref, g.Status.Conditions, "Accepted", metav1.ConditionTrue)
		if c.condition(ref, g.Status.Conditions, "Programmed", metav1.ConditionTrue) {
			programmed++
		}
		for _, l := range g.Status.Listeners {
			name := fmt.Sprintf("%s listener %s", ref, l.Name)
			for _, kind := range []string{"Accepted", "ResolvedRefs"} {
				c.condition(name, l.Conditions, kind, metav1.ConditionTrue)
			}
			if conflicted := meta.FindStatusCondition(l.Conditions, "Conflicted"); conflicted != nil {
				c.condition(name, l.Conditions, "Conflicted", metav1.ConditionFalse)
			}
			c.expiring(name, l.Conditions)
		}
	}
	for _, l := range inventory.Sorted(c.ListenerSets.Items) {
		namespace := l.Namespace
		if l.Spec.ParentRef.Namespace != nil {
			namespace = string(*l.Spec.ParentRef.Namespace)
		}
		g := inventory.Find(c.Gateways.Items, namespace, string(l.Spec.ParentRef.Name))
		ref := inventory.Ref("ListenerSet", l.Namespace, l.Name)
		switch {
		case g == nil:
			c.warn(ref, reason.NotFound, "its parent, %s, does not exist", inventory.Ref("Gateway", namespace, string(l.Spec.ParentRef.Name)))
		case ours[string(g.Spec.GatewayClassName)]:
			c.condition(ref, l.Status.Conditions, "Accepted", metav1.ConditionTrue)
			c.condition(ref, l.Status.Conditions, "Programmed", metav1.ConditionTrue)
			for _, e := range l.Status.Listeners {
				name := fmt.Sprintf("%s listener %s", ref, e.Name)
				c.condition(name, e.Conditions, "ResolvedRefs", metav1.ConditionTrue)
				c.expiring(name, e.Conditions)
			}
		}
	}
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d programmed", programmed, n)
}

// expiring warns of certificates that end soon, and of CA certificates that are
// not valid while others are.
func (c *checker) expiring(ref string, conditions []metav1.Condition) {
	for _, kind := range []string{names.CertificateExpiring, names.CACertificateWarning} {
		if e := meta.FindStatusCondition(conditions, kind); e != nil && e.Status == metav1.ConditionTrue {
			c.warn(ref, reason.Reason(e.Reason), "%s", e.Message)
		}
	}
}

// condition fails unless a condition has the status that is wanted.
func (c *checker) condition(ref string, conditions []metav1.Condition, kind string, want metav1.ConditionStatus) bool {
	found := meta.FindStatusCondition(conditions, kind)
	switch {
	case found == nil:
		if c.runs("gateway") {
			c.fail(ref, reason.NotReported, "the gateway has said nothing of %s", kind)
		}
		return false
	case found.Status != want:
		c.fail(ref, reason.Reason(found.Reason), "%s is %s: %s", kind, found.Status, found.Message)
		return false
	}
	return true
}

// routes looks at the routes that name a Gateway of ours, and at what is
// behind them.
func (c *checker) routes() string {
	ours := c.GatewayClasses()
	n, accepted := 0, 0
	told := map[string]bool{}
	for _, r := range c.Routes() {
		concerns, fine, omitted := false, true, ""
		for _, p := range r.Parents {
			g, ok := c.Gateway(&r, p)
			if !ok {
				continue
			}
			if g == nil {
				c.warn(r.Ref(), reason.NotFound, "its parent, %s, does not exist", r.ParentRef(p))
				continue
			}
			if !ours[string(g.Spec.GatewayClassName)] {
				continue
			}
			concerns = true
			conditions, found := r.Status(p)
			if !found {
				if c.runs("gateway") {
					c.fail(r.Ref(), reason.NotReported, "the gateway has said nothing of it at %s", r.ParentRef(p))
				}
				fine = false
				continue
			}
			for _, kind := range []string{"Accepted", "ResolvedRefs"} {
				fine = c.condition(r.Ref(), conditions, kind, metav1.ConditionTrue) && fine
			}
			if o := meta.FindStatusCondition(conditions, names.DefaultGatewaysOmitted); o != nil && o.Message != omitted {
				omitted = o.Message // the same at each parent
				c.warn(r.Ref(), reason.Reason(o.Reason), "%s", omitted)
			}
		}
		if !concerns {
			continue
		}
		n++
		if fine {
			accepted++
			c.backends(&r, told)
		}
	}
	c.policies()
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d accepted", accepted, n)
}

// policies looks at the BackendTLSPolicies that count for Gateways of ours. It
// is the same that is said of one for each of them.
func (c *checker) policies() {
	for _, p := range inventory.Sorted(c.BackendTLSPolicies.Items) {
		i := slices.IndexFunc(p.Status.Ancestors, func(a gatewayv1.PolicyAncestorStatus) bool { return a.ControllerName == c.GatewayController() })
		if i < 0 {
			continue
		}
		ref, conditions := inventory.Ref("BackendTLSPolicy", p.Namespace, p.Name), p.Status.Ancestors[i].Conditions
		if c.condition(ref, conditions, "Accepted", metav1.ConditionTrue) {
			c.condition(ref, conditions, "ResolvedRefs", metav1.ConditionTrue)
		}
		c.expiring(ref, conditions)
	}
}

// backends tells, once for each Service, of those without a ready endpoint.
func (c *checker) backends(r *inventory.Route, told map[string]bool) {
	for _, rule := range r.Rules {
		for _, b := range rule.Backends {
			namespace, name, ok := r.Service(b)
			ref := inventory.Ref("Service", namespace, name)
			if !ok || b.Port == nil || told[ref] {
				continue
			}
			s := inventory.Find(c.Services.Items, namespace, name)
			if s == nil {
				continue // ResolvedRefs says so
			}
			for _, port := range s.Spec.Ports {
				if port.Port == int32(*b.Port) && ready(c.Endpoints(s, port)) == 0 {
					told[ref] = true
					c.fail(ref, reason.NoEndpoints, "%s sends requests to port %d of it, where no endpoint is ready", r.Ref(), port.Port)
				}
			}
		}
	}
}

func ready(endpoints []inventory.Endpoint) int {
	n := 0
	for _, e := range endpoints {
		if e.Ready {
			n++
		}
	}
	return n
}
