package ingest

import (
	"maps"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// chains makes the chains of one port from its accepted listeners. HTTP
// listeners share one, since only the Host header tells them apart; where TLS
// is spoken, the server name does.
func (g *gateway) chains(l *ir.Listener, listeners []*listener) []ir.Chain {
	switch l.Protocol {
	case ir.HTTP:
		at := place{binding{certificate: g.certificate}, "http", l.Port}
		hosts := hostRoutes{}
		for i := range listeners {
			hosts.add(at, listeners, i)
		}
		return []ir.Chain{{Name: l.Name(), Table: &ir.RouteTable{Hosts: hosts.virtualHosts()}}}
	case ir.TLS:
		var out []ir.Chain
		for i, own := range listeners {
			switch {
			case own.spec.Protocol == gwv1.TLSProtocolType:
				out = append(out, g.streamChains(l, listeners, i)...)
			case own.servable():
				out = append(out, g.tableChain(l, listeners, i))
			}
		}
		return out
	default:
		return []ir.Chain{{Name: l.Name(), Stream: stream(listeners[0].routes, binding{})}}
	}
}

// tableChain makes the chain of an HTTPS listener.
func (g *gateway) tableChain(l *ir.Listener, listeners []*listener, i int) ir.Chain {
	own := listeners[i]
	hosts := hostRoutes{}
	hosts.add(place{binding{certificate: g.certificate}, "https", l.Port}, listeners, i)
	t := &ir.RouteTable{Hosts: append(hosts.virtualHosts(), misdirected(listeners, own)...)}
	ir.SortHosts(t.Hosts)
	return ir.Chain{
		Name:         l.Name() + "/" + domain(own.hostname),
		ServerName:   own.hostname,
		Certificates: own.certificates,
		Clients:      own.clients,
		Table:        t,
	}
}

// streamChains makes the chains of a TLS listener: one for each of its routes'
// server names, and one for its own, so that no less specific listener gets
// what belongs to it.
func (g *gateway) streamChains(l *ir.Listener, listeners []*listener, i int) []ir.Chain {
	own := listeners[i]
	at := binding{certificate: g.certificate, passthrough: own.passthrough()}
	type best struct {
		hostname string
		routes   []*route
	}
	names := map[string]*best{domain(own.hostname): {}}
	for _, r := range own.routes {
		for d, hostname := range r.domains(own.hostname) {
			b := names[d]
			if b == nil {
				b = &best{}
				names[d] = b
			}
			switch c := ir.CompareSpecificity(hostname, b.hostname); {
			case owned(listeners, d) != i:
			case b.routes == nil || c > 0:
				b.hostname, b.routes = hostname, []*route{r}
			case c == 0:
				b.routes = append(b.routes, r)
			}
		}
	}
	var out []ir.Chain
	for _, d := range slices.Sorted(maps.Keys(names)) {
		if owned(listeners, d) != i {
			continue
		}
		c := ir.Chain{Name: l.Name() + "/" + d, Stream: &ir.Stream{}}
		if d != anyDomain {
			c.ServerName = d
		}
		if own.servable() {
			c.Certificates, c.Stream = own.certificates, stream(names[d].routes, at)
		}
		out = append(out, c)
	}
	return out
}

// hostRoutes collects the routes of a table by domain.
type hostRoutes map[string][]*ir.Candidate

// add takes in the routes of the listener at index i of those of one port. A
// request belongs to the listener with the most specific hostname that covers
// it, and to that one alone (listener isolation).
func (h hostRoutes) add(at place, listeners []*listener, i int) {
	own := listeners[i]
	if d := domain(own.hostname); h[d] == nil && d != anyDomain {
		// Without routes too, its hosts get 404 and do not fall to a listener
		// that is less specific.
		h[d] = []*ir.Candidate{}
	}
	for _, r := range own.routes {
		for d, hostname := range r.domains(own.hostname) {
			if owned(listeners, d) == i {
				h[d] = r.appendCandidates(h[d], hostname, at)
			}
		}
	}
}

// virtualHosts puts what was collected in order.
func (h hostRoutes) virtualHosts() []ir.VirtualHost {
	out := make([]ir.VirtualHost, 0, len(h))
	for _, d := range slices.Sorted(maps.Keys(h)) {
		candidates := h[d]
		slices.SortFunc(candidates, ir.ByPrecedence)
		v := ir.VirtualHost{Domain: d}
		for _, c := range candidates {
			v.Routes = append(v.Routes, c.Route)
		}
		out = append(out, v)
	}
	return out
}

// misdirected returns the virtual hosts of a chain for the hosts that belong
// to other listeners of the port. A client that reuses its connection for one
// of those is told so, and comes back on another connection (RFC 9110 section
// 15.5.20; Gateway API: Listener.Hostname).
func misdirected(listeners []*listener, own *listener) []ir.VirtualHost {
	const misdirectedRequest = 421
	var out []ir.VirtualHost
	for _, other := range listeners {
		if other == own {
			continue
		}
		out = append(out, ir.VirtualHost{Domain: domain(other.hostname), Routes: []ir.Route{{
			Name:    "misdirected",
			Match:   ir.Match{Path: ir.PathPrefix, Value: "/"},
			Respond: &ir.Respond{Status: misdirectedRequest},
		}}})
	}
	return out
}
