package ingest

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Changes are what follows that did not follow before.
type Changes struct {
	// Output has what is new or has changed. A fleet that is nil is no more, nor
	// is its plan. A
	// route or a policy without entries has none of ours any more. What was
	// said of other objects that are no more needs nobody's attention.
	Output
	// Gone are the Gateways that want no infrastructure any more.
	Gone []types.NamespacedName
}

// said is what was said last.
type said struct {
	fleets     map[types.NamespacedName]*ir.Fleet
	fleetPlans map[types.NamespacedName]FleetPlan
	plans      map[types.NamespacedName]GatewayPlan
	classes    map[string]GatewayClassStatus
	gateways   map[types.NamespacedName]GatewayStatus
	sets       map[types.NamespacedName]ListenerSetStatus
	routes     map[routeKey]RouteStatus
	policies   map[types.NamespacedName]PolicyStatus
	// certificates of Gateways that have some.
	certificates map[types.NamespacedName]GatewayCertificates
	// changed are the routes whose status is to be said.
	changed map[routeKey]struct{}
}

func newSaid() said {
	return said{
		fleets: map[types.NamespacedName]*ir.Fleet{}, fleetPlans: map[types.NamespacedName]FleetPlan{}, plans: map[types.NamespacedName]GatewayPlan{},
		classes: map[string]GatewayClassStatus{}, gateways: map[types.NamespacedName]GatewayStatus{},
		sets: map[types.NamespacedName]ListenerSetStatus{}, routes: map[routeKey]RouteStatus{},
		policies: map[types.NamespacedName]PolicyStatus{}, changed: map[routeKey]struct{}{},
		certificates: map[types.NamespacedName]GatewayCertificates{},
	}
}

// route takes the status of a route.
func (s *said) route(k routeKey, status RouteStatus) {
	before, known := s.routes[k]
	if known && reflect.DeepEqual(before, status) || !known && status.Parents == nil {
		return
	}
	s.changed[k] = struct{}{}
	put(s.routes, k, status, status.Parents != nil)
}

// tell appends what is new to the list, and remembers it.
func tell[K comparable, V any](last map[K]V, k K, v V, list *[]V) {
	if before, ok := last[k]; !ok || !reflect.DeepEqual(before, v) {
		last[k] = v
		*list = append(*list, v)
	}
}

// say collects what is to be said, and forgets what is no more.
func (t *Translator) say() Changes {
	t.serveTouched()
	c := Changes{Output: Output{Fleets: map[types.NamespacedName]*ir.Fleet{}}}
	t.sayFleets(&c)
	for n := range t.said.classes {
		if t.classes[n] == nil {
			delete(t.said.classes, n)
		}
	}
	for n, k := range t.classes {
		tell(t.said.classes, n, k.status(), &c.GatewayClassStatuses)
	}
	for n := range t.dirty.touched {
		g := t.parents.gateways[n]
		if g == nil {
			if _, ok := t.said.plans[n]; ok {
				c.Gone = append(c.Gone, n)
			}
			delete(t.said.plans, n)
			delete(t.said.gateways, n)
			delete(t.said.certificates, n)
			continue
		}
		tell(t.said.plans, n, g.plan(), &c.Gateways)
		tell(t.said.gateways, n, g.status(), &c.GatewayStatuses)
		if shown := g.shown(); len(shown.Listeners) > 0 {
			tell(t.said.certificates, n, shown, &c.Certificates)
		} else if _, ok := t.said.certificates[n]; ok {
			delete(t.said.certificates, n)
			c.Certificates = append(c.Certificates, shown)
		}
		for _, s := range g.sets {
			tell(t.said.sets, s.name, s.status(), &c.ListenerSetStatuses)
		}
	}
	for n := range t.said.sets {
		if t.parents.sets[n] == nil {
			delete(t.said.sets, n)
		}
	}
	for k := range t.said.changed {
		s, ok := t.said.routes[k]
		if !ok {
			s = RouteStatus{Kind: k.kind, Name: k.name}
		}
		c.RouteStatuses = append(c.RouteStatuses, s)
	}
	t.sayPolicies(&c)
	// New maps, as those of a large change would be gone through for every small
	// one.
	t.said.changed, t.dirty = map[routeKey]struct{}{}, newDirty()
	c.sort()
	return c
}

func (t *Translator) sayFleets(c *Changes) {
	if t.dirty.plans {
		wanted := fleetPlans(t.x, t.classes, t.parents.gateways)
		for n, p := range wanted {
			tell(t.said.fleetPlans, n, p, &c.FleetPlans)
		}
		for n := range t.said.fleetPlans {
			if _, ok := wanted[n]; !ok {
				delete(t.said.fleetPlans, n)
				delete(t.said.fleets, n)
				c.Fleets[n] = nil
			}
		}
	}
	for n := range t.said.fleetPlans {
		f, changed := t.fleet(n).publish()
		if _, known := t.said.fleets[n]; changed || !known {
			t.said.fleets[n], c.Fleets[n] = f, f
		}
	}
}

// sayPolicies says what has changed of the policies for the services that are
// dirty, or of all where they were decided about.
func (t *Translator) sayPolicies(c *Changes) {
	concerned := map[types.NamespacedName]*policy{}
	if t.dirty.decided {
		for n := range t.said.policies {
			concerned[n] = nil
		}
		for _, list := range t.x.policiesOf {
			for _, p := range list {
				concerned[p.name] = p
			}
		}
	}
	for s := range t.dirty.services {
		for _, p := range t.x.policiesOf[s] {
			concerned[p.name] = p
		}
	}
	for n, p := range concerned {
		status := PolicyStatus{Name: n}
		if p != nil {
			status = p.status(t.x.controller, t.ancestorsOf(p))
		}
		before, known := t.said.policies[n]
		if known && !reflect.DeepEqual(before, status) || !known && status.Ancestors != nil {
			c.PolicyStatuses = append(c.PolicyStatuses, status)
			put(t.said.policies, n, status, status.Ancestors != nil)
		}
	}
}

// All returns everything that follows from the objects, as of the last Flush.
func (t *Translator) All() Output {
	out := Output{
		Fleets:               maps.Clone(t.said.fleets),
		FleetPlans:           slices.Collect(maps.Values(t.said.fleetPlans)),
		Gateways:             slices.Collect(maps.Values(t.said.plans)),
		GatewayClassStatuses: slices.Collect(maps.Values(t.said.classes)),
		GatewayStatuses:      slices.Collect(maps.Values(t.said.gateways)),
		ListenerSetStatuses:  slices.Collect(maps.Values(t.said.sets)),
		RouteStatuses:        slices.Collect(maps.Values(t.said.routes)),
		PolicyStatuses:       slices.Collect(maps.Values(t.said.policies)),
		Certificates:         slices.Collect(maps.Values(t.said.certificates)),
	}
	out.sort()
	return out
}

func (o *Output) sort() {
	slices.SortFunc(o.FleetPlans, compareFleetPlans)
	slices.SortFunc(o.Gateways, func(a, b GatewayPlan) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.GatewayClassStatuses, func(a, b GatewayClassStatus) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(o.GatewayStatuses, func(a, b GatewayStatus) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.ListenerSetStatuses, func(a, b ListenerSetStatus) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.RouteStatuses, func(a, b RouteStatus) int {
		return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), ir.CompareNames(a.Name, b.Name))
	})
	slices.SortFunc(o.PolicyStatuses, func(a, b PolicyStatus) int { return ir.CompareNames(a.Name, b.Name) })
	slices.SortFunc(o.Certificates, func(a, b GatewayCertificates) int { return ir.CompareNames(a.Name, b.Name) })
}
