package watch

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/infra"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// world is what the loop knows of the cluster, and what follows from it. Its
// objects are those of the cache and are not changed. One goroutine owns it.
type world struct {
	namespace  string
	translator *ingest.Translator

	fleets   map[types.NamespacedName]*v1beta1.EnvoyFleet
	gateways map[types.NamespacedName]*gwv1.Gateway
	services map[types.NamespacedName]*corev1.Service
	pods     map[types.NamespacedName]*corev1.Pod
	// slices by the Service that they are of.
	slices map[types.NamespacedName]map[types.NamespacedName]*discoveryv1.EndpointSlice
	facts  map[types.NamespacedName]ingest.Facts
	// refused are the Gateways whose Services the API server refuses, and why;
	// about says that they are others than translation was told.
	refused map[types.NamespacedName]string
	about   bool

	plans      map[types.NamespacedName]ingest.GatewayPlan
	fleetPlans map[types.NamespacedName]ingest.FleetPlan
	snapshots  map[types.NamespacedName]*snapshot
}

// outcome is what changes have led to.
type outcome struct {
	changes ingest.Changes
	// published says that a snapshot is another than before, written that what
	// the leader's tasks write may be.
	published, written bool
}

func newWorld(namespace string, controller gwv1.GatewayController) *world {
	return &world{
		namespace: namespace, translator: ingest.NewTranslator(namespace, controller),
		fleets:   map[types.NamespacedName]*v1beta1.EnvoyFleet{},
		gateways: map[types.NamespacedName]*gwv1.Gateway{},
		services: map[types.NamespacedName]*corev1.Service{},
		pods:     map[types.NamespacedName]*corev1.Pod{},
		slices:   map[types.NamespacedName]map[types.NamespacedName]*discoveryv1.EndpointSlice{},
		facts:    map[types.NamespacedName]ingest.Facts{},
		plans:    map[types.NamespacedName]ingest.GatewayPlan{}, fleetPlans: map[types.NamespacedName]ingest.FleetPlan{},
		snapshots: map[types.NamespacedName]*snapshot{},
	}
}

// apply takes changes in.
func (w *world) apply(changes []change) outcome {
	var out outcome
	about := w.about // whether the facts may be others
	w.about = false
	endpoints := map[types.NamespacedName]struct{}{}
	secrets := map[types.NamespacedName]struct{}{}
	for _, c := range changes {
		n := client.ObjectKeyFromObject(c.object)
		switch o := c.object.(type) {
		case *discoveryv1.EndpointSlice:
			w.slice(o, c.there)
			endpoints[serviceOf(o)] = struct{}{}
			continue
		case *appsv1.Deployment, *appsv1.DaemonSet:
			out.written = true
			continue
		case *corev1.Pod:
			put(w.pods, n, o, c.there)
			about, out.written = true, true
			continue
		case *v1beta1.EnvoyFleet:
			put(w.fleets, n, o, c.there)
			out.written = true
		case *gwv1.Gateway:
			put(w.gateways, n, o, c.there)
			about, out.written = true, true
		case *corev1.Service:
			put(w.services, n, o, c.there)
			if o.Labels[names.ManagedBy] == names.Porchlight || infra.Named(o.Name) {
				about, out.written = true, true
			}
		case *corev1.Secret, *corev1.ConfigMap:
			secrets[n] = struct{}{}
			out.written = out.written || n.Namespace == w.namespace
		}
		if c.there {
			w.translator.Set(c.object)
		} else {
			w.translator.Delete(c.object)
		}
	}
	if about {
		w.tellFacts()
	}
	out.changes = w.translator.Flush()
	out.written = w.plan(&out.changes) || out.written
	for name, f := range out.changes.Fleets {
		out.published = true
		if f == nil {
			delete(w.snapshots, name)
			continue
		}
		if w.snapshots[name] == nil {
			w.snapshots[name] = newSnapshot()
		}
		w.snapshots[name].follow(w, f)
	}
	for _, s := range w.snapshots {
		changed := s.refreshEndpoints(w, endpoints)
		changed = s.refreshSecrets(w, secrets) || changed
		out.published = out.published || changed
	}
	return out
}

func put[K comparable, V any](m map[K]V, k K, v V, there bool) {
	if there {
		m[k] = v
	} else {
		delete(m, k)
	}
}

func (w *world) slice(s *discoveryv1.EndpointSlice, there bool) {
	service := serviceOf(s)
	if w.slices[service] == nil {
		w.slices[service] = map[types.NamespacedName]*discoveryv1.EndpointSlice{}
	}
	put(w.slices[service], client.ObjectKeyFromObject(s), s, there)
	if len(w.slices[service]) == 0 {
		delete(w.slices, service)
	}
}

func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// refuse takes which Gateways' Services the API server refuses, and why.
func (w *world) refuse(refused map[types.NamespacedName]string) { w.refused, w.about = refused, true }

// tellFacts tells translation what is known of Gateways and was not told.
func (w *world) tellFacts() {
	now := facts(w.namespace, w.gateways, w.services, w.pods)
	for n, why := range w.refused {
		if f, there := now[n]; there {
			f.ServiceRefused = why
			now[n] = f
		}
	}
	for n, f := range now {
		if before, told := w.facts[n]; !told || !reflect.DeepEqual(before, f) {
			w.translator.SetFacts(n, f)
		}
	}
	w.facts = now
}

// plan takes in what is wanted, and says whether it is other than before.
func (w *world) plan(c *ingest.Changes) bool {
	for _, p := range c.Gateways {
		w.plans[p.Name] = p
	}
	for _, n := range c.Gone {
		delete(w.plans, n)
	}
	for _, p := range c.FleetPlans {
		w.fleetPlans[p.Name] = p
	}
	gone := false
	for n, f := range c.Fleets {
		if f == nil {
			delete(w.fleetPlans, n)
			gone = true
		}
	}
	return gone || len(c.Gateways)+len(c.Gone)+len(c.FleetPlans) > 0
}

// wanted returns what the leader's tasks are to make, in a fixed order.
func (w *world) wanted() ([]fleet.Wanted, infra.Plan) {
	var list []fleet.Wanted
	plan := infra.Plan{Fleets: map[types.NamespacedName]*v1beta1.EnvoyFleet{}}
	for _, p := range sorted(w.fleetPlans) {
		plan.Fleets[p.Name] = w.fleets[p.Parameters]
		list = append(list, fleet.Wanted{FleetPlan: p, Fleet: w.fleets[p.Parameters]})
	}
	for _, p := range sorted(w.plans) {
		g := w.gateways[p.Name]
		if g == nil {
			continue
		}
		plan.Gateways = append(plan.Gateways, infra.Wanted{GatewayPlan: p, UID: g.UID})
	}
	return list, plan
}

func sorted[V any](m map[types.NamespacedName]V) []V {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b types.NamespacedName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	out := make([]V, 0, len(keys))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}

// sets returns the snapshots for the Envoys, which are not changed any more.
func (w *world) sets() map[types.NamespacedName]resource.Set {
	out := make(map[types.NamespacedName]resource.Set, len(w.snapshots))
	for n, s := range w.snapshots {
		clear(s.fresh)
		out[n] = s.set
	}
	return out
}
