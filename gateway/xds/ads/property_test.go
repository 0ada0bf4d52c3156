package ads

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// envoy is a model of the client: what it has, what it warms, what it asks
// for because of that, and what it refuses, which is every version with the
// word bad in it.
type envoy struct {
	have map[resource.Type]map[string]resource.Resource
	subs map[resource.Type]map[string]bool
	// warming clusters wait for endpoints; the value says whether an older
	// version of the cluster serves meanwhile.
	warming map[string]bool
	// refused clusters were refused in the version that routes name first, and
	// did not serve since.
	refused map[string]bool
	refs    map[string][]string // of a route or listener, by its version
	sends   []*discoveryv3.DeltaDiscoveryRequest
	started map[resource.Type]bool
	// running says that it has started: it says nothing about clusters while
	// one of them warms. named says that it has named its clusters.
	running, named bool
	// held is the acknowledgement of clusters, which waits until they are
	// warm, once the client has started.
	held *discoveryv3.DeltaDiscoveryRequest
	// scoped says that listeners come to their routes by scopes, each by one that
	// has the route's name. It asks for those while a listener has routes.
	scoped, asking bool
	// active is the routes that each listener serves by; it changes when the
	// listener has warmed.
	active map[string][]string
}

func newEnvoy() *envoy {
	e := &envoy{
		have: map[resource.Type]map[string]resource.Resource{}, subs: map[resource.Type]map[string]bool{},
		warming: map[string]bool{}, refused: map[string]bool{}, refs: map[string][]string{},
		active: map[string][]string{},
	}
	for _, t := range removals {
		e.have[t], e.subs[t] = map[string]resource.Resource{}, map[string]bool{}
	}
	e.connect()
	return e
}

// connect opens a stream: each type is named with what the client has of it.
func (e *envoy) connect() {
	e.sends, e.started = nil, map[resource.Type]bool{}
	e.held, e.named = nil, true
	for _, t := range removals {
		wild := t == resource.Cluster || t == resource.Listener || t == resource.Scope && e.asking
		if !wild && len(e.subs[t]) == 0 {
			continue
		}
		e.started[t] = true
		// While a cluster warms, nothing is said about clusters.
		if t == resource.Cluster && len(e.warming) > 0 && e.running {
			e.named = false
			continue
		}
		e.sends = append(e.sends, e.name(t))
	}
}

// name is the first request for a type on a stream.
func (e *envoy) name(t resource.Type) *discoveryv3.DeltaDiscoveryRequest {
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(t), InitialResourceVersions: map[string]string{}}
	for name, r := range e.have[t] {
		if r.Version != "" {
			req.InitialResourceVersions[name] = r.Version
		}
	}
	req.ResourceNamesSubscribe = slices.Sorted(maps.Keys(e.subs[t]))
	return req
}

func (e *envoy) subscribe(t resource.Type, name string) {
	if !e.subs[t][name] {
		e.subs[t][name] = true
		e.sends = append(e.sends, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(t), ResourceNamesSubscribe: []string{name}})
	}
}

func (e *envoy) unsubscribe(t resource.Type, name string) {
	if e.subs[t][name] {
		delete(e.subs[t], name)
		delete(e.have[t], name)
		e.sends = append(e.sends, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(t), ResourceNamesUnsubscribe: []string{name}})
	}
}

// receive applies a response and queues the answer. partly says that a
// refused response is applied as far as it is good, as Envoy does for some
// types; early that the answer goes before the subscriptions that follow from
// it.
func (e *envoy) receive(resp *discoveryv3.DeltaDiscoveryResponse, partly, early bool) {
	queued := len(e.sends)
	t := resource.Type(resp.TypeUrl)
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
	var bad []string
	for _, r := range resp.Resources {
		if strings.Contains(r.Version, "bad") {
			bad = append(bad, r.Name)
		}
	}
	if bad != nil {
		answer.ErrorDetail = &statuspb.Status{Message: strings.Join(bad, " ")}
	}
	for _, r := range resp.Resources {
		switch {
		case slices.Contains(bad, r.Name):
			if t == resource.Cluster && len(resp.Resources) == 1 {
				e.refused[r.Name] = true
			}
			if t == resource.Endpoint && len(resp.Resources) == 1 {
				delete(e.warming, r.Name)
			}
			// A refusal ends the warming of what waits for the resource.
			if _, ok := e.have[t][r.Name]; t == resource.Route && len(resp.Resources) == 1 && !ok {
				e.have[t][r.Name] = resource.Resource{}
			}
		case bad == nil || partly:
			e.apply(resource.Marshalled(resource.Key{Type: t, Name: r.Name}, r.Version, r.Resource))
		}
	}
	if bad == nil {
		for _, name := range resp.RemovedResources {
			e.remove(t, name)
		}
	}
	e.warm()
	if !early {
		queued = len(e.sends)
	}
	if t == resource.Cluster && bad == nil && e.running && len(e.warming) > 0 {
		e.held = answer
	} else {
		e.sends = slices.Insert(e.sends, queued, answer)
	}
	if !e.named && len(e.warming) == 0 {
		e.named = true
		e.sends = append(e.sends, e.name(resource.Cluster))
	}
	if e.held != nil && len(e.warming) == 0 {
		e.sends = append(e.sends, e.held)
		e.held = nil
	}
}

func (e *envoy) apply(r resource.Resource) {
	old, had := e.have[r.Type][r.Name]
	if (r.Type == resource.Endpoint || r.Type == resource.Route) && !e.subs[r.Type][r.Name] || r.Type == resource.Scope && !e.asking {
		return
	}
	e.have[r.Type][r.Name] = r
	switch r.Type {
	case resource.Cluster:
		if had && old.Version == r.Version {
			return
		}
		if serving, is := e.warming[r.Name]; is {
			had = serving
		}
		e.warming[r.Name] = had
		e.subscribe(resource.Endpoint, r.Name)
	case resource.Endpoint:
		delete(e.warming, r.Name)
		delete(e.refused, r.Name)
	case resource.Listener:
		if !e.scoped {
			for _, route := range e.refs[r.Version] {
				e.subscribe(resource.Route, route)
			}
		} else if len(e.refs[r.Version]) > 0 && !e.asking {
			e.asking = true
			e.sends = append(e.sends, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(resource.Scope), ResourceNamesSubscribe: []string{"*"}})
		} else if len(e.have[resource.Scope]) > 0 {
			// It waits for nothing.
			e.active[r.Name] = e.refs[r.Version]
		}
	case resource.Scope:
		e.subscribe(resource.Route, r.Name)
	}
}

func (e *envoy) remove(t resource.Type, name string) {
	if t == resource.Route {
		// What is there stays; what was waited for is waited for no longer,
		// as after Envoy's fetch timeout.
		if _, ok := e.have[t][name]; !ok && e.subs[t][name] {
			e.have[t][name] = resource.Resource{}
		}
		return
	}
	delete(e.have[t], name)
	switch t {
	case resource.Cluster:
		delete(e.warming, name)
		e.unsubscribe(resource.Endpoint, name)
	case resource.Endpoint:
		delete(e.warming, name)
	case resource.Listener:
		delete(e.active, name)
	case resource.Scope:
		e.unsubscribe(resource.Route, name)
	}
}

// warm switches listeners over to the routes of their newest version once
// all of those are there, and lets go of routes that no listener uses, and of
// scopes if none uses any.
func (e *envoy) warm() {
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(e.have[resource.Listener])) {
		l := e.have[resource.Listener][name]
		ready := true
		for _, route := range e.refs[l.Version] {
			_, ok := e.have[resource.Route][route]
			ready = ready && ok
			used[route] = true
		}
		if ready {
			e.active[name] = e.refs[l.Version]
		}
		for _, route := range e.active[name] {
			used[route] = true
		}
	}
	if e.scoped {
		if e.asking && len(used) == 0 {
			e.asking = false
			e.sends = append(e.sends, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(resource.Scope), ResourceNamesUnsubscribe: []string{"*"}})
			for name := range e.have[resource.Scope] {
				e.remove(resource.Scope, name)
			}
		}
		return
	}
	for _, route := range slices.Sorted(maps.Keys(e.subs[resource.Route])) {
		if !used[route] {
			e.unsubscribe(resource.Route, route)
		}
	}
}

// broken names a cluster that a request may be sent to and that cannot take
// it.
func (e *envoy) broken() string {
	for listener, routes := range e.active {
		for _, route := range routes {
			if _, ok := e.have[resource.Route][route]; !ok && e.subs[resource.Route][route] {
				return fmt.Sprintf("listener %s, which has not route %s", listener, route)
			}
			for _, cluster := range e.refs[e.have[resource.Route][route].Version] {
				serving, warming := e.warming[cluster]
				if _, ok := e.have[resource.Cluster][cluster]; (!ok || warming && !serving) && !e.refused[cluster] {
					return fmt.Sprintf("listener %s, route %s, cluster %s", listener, route, cluster)
				}
			}
		}
	}
	return ""
}

// snapshot draws a consistent set; the version of a route or a listener says
// what it names.
func snapshot(rnd *rand.Rand, refs map[string][]string, bad, scoped bool) resource.Set {
	version := func() string {
		n := rnd.IntN(12)
		if n == 0 && bad {
			return "bad"
		}
		return fmt.Sprint(n % 2)
	}
	some := func(from ...string) []string {
		var out []string
		for _, name := range from {
			if rnd.IntN(3) > 0 {
				out = append(out, name)
			}
		}
		return out
	}
	set := resource.Set{}
	clusters := some("a", "b", "c", "d")
	for _, c := range clusters {
		set.Put(made(resource.Cluster, c, version()))
		set.Put(made(resource.Endpoint, c, version()))
	}
	naming := func(typ resource.Type, name string, to []string) {
		v := fmt.Sprintf("%s-%s-%s", name, version(), strings.Join(to, "+"))
		refs[v] = to
		set.Put(made(typ, name, v, to...))
	}
	used := map[string]bool{}
	for _, l := range some("k", "l") {
		to := some("r", "s", "t")
		for _, r := range to {
			used[r] = true
		}
		naming(resource.Listener, l, to)
	}
	for _, r := range slices.Sorted(maps.Keys(used)) {
		naming(resource.Route, r, some(clusters...))
		if scoped {
			set.Put(made(resource.Scope, r, fmt.Sprint(rnd.IntN(2)), r))
		}
	}
	return set
}

var seed = flag.Uint64("seed", 0, "run TestAnyOrder with this seed alone")

// TestAnyOrder: whatever order snapshots, answers, refusals and lost streams
// come in, the client never has a route to a cluster that it does not have,
// and ends with the snapshot.
func TestAnyOrder(t *testing.T) {
	first, last := uint64(1), uint64(5000)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for n := first; n <= last && !t.Failed(); n++ {
		anyOrder(t, n)
		if t.Failed() {
			t.Errorf("repeat with: go test ./gateway/xds/ads -run TestAnyOrder -seed %d", n)
		}
	}
}

func anyOrder(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	e := newEnvoy()
	e.running = rnd.IntN(4) > 0
	e.scoped = rnd.IntN(2) > 0
	s := New()
	var target resource.Set
	var wire []*discoveryv3.DeltaDiscoveryResponse

	publish := func(bad bool) {
		target = snapshot(rnd, e.refs, bad, e.scoped)
		wire = append(wire, s.Publish(target).Responses...)
	}
	toServer := func() {
		req := e.sends[0]
		e.sends = e.sends[1:]
		out, err := s.Request(req)
		if err != nil {
			t.Error(err)
		}
		wire = append(wire, out.Responses...)
	}
	toClient := func() {
		resp := wire[0]
		wire = wire[1:]
		e.receive(resp, rnd.IntN(2) == 0, rnd.IntN(2) == 0)
		if b := e.broken(); b != "" {
			t.Errorf("after %v the client cannot serve %s", resp, b)
		}
	}
	for range rnd.IntN(300) {
		switch n := rnd.IntN(60); {
		case t.Failed():
			return
		case n < 3:
			publish(true)
		case n == 3:
			s, wire = New(), nil
			e.connect()
			if target != nil && rnd.IntN(2) == 0 {
				wire = append(wire, s.Publish(target).Responses...)
			} else {
				target = nil
			}
		case n < 30 && len(e.sends) > 0:
			toServer()
		case len(wire) > 0:
			toClient()
		}
	}
	publish(false)
	for n := 0; len(wire) > 0 || len(e.sends) > 0; n++ {
		if n > 1000 {
			t.Error("the session does not come to rest")
			return
		}
		if len(e.sends) > 0 {
			toServer()
		} else {
			toClient()
		}
	}
	if len(e.warming) > 0 {
		t.Errorf("clusters %v still warm", e.warming)
	}
	for _, typ := range removals {
		want, got := map[string]string{}, map[string]string{}
		for name, r := range target[typ] {
			want[name] = r.Version
		}
		for name, r := range e.have[typ] {
			if r.Version == "" {
				continue
			}
			got[name] = r.Version
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: client has %v, want %v", typ, got, want)
		}
	}
	if want := slices.Sorted(maps.Keys(target[resource.Listener])); !slices.Equal(s.Live(), want) {
		t.Errorf("live %v, want %v", s.Live(), want)
	}
}
