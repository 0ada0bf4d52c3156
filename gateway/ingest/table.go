package ingest

import (
	"maps"
	"reflect"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// port is one port of a Gateway that some listeners have.
type port struct {
	plan PlanPort
	// listeners that are accepted; all have the same protocol and different
	// hostnames.
	listeners []*listener
	// served is the IR as it was made last; nil: there is none.
	served *ir.Listener
	// whole says that all of it is to be made anew, domains that the virtual
	// hosts of those are.
	whole   bool
	domains map[string]struct{}
}

func (p *port) dirty() bool { return p.whole || len(p.domains) > 0 }

// touch notes that the routes of a domain have changed.
func (p *port) touch(domain string) {
	if p.plan.Protocol == ir.TCP || p.plan.Protocol == ir.UDP {
		p.whole = true
		return
	}
	p.domains[domain] = struct{}{}
}

// serve makes the IR of a port from its listeners and their routes; nil where
// it has no fleet port yet, or nothing to serve. What did not change keeps its
// pointer.
func (g *gateway) serve(p *port) {
	whole := p.whole || p.served == nil
	touched := p.domains
	p.whole, p.domains = false, map[string]struct{}{}
	fleetPort, ok := g.facts.FleetPorts[p.plan.Port]
	if !ok {
		p.served = nil
		return
	}
	m := maker{gateway: g, port: p, whole: whole, touched: touched, before: map[string]*ir.RouteTable{}}
	l := &ir.Listener{Gateway: g.name, Port: p.plan.Port, FleetPort: fleetPort, Protocol: p.plan.Protocol, AccessLog: g.log}
	if p.served != nil {
		for i := range p.served.Chains {
			m.before[p.served.Chains[i].Name] = p.served.Chains[i].Table
		}
	}
	l.Chains = m.chains(l)
	switch {
	case len(l.Chains) == 0:
		p.served = nil
	case p.served == nil || !sameListener(p.served, l):
		p.served = l
	}
}

func sameListener(a, b *ir.Listener) bool {
	return a.FleetPort == b.FleetPort && reflect.DeepEqual(a.AccessLog, b.AccessLog) && a.Gateway == b.Gateway && a.Port == b.Port && a.Protocol == b.Protocol &&
		slices.EqualFunc(a.Chains, b.Chains, func(a, b ir.Chain) bool {
			return a.Name == b.Name && a.ServerName == b.ServerName && slices.Equal(a.Certificates, b.Certificates) && a.Table == b.Table &&
				reflect.DeepEqual(a.Clients, b.Clients) && reflect.DeepEqual(a.Stream, b.Stream)
		})
}

// maker makes the chains of one port.
type maker struct {
	gateway *gateway
	port    *port
	whole   bool
	touched map[string]struct{}
	// before are the tables as they were, by the chain's name.
	before map[string]*ir.RouteTable
}

// chains makes the chains of the port. HTTP listeners share one, since only
// the Host header tells them apart; where TLS is spoken, the server name does.
func (m *maker) chains(l *ir.Listener) []ir.Chain {
	listeners := m.port.listeners
	switch l.Protocol {
	case ir.HTTP:
		at := place{binding{certificate: m.gateway.certificate}, "http", l.Port}
		return []ir.Chain{{Name: l.Name(), Table: m.table(l.Name(), at, nil)}}
	case ir.TLS:
		var out []ir.Chain
		for i, own := range listeners {
			switch {
			case own.spec.Protocol == gwv1.TLSProtocolType:
				out = append(out, m.streamChains(l, i)...)
			case own.servable():
				name := l.Name() + "/" + domain(own.hostname)
				at := place{binding{certificate: m.gateway.certificate}, "https", l.Port}
				out = append(out, ir.Chain{
					Name:         name,
					ServerName:   own.hostname,
					Certificates: secrets(own.certificates),
					Clients:      own.clients,
					Table:        m.table(name, at, own),
				})
			}
		}
		slices.SortFunc(out, func(a, b ir.Chain) int { return ir.CompareServerNames(&a, &b) })
		return out
	default:
		return []ir.Chain{{Name: l.Name(), Stream: stream(slices.Collect(maps.Keys(listeners[0].routes[anyDomain])), binding{})}}
	}
}

// streamChains makes the chains of a TLS listener: one for each of its routes'
// server names, and one for its own, so that no less specific listener gets
// what belongs to it.
func (m *maker) streamChains(l *ir.Listener, i int) []ir.Chain {
	own := m.port.listeners[i]
	at := binding{certificate: m.gateway.certificate, passthrough: own.passthrough()}
	var out []ir.Chain
	for _, d := range own.domains() {
		if owned(m.port.listeners, d) != i {
			continue
		}
		c := ir.Chain{Name: l.Name() + "/" + d, Stream: &ir.Stream{}}
		if d != anyDomain {
			c.ServerName = d
		}
		if own.servable() {
			c.Certificates, c.Stream = secrets(own.certificates), stream(mostSpecific(own.routes[d]), at)
		}
		out = append(out, c)
	}
	return out
}

// mostSpecific returns the routes whose hostname is the most specific one.
func mostSpecific(routes map[*route]string) []*route {
	var out []*route
	best := ""
	for r, hostname := range routes {
		switch c := ir.CompareSpecificity(hostname, best); {
		case out == nil || c > 0:
			best, out = hostname, []*route{r}
		case c == 0:
			out = append(out, r)
		}
	}
	return out
}

// domains returns the listener's own domain and those of its routes, sorted.
func (l *listener) domains() []string {
	out := slices.Collect(maps.Keys(l.routes))
	if own := domain(l.hostname); l.routes[own] == nil {
		out = append(out, own)
	}
	slices.Sort(out)
	return out
}

// table makes the table of an HTTPS listener, or of all HTTP listeners of the
// port, where own is nil.
func (m *maker) table(name string, at place, own *listener) *ir.RouteTable {
	listeners := m.port.listeners
	before := m.before[name]
	var hosts []*ir.VirtualHost
	put := func(d string) {
		i := owned(listeners, d)
		if i < 0 || own != nil && listeners[i] != own {
			return
		}
		if v := listeners[i].virtualHost(d, at); v != nil {
			hosts = replaced(hosts, m.kept(before, v), ir.CompareHosts)
		} else {
			hosts = removed(hosts, &ir.VirtualHost{Domain: d}, ir.CompareHosts)
		}
	}
	if m.whole || before == nil {
		for i, l := range listeners {
			if own != nil && l != own {
				continue
			}
			for _, d := range l.domains() {
				if owned(listeners, d) != i {
					continue
				}
				if v := l.virtualHost(d, at); v != nil {
					hosts = append(hosts, m.kept(before, v))
				}
			}
		}
		if own != nil {
			for _, v := range misdirected(listeners, own) {
				hosts = append(hosts, m.kept(before, v))
			}
		}
		slices.SortFunc(hosts, ir.CompareHosts)
	} else {
		hosts = before.Hosts
		for d := range m.touched {
			put(d)
		}
	}
	if before != nil && slices.Equal(hosts, before.Hosts) {
		return before
	}
	return &ir.RouteTable{Hosts: hosts}
}

// kept returns the virtual host as it was before where it is equal.
func (m *maker) kept(before *ir.RouteTable, v *ir.VirtualHost) *ir.VirtualHost {
	if before != nil {
		if i, ok := slices.BinarySearchFunc(before.Hosts, v, ir.CompareHosts); ok && reflect.DeepEqual(before.Hosts[i], v) {
			return before.Hosts[i]
		}
	}
	return v
}

// virtualHost makes the routes of a domain that belongs to the listener alone:
// the one with the most specific hostname that covers it (listener isolation).
// Nil where there are none, unless it is the listener's own: then its hosts get
// 404 and do not fall to a listener that is less specific.
func (l *listener) virtualHost(d string, at place) *ir.VirtualHost {
	routes := l.routes[d]
	if len(routes) == 0 && (d == anyDomain || d != domain(l.hostname)) {
		return nil
	}
	var candidates []*ir.Candidate
	for r, hostname := range routes {
		candidates = r.appendCandidates(candidates, hostname, at)
	}
	slices.SortFunc(candidates, ir.ByPrecedence)
	v := &ir.VirtualHost{Domain: d}
	for _, c := range candidates {
		v.Routes = append(v.Routes, c.Route)
	}
	return v
}

// misdirected returns the virtual hosts of a chain for the hosts that belong
// to other listeners of the port. A client that reuses its connection for one
// of those is told so, and comes back on another connection (RFC 9110 section
// 15.5.20; Gateway API: Listener.Hostname).
func misdirected(listeners []*listener, own *listener) []*ir.VirtualHost {
	const misdirectedRequest = 421
	var out []*ir.VirtualHost
	for _, other := range listeners {
		if other == own {
			continue
		}
		out = append(out, &ir.VirtualHost{Domain: domain(other.hostname), Routes: []ir.Route{{
			Name:    "misdirected",
			Match:   ir.Match{Path: ir.PathPrefix, Value: "/"},
			Respond: &ir.Respond{Status: misdirectedRequest},
		}}})
	}
	return out
}

// replaced returns a sorted list with v in it, in place of what compares equal.
// The list itself is not changed.
func replaced[T any](list []T, v T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(list, v, compare)
	out := make([]T, 0, len(list)+1)
	out = append(append(out, list[:i]...), v)
	if found {
		i++
	}
	return append(out, list[i:]...)
}

// removed returns a sorted list without what compares equal to v. The list
// itself is not changed.
func removed[T any](list []T, v T, compare func(a, b T) int) []T {
	i, found := slices.BinarySearchFunc(list, v, compare)
	if !found {
		return list
	}
	return append(append(make([]T, 0, len(list)-1), list[:i]...), list[i+1:]...)
}
