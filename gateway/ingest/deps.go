package ingest

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// source is something outside of a unit that its translation asked about,
// whether it was there or not.
type source struct {
	kind sourceKind
	name types.NamespacedName
}

type sourceKind uint8

const (
	aService sourceKind = iota
	aSecret
	aConfigMap
	// aFleet is an EnvoyFleet.
	aFleet
	// aNamespace's labels.
	aNamespace
	// theGrants of a namespace.
	theGrants
	// thePolicies that count for a Service.
	thePolicies
)

// unit is something that is translated alone.
type unit struct {
	kind unitKind
	// route is set for the units of routes, name for those of Gateways.
	route routeKey
	name  types.NamespacedName
}

type unitKind uint8

const (
	// gatewayUnit is a Gateway with its ListenerSets.
	gatewayUnit unitKind = iota
	// routeUnit is a route wherever it is attached.
	routeUnit
	// placeUnit is where a route is attached.
	placeUnit
	// policiesUnit is all policies.
	policiesUnit
)

// dependencies are the reverse index: which units asked about what. A change
// of a source makes the units dirty that asked about it.
type dependencies struct {
	of map[unit]map[source]struct{}
	on map[source]map[unit]struct{}
	// noting is what the unit that is being translated asked about.
	noting map[source]struct{}
	// lapse is when what is decided of the unit that is being translated holds
	// no more, by itself; zero: never. lapses has those of all.
	lapse  time.Time
	lapses lapses
}

func newDependencies() *dependencies {
	return &dependencies{of: map[unit]map[source]struct{}{}, on: map[source]map[unit]struct{}{}, lapses: lapses{at: map[unit]int{}}}
}

// note says that the unit asks about a source.
func (d *dependencies) note(kind sourceKind, name types.NamespacedName) {
	if d.noting != nil {
		d.noting[source{kind, name}] = struct{}{}
	}
}

// translating runs f for a unit, and remembers what it asks about in place of
// what it asked about before.
func (d *dependencies) translating(u unit, f func()) {
	d.noting, d.lapse = map[source]struct{}{}, time.Time{}
	f()
	noted := d.noting
	d.noting = nil
	d.lapses.set(u, d.lapse)
	for s := range d.of[u] {
		if _, again := noted[s]; !again {
			d.unlink(u, s)
		}
	}
	for s := range noted {
		if d.on[s] == nil {
			d.on[s] = map[unit]struct{}{}
		}
		d.on[s][u] = struct{}{}
	}
	d.of[u] = noted
}

func (d *dependencies) unlink(u unit, s source) {
	delete(d.on[s], u)
	if len(d.on[s]) == 0 {
		delete(d.on, s)
	}
}

// forget drops a unit that is no more.
func (d *dependencies) forget(u unit) {
	for s := range d.of[u] {
		d.unlink(u, s)
	}
	delete(d.of, u)
	d.lapses.set(u, time.Time{})
}

// before says whether it is not yet that time. The unit that asks is dirty when
// it is.
func (x *index) before(t time.Time) bool {
	if !x.now.Before(t) {
		return false
	}
	if d := x.deps; d.lapse.IsZero() || t.Before(d.lapse) {
		d.lapse = t
	}
	return true
}

// The objects that units ask about.

func (x *index) service(n types.NamespacedName) *corev1.Service {
	x.deps.note(aService, n)
	return x.services[n]
}

func (x *index) secret(n types.NamespacedName) *corev1.Secret {
	x.deps.note(aSecret, n)
	return x.secrets[n]
}

func (x *index) configMap(n types.NamespacedName) *corev1.ConfigMap {
	x.deps.note(aConfigMap, n)
	return x.configMaps[n]
}

func (x *index) fleet(n types.NamespacedName) *v1beta1.EnvoyFleet {
	x.deps.note(aFleet, n)
	return x.fleets[n]
}

func (x *index) labels(namespace string) (map[string]string, bool) {
	x.deps.note(aNamespace, types.NamespacedName{Name: namespace})
	n := x.namespaces[namespace]
	if n == nil {
		return nil, false
	}
	return n.Labels, true
}
