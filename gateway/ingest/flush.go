package ingest

import (
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Flush does what the changes since the last call ask for, and returns what
// follows that did not follow before.
func (t *Translator) Flush() Changes {
	t.decideClasses()
	t.decidePolicies()
	t.decideGateways()
	t.applyFacts()
	t.placeRoutes()
	return t.say()
}

func (t *Translator) decideClasses() {
	if !t.dirty.classes {
		return
	}
	t.dirty.plans = true
	ours := map[string]*class{}
	for name, o := range t.classObjects {
		if c := newClass(t.x, o); c != nil {
			ours[name] = c
		}
	}
	for n, o := range t.gatewayObjects {
		before, now := t.classes[string(o.Spec.GatewayClassName)], ours[string(o.Spec.GatewayClassName)]
		if before == nil || now == nil || before.fleet != now.fleet || before.accepted != now.accepted {
			if before != nil || now != nil {
				t.dirty.gateways[n] = struct{}{}
			}
		} else if g := t.parents.gateways[n]; g != nil && g.class == before {
			g.class = now // the same but for the object's generation
		}
	}
	t.classes = ours
}

// decidePolicies decides about all policies, and makes dirty what depends on
// those that have changed.
func (t *Translator) decidePolicies() {
	if !t.dirty.policies {
		return
	}
	before := t.x.policies
	t.x.deps.translating(unit{kind: policiesUnit}, t.x.decidePolicies)
	same := func(a, b *policy) bool {
		return a != nil && b != nil && a.name == b.name && reflect.DeepEqual(a.tls, b.tls)
	}
	for _, list := range []map[target]*policy{before, t.x.policies} {
		for at := range list {
			if !same(before[at], t.x.policies[at]) {
				t.changed(source{thePolicies, at.service})
			}
		}
	}
	t.dirty.decided = true
}

// decideGateways decides about the Gateways that are dirty, with their
// ListenerSets. What was is taken out of all of them first: a ListenerSet may
// have gone from one to another.
func (t *Translator) decideGateways() {
	before := map[types.NamespacedName]*gateway{}
	for n := range t.dirty.gateways {
		t.dirty.plans = true
		t.dirty.touched[n] = struct{}{}
		t.replace(parentKey{"Gateway", n})
		g := t.parents.gateways[n]
		if g == nil {
			continue
		}
		before[n] = g
		t.dirty.defaults = t.dirty.defaults || IsDefault(g.obj)
		delete(t.parents.gateways, n)
		for _, s := range g.sets {
			delete(t.parents.sets, s.name)
			t.replace(parentKey{"ListenerSet", s.name})
		}
	}
	for n := range t.dirty.gateways {
		t.decideGateway(n, before[n])
	}
	t.decideDefaults()
}

func (t *Translator) decideGateway(n types.NamespacedName, before *gateway) {
	var g *gateway
	u := unit{kind: gatewayUnit, name: n}
	if o := t.gatewayObjects[n]; o != nil && t.classes[string(o.Spec.GatewayClassName)] != nil {
		var sets []*gwv1.ListenerSet
		for s := range t.setsOf[n] {
			sets = append(sets, t.setObjects[s])
		}
		t.x.deps.translating(u, func() {
			g = newGateway(t.x, t.classes[string(o.Spec.GatewayClassName)], o, sortSets(sets))
		})
		t.parents.gateways[n] = g
		t.dirty.defaults = t.dirty.defaults || IsDefault(o)
		for _, s := range g.sets {
			t.parents.sets[s.name] = s
			t.replace(parentKey{"ListenerSet", s.name})
		}
	} else {
		t.x.deps.forget(u)
	}
	if before == nil {
		return
	}
	// What is served of a port goes on from what was served.
	for at, p := range before.byPort {
		if g != nil && g.fleet == before.fleet && g.byPort[at] != nil {
			g.byPort[at].served = p.served
		} else if p.served != nil {
			t.fleet(before.fleet).drop(p.served)
		}
	}
}

// replace has the routes placed anew that ask for a parent.
func (t *Translator) replace(p parentKey) {
	t.asking(p, func(k routeKey) { t.dirty.places[k] = struct{}{} })
}

// applyFacts takes in what is known of Gateways. Other fleet ports make the
// clusters of their routes come and go, so their routes are placed anew.
func (t *Translator) applyFacts() {
	for n := range t.dirty.facts {
		g := t.parents.gateways[n]
		if g == nil {
			continue
		}
		f := t.x.facts[n]
		if !maps.Equal(f.FleetPorts, g.facts.FleetPorts) {
			for _, p := range g.byPort {
				p.whole = true
			}
			t.replace(parentKey{"Gateway", n})
			for _, s := range g.sets {
				t.replace(parentKey{"ListenerSet", s.name})
			}
		}
		g.facts = f
		t.dirty.touched[n] = struct{}{}
	}
}

// concerned says whether any parent of a route is ours.
func (t *Translator) concerned(k routeKey) bool {
	o := t.routeObjects[k]
	return o != nil && slices.ContainsFunc(t.askedFor(k.name.Namespace, commonSpec(o)), func(p parentKey) bool {
		g, _ := t.parents.find(p)
		return g != nil
	})
}

// placeRoutes translates and attaches the routes that are dirty and have a
// parent of ours. Where HTTPRoutes and GRPCRoutes meet, which of them is
// accepted depends on all, so the oldest is attached first.
func (t *Translator) placeRoutes() {
	for k := range t.dirty.routes {
		t.dirty.places[k] = struct{}{}
	}
	t.addRivals()
	for k := range t.dirty.places {
		if r := t.routes[k]; r != nil {
			t.displace(r)
		}
	}
	var again []*placed
	for k := range t.dirty.places {
		if !t.concerned(k) {
			t.x.deps.forget(unit{kind: routeUnit, route: k})
			t.x.deps.forget(unit{kind: placeUnit, route: k})
			delete(t.routes, k)
			t.said.route(k, RouteStatus{Kind: k.kind, Name: k.name})
			continue
		}
		r := t.routes[k]
		if _, anew := t.dirty.routes[k]; anew || r == nil {
			r = &placed{}
			t.x.deps.translating(unit{kind: routeUnit, route: k}, func() { r.route = t.x.translated(t.routeObjects[k]) })
			t.routes[k] = r
		}
		again = append(again, r)
	}
	slices.SortFunc(again, func(a, b *placed) int { return older(a.route, b.route) })
	for _, r := range again {
		t.place(r)
	}
}

// addRivals makes all routes dirty that share a parent, which routes of the
// other kind of HTTP ask for too, with one that is.
func (t *Translator) addRivals() {
	pending := slices.Collect(maps.Keys(t.dirty.places))
	seen := map[side]bool{}
	for len(pending) > 0 {
		k := pending[0]
		pending = pending[1:]
		if k.kind != httpRouteKind && k.kind != grpcRouteKind {
			continue
		}
		var named []parentKey
		if o := t.routeObjects[k]; o != nil {
			named = t.askedFor(k.name.Namespace, commonSpec(o))
		}
		if r := t.routes[k]; r != nil {
			named = append(named, t.askedFor(k.name.Namespace, r.common)...)
		}
		for _, p := range named {
			if s := (side{p, k.kind}); seen[s] || !t.mixed(p, k.kind) {
				seen[s] = true
				continue
			}
			seen[side{p, k.kind}] = true
			t.asking(p, func(other routeKey) {
				if _, known := t.dirty.places[other]; !known && t.routes[other] != nil {
					t.dirty.places[other] = struct{}{}
					pending = append(pending, other)
				}
			})
		}
	}
}

// mixed says whether routes of the other kind of HTTP ask for a parent.
func (t *Translator) mixed(p parentKey, kind gwv1.Kind) bool {
	other := httpRouteKind
	if kind == httpRouteKind {
		other = grpcRouteKind
	}
	return t.kindsOf[side{p, other}] > 0 || t.isDefault(p) && t.kindsOf[side{theDefaults, other}] > 0
}

// place attaches a route, and takes its clusters into the fleets.
func (t *Translator) place(r *placed) {
	var status RouteStatus
	var at []attachment
	t.x.deps.translating(unit{kind: placeUnit, route: routeKey{r.kind, r.name}}, func() {
		status, at = r.attach(t.x, &t.parents)
	})
	r.at = make([]placement, 0, len(at))
	for _, a := range at {
		p := placement{attachment: a}
		if served(a) {
			p.fleet = t.fleet(a.gateway.fleet)
			for _, c := range r.clusters(binding{certificate: a.gateway.certificate, passthrough: a.listener.passthrough()}) {
				p.clusters = append(p.clusters, p.fleet.hold(&c))
			}
		}
		r.at = append(r.at, p)
		t.dirty.touched[a.gateway.name] = struct{}{}
		t.reach(r, a.gateway.name, 1)
	}
	t.said.route(routeKey{r.kind, r.name}, status)
}

// served says whether the listener is one that Envoys are given.
func served(a attachment) bool {
	p := a.gateway.portOf(a.listener)
	return p != nil && a.gateway.facts.FleetPorts[p.plan.Port] != 0
}

// displace takes a route off where it is attached.
func (t *Translator) displace(r *placed) {
	for _, p := range r.at {
		r.detach(p.attachment)
		for _, c := range p.clusters {
			p.fleet.release(c)
		}
		t.dirty.touched[p.gateway.name] = struct{}{}
		t.reach(r, p.gateway.name, -1)
	}
	r.at = nil
}

func (t *Translator) reach(r *placed, gateway types.NamespacedName, n int) {
	for _, s := range r.services {
		m := t.reached[s]
		if m == nil {
			m = map[types.NamespacedName]int{}
			t.reached[s] = m
		}
		if m[gateway] += n; m[gateway] == 0 {
			delete(m, gateway)
		}
		if len(m) == 0 {
			delete(t.reached, s)
		}
		if len(t.x.policiesOf[s]) > 0 {
			t.dirty.services[s] = struct{}{}
		}
	}
}

// serveTouched makes what the touched Gateways serve.
func (t *Translator) serveTouched() {
	for n := range t.dirty.touched {
		g := t.parents.gateways[n]
		if g == nil {
			continue
		}
		f := t.fleet(g.fleet)
		for _, p := range g.byPort {
			if !p.dirty() {
				continue
			}
			before := p.served
			g.serve(p)
			switch {
			case p.served == before:
			case p.served == nil:
				f.drop(before)
			default:
				f.serve(p.served)
			}
		}
	}
}

func (t *Translator) fleet(n types.NamespacedName) *assembly {
	f := t.fleets[n]
	if f == nil {
		f = newAssembly()
		t.fleets[n] = f
	}
	return f
}

// ancestorsOf returns the Gateways that reach a target of a policy, sorted.
func (t *Translator) ancestorsOf(p *policy) []types.NamespacedName {
	all := map[types.NamespacedName]struct{}{}
	for _, at := range p.targets() {
		for g := range t.reached[at.service] {
			all[g] = struct{}{}
		}
	}
	return sortedKeys(all, ir.CompareNames)
}
