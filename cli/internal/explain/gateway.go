package explain

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

func (e *explainer) explainGateway(name string) error {
	picked, err := pick("Gateway", name, gatewayNames(e.Objects))
	if err != nil {
		return err
	}
	namespace, short, _ := strings.Cut(picked, "/")
	g := inventory.Find(e.Gateways.Items, namespace, short)
	e.about(inventory.Ref("Gateway", namespace, short))
	if !e.class(g) {
		return nil
	}
	for i := range g.Spec.Listeners {
		e.listener(g, &g.Spec.Listeners[i])
	}
	e.way(g)
	e.programmed(g)
	e.attached(g)
	return nil
}

// class says whose the Gateway is, and which Envoys serve it.
func (e *explainer) class(g *gatewayv1.Gateway) bool {
	name := string(g.Spec.GatewayClassName)
	c := inventory.Find(e.Classes.Items, "", name)
	controller := e.GatewayController()
	switch {
	case c == nil:
		e.broken("class", reason.NotFound, fmt.Sprintf("GatewayClass %s does not exist", name))
		return false
	case c.Spec.ControllerName != controller:
		e.broken("class", reason.NotOurs, fmt.Sprintf("GatewayClass %s is that of %s, not %s", name, c.Spec.ControllerName, controller))
		return false
	}
	if !e.condition("class", c.Status.Conditions, "Accepted", metav1.ConditionTrue, "GatewayClass "+name) {
		return false
	}
	if ref := c.Spec.ParametersRef; ref != nil && ref.Namespace != nil {
		f := inventory.Find(e.Fleets.Items, string(*ref.Namespace), ref.Name)
		if f != nil {
			e.condition("fleet", f.Status.Conditions, "Ready", metav1.ConditionTrue,
				fmt.Sprintf("EnvoyFleet %s, %d of %d Envoys ready", f.Name, f.Status.ReadyReplicas, inventory.Replicas(f.Spec.Replicas)))
		}
	}
	return e.condition("accepted", g.Status.Conditions, "Accepted", metav1.ConditionTrue, "the Gateway is valid")
}

// programmed says whether the Envoys have acknowledged the Gateway.
func (e *explainer) programmed(g *gatewayv1.Gateway) {
	c := meta.FindStatusCondition(g.Status.Conditions, "Programmed")
	switch {
	case c == nil:
		e.broken("programmed", reason.NotReported, "nobody has said whether the Envoys have it")
	case c.Status != metav1.ConditionTrue:
		e.broken("programmed", reason.Reason(c.Reason), c.Message)
	default:
		e.holds("programmed", "the Envoys have acknowledged it")
	}
}

// way goes from the address of the Gateway to its Envoys.
func (e *explainer) way(g *gatewayv1.Gateway) {
	s := e.GatewayService(g.Namespace, g.Name)
	if s == nil {
		e.broken("service", reason.NotReported, "the gateway has made no Service for it")
		return
	}
	e.holds("service", inventory.Ref("Service", s.Namespace, s.Name))
	e.address(s)
	e.announcement(s)
	e.endpoints("Envoys", s)
}

// listener says whether a listener is served.
func (e *explainer) listener(g *gatewayv1.Gateway, l *gatewayv1.Listener) {
	text := fmt.Sprintf("%s on port %d, %s", l.Name, l.Port, l.Protocol)
	if l.Hostname != nil {
		text += ", for " + string(*l.Hostname)
	}
	envoy := Detail{Subject: "Envoy", Text: "listener " + ir.ListenerName(types.NamespacedName{Namespace: g.Namespace, Name: g.Name}, l.Port, protocol(l))}
	for _, st := range g.Status.Listeners {
		if st.Name != l.Name {
			continue
		}
		if c := meta.FindStatusCondition(st.Conditions, "Conflicted"); c != nil && c.Status == metav1.ConditionTrue {
			e.broken("listener", reason.Reason(c.Reason), text+": "+c.Message)
			return
		}
		for _, kind := range []string{"Accepted", "ResolvedRefs"} {
			if c := meta.FindStatusCondition(st.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
				e.broken("listener", reason.Reason(c.Reason), text+": "+c.Message)
				return
			}
		}
		e.condition("listener", st.Conditions, "Programmed", metav1.ConditionTrue, fmt.Sprintf("%s; attached routes: %d", text, st.AttachedRoutes), envoy)
		return
	}
	e.broken("listener", reason.NotReported, text+": the gateway has said nothing of it")
}

// protocol of a listener, as far as the name of Envoy's depends on it.
func protocol(l *gatewayv1.Listener) ir.Protocol {
	if l.Protocol == gatewayv1.UDPProtocolType {
		return ir.UDP
	}
	return ir.TCP
}

// attached lists the routes that name the Gateway.
func (e *explainer) attached(g *gatewayv1.Gateway) {
	for _, r := range e.Routes() {
		for _, p := range r.Parents {
			if to, _ := e.Gateway(&r, p); to == nil || to.Namespace != g.Namespace || to.Name != g.Name {
				continue
			}
			state, why, text := e.routeState(&r, p)
			if state == Broken {
				e.broken("route", why, r.Ref()+": "+text)
			} else {
				e.holds("route", r.Ref())
			}
		}
	}
}

// routeState says whether a route is accepted at a parent, with all that it
// refers to.
func (e *explainer) routeState(r *inventory.Route, p gatewayv1.ParentReference) (State, reason.Reason, string) {
	conditions, ok := r.Status(p)
	if !ok {
		return Broken, reason.NotReported, "the gateway has said nothing of it"
	}
	for _, kind := range []string{"Accepted", "ResolvedRefs"} {
		c := meta.FindStatusCondition(conditions, kind)
		switch {
		case c == nil:
			return Broken, reason.NotReported, "nobody has said whether it is " + kind
		case c.Status != metav1.ConditionTrue:
			return Broken, reason.Reason(c.Reason), c.Message
		}
	}
	return Holds, "", ""
}

// route explains the routes of one kind.
func route(kind string) func(*explainer, string) error {
	return func(e *explainer, name string) error {
		picked, err := pick(kind, name, routeNames(kind)(e.Objects))
		if err != nil {
			return err
		}
		for _, r := range e.Routes() {
			if r.Kind == kind && r.Namespace+"/"+r.Name == picked {
				e.route(&r)
			}
		}
		return nil
	}
}

func (e *explainer) route(r *inventory.Route) {
	e.about(r.Ref())
	ours := e.GatewayClasses()
	switch {
	case r.UsesDefaults && len(r.Parents) == r.Defaults:
		say := func(link, text string) { e.note(link, text) }
		if r.Defaults == 0 {
			say = func(link, text string) { e.broken(link, reason.NotFound, text) }
		}
		say("parent", "it asks for default Gateways, and no Gateway that it does not name is one")
	case len(r.Parents) == 0:
		e.broken("parent", reason.NotOurs, "it names no parent")
	}
	for i, p := range r.Parents {
		g, ok := e.Gateway(r, p)
		ref := r.ParentRef(p)
		switch {
		case !ok:
			e.note("parent", ref+" is not followed")
			continue
		case g == nil:
			e.broken("parent", reason.NotFound, ref+" does not exist")
			continue
		case !ours[string(g.Spec.GatewayClassName)]:
			e.note("parent", ref+" is of class "+string(g.Spec.GatewayClassName)+", which is not this installation's")
			continue
		}
		if i >= r.Defaults {
			ref += ", a default Gateway"
		}
		e.holds("parent", ref)
		e.way(g)
		for i := range g.Spec.Listeners {
			l := &g.Spec.Listeners[i]
			if own := p.Kind == nil || *p.Kind == "Gateway"; own && // those of a ListenerSet are not the Gateway's
				(p.SectionName == nil || *p.SectionName == l.Name) && (p.Port == nil || *p.Port == l.Port) {
				e.listener(g, l)
			}
		}
		if state, why, text := e.routeState(r, p); state == Broken {
			e.broken("route", why, text)
		} else {
			e.holds("route", "accepted"+hostnames(r))
		}
		e.omitted(r, p)
	}
	for i, rule := range r.Rules {
		e.rule(r, i, rule)
	}
}

// omitted names the default Gateways that the route has no room for.
func (e *explainer) omitted(r *inventory.Route, p gatewayv1.ParentReference) {
	conditions, _ := r.Status(p)
	if c := meta.FindStatusCondition(conditions, names.DefaultGatewaysOmitted); c != nil {
		e.note("route", c.Message)
	}
}

func hostnames(r *inventory.Route) string {
	if len(r.Hostnames) == 0 {
		return ""
	}
	var all []string
	for _, h := range r.Hostnames {
		all = append(all, string(h))
	}
	return ", for " + strings.Join(all, ", ")
}

// rule says what is behind a rule.
func (e *explainer) rule(r *inventory.Route, i int, rule inventory.Rule) {
	link := fmt.Sprintf("rule %d", i+1)
	if rule.Name != "" {
		link = "rule " + rule.Name
	}
	if len(rule.Backends) == 0 {
		e.note(link, "has no backend: Envoy answers by itself")
		return
	}
	for _, b := range rule.Backends {
		namespace, name, ok := r.Service(b)
		if !ok || b.Port == nil {
			e.note(link, fmt.Sprintf("%s, which is no Service with a port, is not followed", b.Name))
			continue
		}
		ref := inventory.Ref("Service", namespace, name)
		s := inventory.Find(e.Services.Items, namespace, name)
		if s == nil {
			e.broken(link, "BackendNotFound", ref+" does not exist")
			continue
		}
		envoy := Detail{Subject: "Envoy", Text: fmt.Sprintf("cluster %s/%s/%d/*", namespace, name, *b.Port)}
		if r.Kind == "HTTPRoute" || r.Kind == "GRPCRoute" {
			envoy.Text = fmt.Sprintf("route %s/%s/%d/*, ", r.Namespace, r.Name, i) + envoy.Text
		}
		e.backend(link, ref, s, int32(*b.Port), envoy)
	}
}

func (e *explainer) backend(link, ref string, s *corev1.Service, number int32, envoy Detail) {
	for _, port := range s.Spec.Ports {
		if port.Port == number {
			before := len(e.report.Links)
			e.port(link, s, port)
			l := &e.report.Links[before]
			l.Text = ref + " " + l.Text
			l.Details = append([]Detail{envoy}, l.Details...)
			return
		}
	}
	e.broken(link, "BackendNotFound", fmt.Sprintf("%s has no port %d", ref, number))
}

// gatewayOf names the Gateway that a Service was made for; empty: none.
func (e *explainer) gatewayOf(s *corev1.Service) string {
	name := s.Labels[gatewayv1.GatewayNameLabelKey]
	if name == "" || s.Labels[names.ManagedBy] != names.Porchlight {
		return ""
	}
	return inventory.Ref("Gateway", s.Namespace, name)
}
