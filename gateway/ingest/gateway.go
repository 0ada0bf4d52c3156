package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// gateway is a Gateway of ours and what is decided about it.
type gateway struct {
	obj   *gwv1.Gateway
	name  types.NamespacedName
	class *class
	// parameters is the EnvoyFleet: the Gateway's own, or its class's.
	parameters types.NamespacedName
	// fleet is the group of Envoys that serves the Gateway, log what they write.
	fleet     types.NamespacedName
	log       *ir.AccessLog
	accepted  verdict
	addresses []netip.Addr
	// listeners of the Gateway itself, and those of its ListenerSets, the sets
	// in order of precedence.
	listeners []*listener
	sets      []*listenerSet
	// certificate is what backends are shown, if they ask.
	certificate *types.NamespacedName
	// certified says whether that could be resolved.
	certified verdict
	facts     Facts
	// byPort are the ports that the Gateway wants.
	byPort map[PlanPort]*port
}

// newGateway decides about a Gateway and its ListenerSets, which are in order
// of precedence.
func newGateway(x *index, c *class, obj *gwv1.Gateway, sets []*gwv1.ListenerSet) *gateway {
	g := &gateway{obj: obj, name: nameOf(obj), class: c, parameters: c.fleet, facts: x.facts[nameOf(obj)]}
	for i := range obj.Spec.Listeners {
		g.listeners = append(g.listeners, newListener(x, obj, owner{"Gateway", g.name}, &obj.Spec.Listeners[i]))
	}
	groups := [][]*listener{g.listeners}
	for _, s := range sets {
		set := newListenerSet(x, g, s)
		g.sets = append(g.sets, set)
		groups = append(groups, set.listeners)
	}
	findConflicts(groups)
	own, valid := x.ownParameters(obj)
	if own != nil {
		g.parameters = *own
	}
	if g.addresses, g.accepted = g.accept(); !valid.ok && c.accepted.ok {
		g.addresses, g.accepted = nil, valid
	}
	g.fleet, g.log = g.fleetName(x), accessLog(x.fleet(g.parameters))
	g.makePorts()
	g.certified = yes(gwv1.GatewayReasonResolvedRefs, "All references are resolved.")
	if t := obj.Spec.TLS; t != nil && t.Backend != nil && t.Backend.ClientCertificateRef != nil {
		c, refused := x.certificate(owner{"Gateway", g.name}, t.Backend.ClientCertificateRef, string(gwv1.GatewayReasonInvalidClientCertificateRef))
		if refused == nil {
			g.certificate = &c.name
			refused = x.invalid(c)
		}
		if refused != nil {
			g.certified = *refused
		}
	}
	return g
}

// all returns the listeners of the Gateway and of its ListenerSets.
func (g *gateway) all() []*listener {
	out := slices.Clone(g.listeners)
	for _, s := range g.sets {
		out = append(out, s.listeners...)
	}
	return out
}

// accept decides whether the Gateway as a whole can be served, and which
// addresses it asks for.
func (g *gateway) accept() ([]netip.Addr, verdict) {
	if !g.class.accepted.ok {
		return nil, no(gwv1.GatewayReasonInvalidParameters,
			fmt.Sprintf("GatewayClass %s is not accepted: %s", g.class.obj.Name, g.class.accepted.message))
	}
	var asked []netip.Addr
	for _, a := range g.obj.Spec.Addresses {
		if a.Type != nil && *a.Type != gwv1.IPAddressType {
			return nil, no(gwv1.GatewayReasonUnsupportedAddress,
				fmt.Sprintf("Addresses of type %s are not supported; those of type %s are.", *a.Type, gwv1.IPAddressType))
		}
		if a.Value == "" {
			continue
		}
		addr, err := netip.ParseAddr(a.Value)
		if err != nil {
			return nil, no(gwv1.GatewayReasonUnsupportedAddress, fmt.Sprintf("%q is not an IP address.", a.Value))
		}
		asked = append(asked, addr)
	}

	var invalid []string
	for _, l := range g.listeners {
		if !l.accepted.ok {
			invalid = append(invalid, string(l.spec.Name))
		}
	}
	switch {
	case len(invalid) == 0:
		return asked, yes(gwv1.GatewayReasonAccepted, "The Gateway is accepted.")
	case !slices.ContainsFunc(g.all(), func(l *listener) bool { return l.accepted.ok }):
		return asked, no(gwv1.GatewayReasonListenersNotValid, "No listener is accepted.")
	default:
		return asked, yes(gwv1.GatewayReasonListenersNotValid,
			fmt.Sprintf("Listeners that are not accepted: %s.", strings.Join(invalid, ", ")))
	}
}

// makePorts collects the accepted listeners by port.
func (g *gateway) makePorts() {
	g.byPort = map[PlanPort]*port{}
	if !g.accepted.ok {
		return
	}
	for _, l := range g.all() {
		if !l.accepted.ok {
			continue
		}
		at := PlanPort{l.spec.Port, l.protocol()}
		if g.byPort[at] == nil {
			g.byPort[at] = &port{plan: at, whole: true, domains: map[string]struct{}{}}
		}
		g.byPort[at].listeners = append(g.byPort[at].listeners, l)
	}
}

// portOf returns the port of a listener; nil where it is not accepted.
func (g *gateway) portOf(l *listener) *port {
	if !l.accepted.ok {
		return nil
	}
	return g.byPort[PlanPort{l.spec.Port, l.protocol()}]
}

// ports returns the ports of the accepted listeners, sorted.
func (g *gateway) ports() []PlanPort {
	return slices.SortedFunc(maps.Keys(g.byPort), func(a, b PlanPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
}

func (g *gateway) plan() GatewayPlan {
	p := GatewayPlan{Name: g.name, Fleet: g.fleet, Ports: g.ports(), Addresses: g.addresses}
	p.Labels, p.Annotations = g.infrastructure()
	return p
}

// programmed decides whether the Gateway serves what it should.
func (g *gateway) programmed() verdict {
	if !g.accepted.ok {
		return no(gwv1.GatewayReasonInvalid, "The Gateway is not accepted.")
	}
	return g.serves(g.all())
}

// serves decides whether the Gateway serves the listeners, which are its own
// or a ListenerSet's.
func (g *gateway) serves(listeners []*listener) verdict {
	servable, waiting := false, []string(nil)
	for _, l := range listeners {
		if !l.servable() {
			continue
		}
		servable = true
		if !g.facts.Programmed[l.spec.Port] {
			waiting = append(waiting, string(l.spec.Name))
		}
	}
	switch {
	case !servable:
		return no(gwv1.GatewayReasonInvalid, "No listener can be served.")
	case g.facts.ServiceRefused != "":
		return no(reason.ServiceRefused, "The Gateway's Service cannot be as it should: "+g.facts.ServiceRefused)
	case g.facts.AddressRefused != "":
		return no(gwv1.GatewayReasonAddressNotUsable, g.facts.AddressRefused)
	case len(g.facts.Addresses) == 0:
		return no(gwv1.GatewayReasonAddressNotAssigned, "The Gateway's Service has no address yet.")
	case len(waiting) > 0:
		return no(gwv1.GatewayReasonPending,
			fmt.Sprintf("The Envoys have not acknowledged these listeners yet: %s.", strings.Join(waiting, ", ")))
	default:
		return yes(gwv1.GatewayReasonProgrammed, "The Gateway has an address and the Envoys have acknowledged its listeners.")
	}
}

func (g *gateway) resolved() verdict {
	if !g.certified.ok {
		return g.certified
	}
	for _, l := range g.listeners {
		if !l.resolved.ok {
			return no(gwv1.GatewayReasonListenersNotResolved, fmt.Sprintf("Listener %s: %s", l.spec.Name, l.resolved.message))
		}
	}
	return g.certified
}

// insecure says whether some listener lets in clients that it cannot tell.
func (g *gateway) insecure() bool {
	return slices.ContainsFunc(g.all(), func(l *listener) bool { return l.clients != nil && l.clients.Optional })
}

func (g *gateway) status() GatewayStatus {
	generation := g.obj.Generation
	s := GatewayStatus{Name: g.name, Status: gwv1.GatewayStatus{
		Conditions: []metav1.Condition{
			condition(gwv1.GatewayConditionAccepted, g.accepted, generation),
			condition(gwv1.GatewayConditionProgrammed, g.programmed(), generation),
			condition(gwv1.GatewayConditionResolvedRefs, g.resolved(), generation),
		},
	}}
	if g.insecure() {
		s.Status.Conditions = append(s.Status.Conditions, condition(gwv1.GatewayConditionInsecureFrontendValidationMode,
			yes(gwv1.GatewayReasonConfigurationChanged, "Clients without a valid certificate are let in (AllowInsecureFallback)."), generation))
	}
	if IsDefault(g.obj) {
		s.Status.Conditions = append(s.Status.Conditions, condition(DefaultGateway,
			yes(reason.DefaultScope, fmt.Sprintf("The Gateway has default scope %s.", g.obj.Spec.DefaultScope)), generation))
	}
	if g.accepted.ok {
		for _, a := range g.facts.Addresses {
			s.Status.Addresses = append(s.Status.Addresses,
				gwv1.GatewayStatusAddress{Type: ptr(gwv1.IPAddressType), Value: a.String()})
		}
	}
	for _, l := range g.listeners {
		s.Status.Listeners = append(s.Status.Listeners,
			l.status(g.accepted.ok, g.facts.Programmed[l.spec.Port], generation))
	}
	if len(g.sets) > 0 || g.obj.Spec.AllowedListeners != nil {
		s.Status.AttachedListenerSets = ptr(int32(0))
		for _, set := range g.sets {
			if set.accepted().ok {
				*s.Status.AttachedListenerSets++
			}
		}
	}
	return s
}
