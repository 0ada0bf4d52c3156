// Package watch follows the API's objects and keeps of each what the speaker
// must know: summaries, not objects. Who announces addresses, by whatever
// protocol, listens to it.
package watch

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
)

// +kubebuilder:rbac:groups="",resources=services;nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=porchlight-system,resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=l2advertisements;ipaddresspools,verbs=get;list;watch

// State is what is known. It may be read while a Listener or a View is called,
// and what its maps hold may be kept: it is replaced, never written to.
type State struct {
	Services map[types.NamespacedName]*Service
	Nodes    map[string]*Node
	Pools    map[string]*Pool
	// Speakers are by pod.
	Speakers         map[types.NamespacedName]Speaker
	L2Advertisements map[string]*v1beta1.L2AdvertisementSpec
	Peering          Peering

	users  map[netip.Addr][]types.NamespacedName // of an address, in order
	slices map[types.NamespacedName]endpoints    // by EndpointSlice
	served map[types.NamespacedName][]types.NamespacedName
}

// Users are the Services that have an address, in order.
func (s *State) Users(ip netip.Addr) []types.NamespacedName { return s.users[ip] }

// Addresses are all that Services have.
func (s *State) Addresses() iter.Seq[netip.Addr] { return maps.Keys(s.users) }

// Endpoints yields the nodes on which a Service is served, some more than once;
// "" stands for a place that is no node.
func (s *State) Endpoints(service types.NamespacedName) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range s.served[service] {
			for _, node := range s.slices[name].nodes {
				if !yield(node) {
					return
				}
			}
		}
	}
}

// Served says where an address is served, by the Services that share it:
// nowhere, or on nodes of which only those in local may announce it, since each
// Service that keeps traffic local has an endpoint there; nil: any node may.
func (s *State) Served(ip netip.Addr) (nowhere bool, local map[string]bool) {
	nowhere = true
	for _, user := range s.users[ip] {
		var here map[string]bool
		if s.Services[user].Local {
			here = map[string]bool{}
		}
		for node := range s.Endpoints(user) {
			nowhere = false
			if here != nil {
				here[node] = true
			}
		}
		switch {
		case here == nil:
		case local == nil:
			local = here
		default:
			maps.DeleteFunc(local, func(node string, _ bool) bool { return !here[node] })
		}
	}
	return nowhere, local
}

// Change is what is new in a State.
type Change struct {
	// Service that appeared, changed, or vanished, or whose endpoints did, with
	// the Addresses that it has or had. Addresses without a Service: see Touch.
	Service   types.NamespacedName
	Addresses []netip.Addr
	// Reported: nothing but the condition Announced of the Service changed.
	Reported bool
	// Endpoints: nothing but the Service's endpoints changed.
	Endpoints bool

	// Node that appeared, changed, or vanished.
	Node string
	// Selection: pools, advertisements, or labels of nodes changed, so that any
	// address may be concerned.
	Selection bool
	// Peering: something of State.Peering changed.
	Peering bool
}

// Listener hears of every change, one at a time. It must not block, nor call
// the Watch.
type Listener interface {
	Changed(*State, Change)
}

// Watch keeps a State.
type Watch struct {
	// Class says which Services are ours. It is set before Start.
	Class names.Class

	namespace     string
	ignoreExclude bool
	listeners     []Listener

	mu    sync.Mutex
	state State
}

// New returns a Watch for the installation in a namespace. Listeners are called
// in this order. With ignoreExclude, nodes may announce that are labelled to be
// left out of external load balancers.
func New(namespace string, ignoreExclude bool, listeners ...Listener) *Watch {
	return &Watch{
		namespace: namespace, ignoreExclude: ignoreExclude, listeners: listeners,
		state: State{
			Services: map[types.NamespacedName]*Service{}, Nodes: map[string]*Node{}, Pools: map[string]*Pool{},
			Speakers: map[types.NamespacedName]Speaker{}, L2Advertisements: map[string]*v1beta1.L2AdvertisementSpec{},
			Peering: newPeering(),
			users:   map[netip.Addr][]types.NamespacedName{}, slices: map[types.NamespacedName]endpoints{},
			served: map[types.NamespacedName][]types.NamespacedName{},
		},
	}
}

// Start reads all objects, and goes on to follow them until ctx ends. It
// returns once the listeners heard of each that there is. One kind comes after
// the other: when a Service is seen, all that decides about it is known.
func (w *Watch) Start(ctx context.Context, api *kube.Clients) error {
	for _, start := range []func() error{
		func() error { return follow(ctx, w.nodes(api.Core)) },
		func() error { return follow(ctx, w.speakers(api.Core)) },
		func() error { return follow(ctx, w.pools(api.Porchlight)) },
		func() error { return follow(ctx, w.l2advertisements(api.Porchlight)) },
		func() error { return follow(ctx, w.passwords(api.Core)) },
		func() error { return follow(ctx, w.bfdprofiles(api.Porchlight)) },
		func() error { return follow(ctx, w.communities(api.Porchlight)) },
		func() error { return follow(ctx, w.bgppeers(api.Porchlight)) },
		func() error { return follow(ctx, w.bgpadvertisements(api.Porchlight)) },
		func() error { return follow(ctx, w.sessions(api.Porchlight)) },
		func() error { return follow(ctx, w.endpointSlices(api.Discovery)) },
		func() error { return follow(ctx, w.services(api.Core)) },
	} {
		if err := start(); err != nil {
			return err
		}
	}
	return nil
}

// Put takes objects in as if the API server had sent them, for the tests of
// Listeners.
func (w *Watch) Put(objects ...runtime.Object) {
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Node:
			w.nodes(nil).put(o)
		case *corev1.Pod:
			w.speakers(nil).put(o)
		case *v1beta1.IPAddressPool:
			w.pools(nil).put(o)
		case *v1beta1.L2Advertisement:
			w.l2advertisements(nil).put(o)
		case *corev1.Secret:
			w.passwords(nil).put(o)
		case *v1beta1.BFDProfile:
			w.bfdprofiles(nil).put(o)
		case *v1beta1.Community:
			w.communities(nil).put(o)
		case *v1beta1.BGPPeer:
			w.bgppeers(nil).put(o)
		case *v1beta1.BGPAdvertisement:
			w.bgpadvertisements(nil).put(o)
		case *v1beta1.BGPSessionState:
			w.sessions(nil).put(o)
		case *discoveryv1.EndpointSlice:
			w.endpointSlices(nil).put(o)
		case *corev1.Service:
			w.services(nil).put(o)
		default:
			panic(fmt.Sprintf("nobody follows a %T", o))
		}
	}
}

// View lets f read the state. It must not block.
func (w *Watch) View(f func(*State)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(&w.state)
}

// Touch has the listeners look at addresses again, of which something changed
// that the API does not know.
func (w *Watch) Touch(ips []netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell(Change{Addresses: ips})
}

// tell is called with the lock held.
func (w *Watch) tell(c Change) {
	for _, l := range w.listeners {
		l.Changed(&w.state, c)
	}
}

// put sets or, where value is nil, deletes an entry. It reports whether that
// changed anything.
func put[V any](m map[string]*V, name string, value *V, same func(a, b *V) bool) bool {
	old := m[name]
	switch {
	case value == nil:
		delete(m, name)
		return old != nil
	case old != nil && same(old, value):
		return false
	}
	m[name] = value
	return true
}

func (w *Watch) setNode(name string, n *Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.state.Nodes[name]
	if put(w.state.Nodes, name, n, func(a, b *Node) bool { return a.Reason == b.Reason && maps.Equal(a.Labels, b.Labels) }) {
		w.tell(Change{Node: name, Selection: old == nil || n == nil || !maps.Equal(old.Labels, n.Labels)})
	}
}

func (w *Watch) setSpeaker(pod types.NamespacedName, s Speaker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Speakers[pod] = s
}

func (w *Watch) removeSpeaker(pod types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.state.Speakers, pod)
}

func (w *Watch) setPool(name string, p *Pool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// The controller writes a pool's status at each allocation.
	if put(w.state.Pools, name, p, func(a, b *Pool) bool { return maps.Equal(a.Labels, b.Labels) && slices.Equal(a.blocks, b.blocks) }) {
		w.tell(Change{Selection: true})
	}
}

func (w *Watch) setL2Advertisement(name string, spec *v1beta1.L2AdvertisementSpec) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if put(w.state.L2Advertisements, name, spec, func(a, b *v1beta1.L2AdvertisementSpec) bool { return equality.Semantic.DeepEqual(a, b) }) {
		w.tell(Change{Selection: true})
	}
}

func (w *Watch) setSlice(name types.NamespacedName, e endpoints) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old, was := w.state.slices[name]
	if was && old.service == e.service && slices.Equal(old.nodes, e.nodes) {
		return
	}
	w.state.slices[name] = e
	if was && old.service != e.service {
		w.unserve(old.service, name)
	}
	if !was || old.service != e.service {
		w.state.served[e.service] = append(w.state.served[e.service], name)
	}
	w.endpointsChanged(e.service)
}

func (w *Watch) removeSlice(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, was := w.state.slices[name]; was {
		delete(w.state.slices, name)
		w.unserve(old.service, name)
	}
}

// unserve takes a slice from a Service.
func (w *Watch) unserve(service, name types.NamespacedName) {
	left := slices.DeleteFunc(slices.Clone(w.state.served[service]), func(n types.NamespacedName) bool { return n == name })
	if len(left) == 0 {
		delete(w.state.served, service)
	} else {
		w.state.served[service] = left
	}
	w.endpointsChanged(service)
}

func (w *Watch) endpointsChanged(service types.NamespacedName) {
	if s := w.state.Services[service]; s != nil {
		w.tell(Change{Service: service, Addresses: s.Addresses, Endpoints: true})
	}
}

func (w *Watch) setService(name types.NamespacedName, s *Service) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.state.Services[name]
	w.state.Services[name] = s
	if old == nil {
		w.use(name, nil, s.Addresses)
		w.tell(Change{Service: name, Addresses: s.Addresses})
		return
	}
	same := old.UID == s.UID && slices.Equal(old.Addresses, s.Addresses) && slices.Equal(old.Pools, s.Pools) &&
		slices.Equal(old.Labels, s.Labels) && old.Local == s.Local
	switch {
	case !same:
		w.use(name, old.Addresses, s.Addresses)
		w.tell(Change{Service: name, Addresses: union(old.Addresses, s.Addresses)})
	case old.Announced != s.Announced:
		w.tell(Change{Service: name, Addresses: s.Addresses, Reported: true})
	}
}

func (w *Watch) removeService(name types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.state.Services[name]; old != nil {
		delete(w.state.Services, name)
		w.use(name, old.Addresses, nil)
		w.tell(Change{Service: name, Addresses: old.Addresses})
	}
}

func union(a, b []netip.Addr) []netip.Addr {
	all := slices.Concat(a, b)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// use notes that a Service no longer has the addresses of before, and has those
// of now.
func (w *Watch) use(name types.NamespacedName, before, now []netip.Addr) {
	for _, ip := range before {
		if !slices.Contains(now, ip) {
			left := slices.DeleteFunc(slices.Clone(w.state.users[ip]), func(n types.NamespacedName) bool { return n == name })
			if len(left) == 0 {
				delete(w.state.users, ip)
			} else {
				w.state.users[ip] = left
			}
		}
	}
	for _, ip := range now {
		have := w.state.users[ip]
		at, found := slices.BinarySearchFunc(have, name, compareNames)
		if !found {
			w.state.users[ip] = slices.Insert(slices.Clip(have), at, name)
		}
	}
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
