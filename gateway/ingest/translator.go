package ingest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Translator translates by the change: it is told which objects are there, and
// says what follows that did not follow before.
//
// It works on units that depend on little each. A route is translated without
// regard to where it is attached, a Gateway with its ListenerSets without
// regard to its routes, and from those two follow virtual hosts, the smallest
// unit of routing. What a unit asks about is noted, and makes it dirty when it
// changes. Translate is the same from nothing: whatever the order of changes,
// All returns what Translate returns for the objects that are there.
//
// It is not safe for concurrent use, and does not change the objects.
type Translator struct {
	x *index

	classObjects   map[string]*gwv1.GatewayClass
	gatewayObjects map[types.NamespacedName]*gwv1.Gateway
	setObjects     map[types.NamespacedName]*gwv1.ListenerSet
	routeObjects   map[routeKey]metav1.Object
	// setsOf are the ListenerSets that name a Gateway, routesOf the routes that
	// name a parent, whether that is there or not, or ask for theDefaults.
	setsOf   map[types.NamespacedName]map[types.NamespacedName]struct{}
	routesOf map[parentKey]map[routeKey]struct{}
	// kindsOf counts routesOf by kind.
	kindsOf map[side]int

	classes map[string]*class
	parents parents
	routes  map[routeKey]*placed
	fleets  map[types.NamespacedName]*assembly
	// reached counts how often a Gateway reaches a Service by a route.
	reached map[types.NamespacedName]map[types.NamespacedName]int

	// What was said last.
	said said

	dirty dirty
}

// side is the routes of one kind that name a parent.
type side struct {
	parent parentKey
	kind   gwv1.Kind
}

// routeKey names a route.
type routeKey struct {
	kind gwv1.Kind
	name types.NamespacedName
}

// placed is a route and where it is attached.
type placed struct {
	*route
	at []placement
}

// placement is an attachment, and what it holds in the fleet.
type placement struct {
	attachment
	fleet    *assembly
	clusters []string
}

// dirty is what is to be done.
type dirty struct {
	classes  bool
	policies bool
	// plans says that other fleets may be wanted.
	plans bool
	// decided says that policies were decided about.
	decided bool
	// gateways are to be decided about anew, facts have other facts.
	gateways map[types.NamespacedName]struct{}
	facts    map[types.NamespacedName]struct{}
	// defaults says that the default Gateways are others, or other than before.
	defaults bool
	// routes are to be translated anew, places to be found anew.
	routes map[routeKey]struct{}
	places map[routeKey]struct{}
	// touched Gateways may have another status.
	touched map[types.NamespacedName]struct{}
	// services are reached by others than before.
	services map[types.NamespacedName]struct{}
}

func newDirty() dirty {
	return dirty{
		gateways: map[types.NamespacedName]struct{}{}, facts: map[types.NamespacedName]struct{}{},
		routes: map[routeKey]struct{}{}, places: map[routeKey]struct{}{},
		touched: map[types.NamespacedName]struct{}{}, services: map[types.NamespacedName]struct{}{},
	}
}

// NewTranslator returns a translator that knows of no object, for the
// installation in a namespace that serves the GatewayClasses of controller.
func NewTranslator(namespace string, controller gwv1.GatewayController) *Translator {
	return &Translator{
		x:              newIndex(namespace, controller),
		classObjects:   map[string]*gwv1.GatewayClass{},
		gatewayObjects: map[types.NamespacedName]*gwv1.Gateway{},
		setObjects:     map[types.NamespacedName]*gwv1.ListenerSet{},
		routeObjects:   map[routeKey]metav1.Object{},
		setsOf:         map[types.NamespacedName]map[types.NamespacedName]struct{}{},
		routesOf:       map[parentKey]map[routeKey]struct{}{},
		kindsOf:        map[side]int{},
		classes:        map[string]*class{},
		parents:        parents{gateways: map[types.NamespacedName]*gateway{}, sets: map[types.NamespacedName]*listenerSet{}},
		routes:         map[routeKey]*placed{},
		fleets:         map[types.NamespacedName]*assembly{},
		reached:        map[types.NamespacedName]map[types.NamespacedName]int{},
		said:           newSaid(),
		dirty:          newDirty(),
	}
}

// Set takes an object that is new or has changed. Those of a kind that is not
// translated are ignored.
func (t *Translator) Set(object metav1.Object) { t.change(object, true) }

// Delete takes an object, as it was last, that is no more.
func (t *Translator) Delete(object metav1.Object) { t.change(object, false) }

// SetFacts takes what is known of a Gateway.
func (t *Translator) SetFacts(gateway types.NamespacedName, f Facts) {
	t.x.facts[gateway] = f
	t.dirty.facts[gateway] = struct{}{}
}

// Certificate returns the key pair in a Secret, and false where there is none.
func (t *Translator) Certificate(secret types.NamespacedName) (ir.Certificate, bool) {
	s := t.x.secrets[secret]
	if s == nil {
		return ir.Certificate{}, false
	}
	c, err := Certificate(s)
	return c, err == nil
}

// Authorities returns the CA certificates in ConfigMaps.
func (t *Translator) Authorities(a ir.Authorities) []byte {
	return AuthoritiesBundle(a, func(namespace, name string) *corev1.ConfigMap {
		return t.x.configMaps[types.NamespacedName{Namespace: namespace, Name: name}]
	})
}

func (t *Translator) change(object metav1.Object, there bool) {
	n := nameOf(object)
	switch o := object.(type) {
	case *v1beta1.EnvoyFleet:
		put(t.x.fleets, n, o, there)
		t.dirty.classes = true
		t.changed(source{aFleet, n})
	case *gwv1.GatewayClass:
		put(t.classObjects, o.Name, o, there)
		t.dirty.classes = true
	case *gwv1.Gateway:
		put(t.gatewayObjects, n, o, there)
		t.dirty.gateways[n] = struct{}{}
	case *gwv1.ListenerSet:
		t.changeSet(n, o, there)
	case *gwv1.HTTPRoute:
		t.changeRoute(routeKey{httpRouteKind, n}, o, there)
	case *gwv1.GRPCRoute:
		t.changeRoute(routeKey{grpcRouteKind, n}, o, there)
	case *gwv1.TLSRoute:
		t.changeRoute(routeKey{tlsRouteKind, n}, o, there)
	case *gwv1.TCPRoute:
		t.changeRoute(routeKey{tcpRouteKind, n}, o, there)
	case *gwv1.UDPRoute:
		t.changeRoute(routeKey{udpRouteKind, n}, o, there)
	case *gwv1.BackendTLSPolicy:
		put(t.x.policyObjects, n, o, there)
		t.dirty.policies = true
	case *gwv1.ReferenceGrant:
		if t.x.grants[n.Namespace] == nil {
			t.x.grants[n.Namespace] = map[string]*gwv1.ReferenceGrant{}
		}
		put(t.x.grants[n.Namespace], n.Name, o, there)
		t.changed(source{theGrants, types.NamespacedName{Namespace: n.Namespace}})
	case *corev1.Namespace:
		put(t.x.namespaces, o.Name, o, there)
		t.changed(source{aNamespace, types.NamespacedName{Name: o.Name}})
	case *corev1.Service:
		put(t.x.services, n, o, there)
		t.changed(source{aService, n})
	case *corev1.Secret:
		put(t.x.secrets, n, o, there)
		t.changed(source{aSecret, n})
	case *corev1.ConfigMap:
		put(t.x.configMaps, n, o, there)
		t.changed(source{aConfigMap, n})
	}
}

func put[K comparable, V any](m map[K]V, k K, v V, there bool) {
	if there {
		m[k] = v
	} else {
		delete(m, k)
	}
}

// SetTime takes what time it is. It does not go back: an earlier time than
// before changes nothing.
func (t *Translator) SetTime(now time.Time) {
	if !now.After(t.x.now) {
		return
	}
	t.x.now = now
	t.x.deps.lapses.due(now, t.mark)
}

// Lapses returns the time at which something else follows though no object
// changes, as of the last Flush; zero: never.
func (t *Translator) Lapses() time.Time { return t.x.deps.lapses.first() }

// changed makes the units dirty that asked about a source.
func (t *Translator) changed(s source) {
	for u := range t.x.deps.on[s] {
		t.mark(u)
	}
}

// mark makes a unit dirty.
func (t *Translator) mark(u unit) {
	switch u.kind {
	case gatewayUnit:
		t.dirty.gateways[u.name] = struct{}{}
	case routeUnit:
		t.dirty.routes[u.route] = struct{}{}
	case placeUnit:
		t.dirty.places[u.route] = struct{}{}
	case policiesUnit:
		t.dirty.policies = true
	}
}

func (t *Translator) changeSet(n types.NamespacedName, o *gwv1.ListenerSet, there bool) {
	if old := t.setObjects[n]; old != nil {
		g := parentOf(old)
		delete(t.setsOf[g], n)
		t.dirty.gateways[g] = struct{}{}
	}
	put(t.setObjects, n, o, there)
	if !there {
		return
	}
	g := parentOf(o)
	if t.setsOf[g] == nil {
		t.setsOf[g] = map[types.NamespacedName]struct{}{}
	}
	t.setsOf[g][n] = struct{}{}
	t.dirty.gateways[g] = struct{}{}
}

func (t *Translator) changeRoute(k routeKey, o metav1.Object, there bool) {
	if old := t.routeObjects[k]; old != nil {
		for _, p := range parentKeys(old.GetNamespace(), commonSpec(old)) {
			delete(t.routesOf[p], k)
			if t.kindsOf[side{p, k.kind}]--; t.kindsOf[side{p, k.kind}] == 0 {
				delete(t.kindsOf, side{p, k.kind})
			}
			if len(t.routesOf[p]) == 0 {
				delete(t.routesOf, p)
			}
		}
	}
	put(t.routeObjects, k, o, there)
	t.dirty.routes[k] = struct{}{}
	if !there {
		return
	}
	for _, p := range parentKeys(o.GetNamespace(), commonSpec(o)) {
		if t.routesOf[p] == nil {
			t.routesOf[p] = map[routeKey]struct{}{}
		}
		t.routesOf[p][k] = struct{}{}
		t.kindsOf[side{p, k.kind}]++
	}
}

// parentKeys returns what a route asks to be attached to, each once.
func parentKeys(namespace string, spec *gwv1.CommonRouteSpec) []parentKey {
	var out []parentKey
	for i := range spec.ParentRefs {
		if k, ok := parentOfRoute(namespace, &spec.ParentRefs[i]); ok && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	if UsesDefaults(spec) {
		out = append(out, theDefaults)
	}
	return out
}

// commonSpec returns what the specs of all kinds of routes share.
func commonSpec(object metav1.Object) *gwv1.CommonRouteSpec {
	switch o := object.(type) {
	case *gwv1.HTTPRoute:
		return &o.Spec.CommonRouteSpec
	case *gwv1.GRPCRoute:
		return &o.Spec.CommonRouteSpec
	case *gwv1.TLSRoute:
		return &o.Spec.CommonRouteSpec
	case *gwv1.TCPRoute:
		return &o.Spec.CommonRouteSpec
	case *gwv1.UDPRoute:
		return &o.Spec.CommonRouteSpec
	default:
		return nil
	}
}

// translated translates a route of any kind.
func (x *index) translated(object metav1.Object) *route {
	switch o := object.(type) {
	case *gwv1.HTTPRoute:
		return newHTTPRoute(x, o)
	case *gwv1.GRPCRoute:
		return newGRPCRoute(x, o)
	case *gwv1.TLSRoute:
		return newTLSRoute(x, o)
	case *gwv1.TCPRoute:
		return newTCPRoute(x, o)
	case *gwv1.UDPRoute:
		return newUDPRoute(x, o)
	default:
		return nil
	}
}

// Translate makes the IR and the statuses from the objects.
func Translate(in Input) Output {
	t := NewTranslator(in.Namespace, cmp.Or(in.Controller, names.GatewayController))
	t.SetTime(in.Now)
	in.each(t.Set)
	for n, f := range in.Facts {
		t.SetFacts(n, f)
	}
	t.Flush()
	return t.All()
}

// each calls f for every object.
func (in *Input) each(f func(metav1.Object)) {
	all(in.Fleets, f)
	all(in.GatewayClasses, f)
	all(in.Gateways, f)
	all(in.ListenerSets, f)
	all(in.HTTPRoutes, f)
	all(in.GRPCRoutes, f)
	all(in.TLSRoutes, f)
	all(in.TCPRoutes, f)
	all(in.UDPRoutes, f)
	all(in.ReferenceGrants, f)
	all(in.BackendTLSPolicies, f)
	all(in.Namespaces, f)
	all(in.Services, f)
	all(in.Secrets, f)
	all(in.ConfigMaps, f)
}

func all[T metav1.Object](objects []T, f func(metav1.Object)) {
	for _, o := range objects {
		f(o)
	}
}

func sortedKeys[V any](m map[types.NamespacedName]V, compare func(a, b types.NamespacedName) int) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(m), compare)
}
