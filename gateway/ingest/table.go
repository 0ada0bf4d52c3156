package ingest

import (
	"maps"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// chains makes the chains of one port from its accepted listeners. HTTP
// listeners share one, since only the Host header tells them apart; each HTTPS
// listener has its own, by server name.
func chains(l *ir.Listener, listeners []*listener) []ir.Chain {
	if l.Protocol == ir.HTTP {
		hosts := hostRoutes{}
		for i := range listeners {
			hosts.add(l, listeners, i)
		}
		return []ir.Chain{{Table: ir.RouteTable{Name: l.Name(), Hosts: hosts.virtualHosts()}}}
	}
	var out []ir.Chain
	for i, own := range listeners {
		if !own.servable() {
			continue
		}
		hosts := hostRoutes{}
		hosts.add(l, listeners, i)
		c := ir.Chain{
			ServerName:   own.hostname,
			Certificates: own.certificates,
			Table:        ir.RouteTable{Name: l.Name() + "/" + domain(own.hostname), Hosts: hosts.virtualHosts()},
		}
		c.Table.Hosts = append(c.Table.Hosts, misdirected(listeners, own)...)
		ir.SortHosts(c.Table.Hosts)
		out = append(out, c)
	}
	return out
}

// hostRoutes collects the routes of a table by domain.
type hostRoutes map[string][]*ir.Candidate

// add takes in the routes of the listener at index i of those of one port. A
// request belongs to the listener with the most specific hostname that covers
// it, and to that one alone (listener isolation).
func (h hostRoutes) add(l *ir.Listener, listeners []*listener, i int) {
	own := listeners[i]
	if d := domain(own.hostname); h[d] == nil && d != anyDomain {
		// Without routes too, its hosts get 404 and do not fall to a listener
		// that is less specific.
		h[d] = []*ir.Candidate{}
	}
	for _, r := range own.routes {
		for d, hostname := range r.domains(own.hostname) {
			if owner(listeners, d) == i {
				h[d] = r.appendCandidates(h[d], hostname, l)
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
// 15.5.20; Gateway API: GatewayHTTPSListenerDetectMisdirectedRequests).
func misdirected(listeners []*listener, own *listener) []ir.VirtualHost {
	const misdirectedRequest = 421
	refuse := func(d string) ir.VirtualHost {
		return ir.VirtualHost{Domain: d, Routes: []ir.Route{{
			Name:    "misdirected",
			Match:   ir.Match{Path: ir.PathPrefix, Value: "/"},
			Respond: &ir.Respond{Status: misdirectedRequest},
		}}}
	}
	var out []ir.VirtualHost
	for _, other := range listeners {
		if other != own && covers(domain(own.hostname), domain(other.hostname)) {
			out = append(out, refuse(domain(other.hostname)))
		}
	}
	if own.hostname != "" {
		out = append(out, refuse(anyDomain))
	}
	return out
}

// domains returns the domains that the route has on a listener with the given
// hostname, each with the most specific of the route's hostnames that leads to
// it.
func (r *httpRoute) domains(listenerHostname string) map[string]string {
	out := map[string]string{}
	for _, h := range r.hostnames {
		d, ok := intersect(listenerHostname, h)
		if !ok {
			continue
		}
		if old, found := out[d]; !found || ir.CompareSpecificity(h, old) > 0 {
			out[d] = h
		}
	}
	return out
}

// hostnamesOf returns the hostnames of a route in lower case; one that is
// empty where it has none.
func hostnamesOf(r *gwv1.HTTPRoute) []string {
	if len(r.Spec.Hostnames) == 0 {
		return []string{""}
	}
	out := make([]string, len(r.Spec.Hostnames))
	for i, h := range r.Spec.Hostnames {
		out[i] = strings.ToLower(string(h))
	}
	return out
}
