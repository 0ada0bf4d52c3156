// Package watch turns the API's objects into the election's events: which
// addresses there are, who may announce them, and how the nodes are.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/gossip"
)

// +kubebuilder:rbac:groups="",resources=services;nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=porchlight-system,resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,resources=l2advertisements;ipaddresspools,verbs=get;list;watch

// Watch keeps the state of the objects that matter. Post, Touched and
// IgnoreExclude are set before Run.
type Watch struct {
	log *slog.Logger
	// Post takes events for the election.
	Post func(election.Event)
	// Touched hears of Services that changed, appeared, or vanished.
	Touched func(types.NamespacedName)
	// IgnoreExclude lets nodes announce that are labelled to be excluded from
	// external load balancers.
	IgnoreExclude bool

	mu             sync.Mutex
	advertisements map[string]*advertisement
	pools          map[string]*pool
	nodes          map[string]map[string]string // labels
	services       map[types.NamespacedName]*service
	endpoints      map[types.NamespacedName]map[string][]string // of a Service: nodes, by slice
	users          map[netip.Addr]map[types.NamespacedName]bool
	posted         map[netip.Addr]election.Address
	peers          map[types.NamespacedName]gossip.Peer
}

type service struct {
	ips    []netip.Addr
	pools  []string
	labels map[string]string
	local  bool
}

// New returns a Watch.
func New(log *slog.Logger) *Watch {
	return &Watch{
		log:            log,
		advertisements: map[string]*advertisement{}, pools: map[string]*pool{}, nodes: map[string]map[string]string{},
		services: map[types.NamespacedName]*service{}, endpoints: map[types.NamespacedName]map[string][]string{},
		users: map[netip.Addr]map[types.NamespacedName]bool{}, posted: map[netip.Addr]election.Address{},
		peers: map[types.NamespacedName]gossip.Peer{},
	}
}

// Start reads all objects, and goes on to follow them. It returns once each
// that there is was posted, or ctx ended.
func (w *Watch) Start(ctx context.Context, c cache.Cache) error {
	for _, k := range []struct {
		object client.Object
		set    func(any)
		remove func(types.NamespacedName)
	}{
		{&corev1.Node{}, func(o any) { w.setNode(o.(*corev1.Node)) }, w.deleteNode},
		{&corev1.Pod{}, func(o any) { w.setPod(o.(*corev1.Pod)) }, w.deletePod},
		{&v1beta1.IPAddressPool{}, func(o any) { w.setPool(o.(*v1beta1.IPAddressPool)) }, w.deletePool},
		{&v1beta1.L2Advertisement{}, func(o any) { w.setAdvertisement(o.(*v1beta1.L2Advertisement)) }, w.deleteAdvertisement},
		{&discoveryv1.EndpointSlice{}, func(o any) { w.setSlice(o.(*discoveryv1.EndpointSlice)) }, nil},
		{&corev1.Service{}, func(o any) { w.setService(o.(*corev1.Service)) }, w.deleteService},
	} {
		informer, err := c.GetInformer(ctx, k.object)
		if err != nil {
			return fmt.Errorf("watching %T: %w", k.object, err)
		}
		remove := func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if s, ok := o.(*discoveryv1.EndpointSlice); ok {
				w.deleteSlice(s)
			} else if m, ok := o.(metav1.Object); ok {
				k.remove(types.NamespacedName{Namespace: m.GetNamespace(), Name: m.GetName()})
			}
		}
		handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: k.set, UpdateFunc: func(_, o any) { k.set(o) }, DeleteFunc: remove,
		})
		if err != nil {
			return fmt.Errorf("watching %T: %w", k.object, err)
		}
		// One kind after the other: when a Service is seen, all that decides
		// about it is known, and its first verdict is the right one.
		if !toolscache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
			return fmt.Errorf("watching %T: %w", k.object, context.Cause(ctx))
		}
	}
	return nil
}

// Peers lists the speakers' pods.
func (w *Watch) Peers() []gossip.Peer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.peers))
}

// Users lists the Services that have an address, in order.
func (w *Watch) Users(ip netip.Addr) []types.NamespacedName {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Keys(w.users[ip]), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
}

// Addresses lists the addresses of a Service, in order; none for a Service
// that there is not.
func (w *Watch) Addresses(key types.NamespacedName) []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.services[key]; s != nil {
		return s.ips
	}
	return nil
}

func (w *Watch) setNode(n *corev1.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old, known := w.nodes[n.Name]; !known || !maps.Equal(old, n.Labels) {
		w.nodes[n.Name] = n.Labels
		w.recompile()
	}
	w.Post(election.SetNode{Name: n.Name, Reason: nodeReason(n, w.IgnoreExclude)})
}

func (w *Watch) deleteNode(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.nodes, key.Name)
	w.recompile()
	w.Post(election.DeleteNode{Name: key.Name})
}

func (w *Watch) setPod(p *corev1.Pod) {
	key := types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
	ip, err := netip.ParseAddr(p.Status.HostIP)
	if p.Spec.NodeName == "" || err != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		w.deletePod(key)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers[key] = gossip.Peer{Node: p.Spec.NodeName, IP: ip}
}

func (w *Watch) deletePod(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.peers, key)
}

func (w *Watch) setPool(o *v1beta1.IPAddressPool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := newPool(o)
	// The controller writes a pool's status at each allocation.
	if old := w.pools[o.Name]; old != nil && maps.Equal(old.labels, p.labels) && slices.Equal(old.blocks, p.blocks) {
		return
	}
	w.pools[o.Name] = p
	w.updateAll()
}

func (w *Watch) deletePool(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pools, key.Name)
	w.updateAll()
}

func (w *Watch) setAdvertisement(o *v1beta1.L2Advertisement) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a := newAdvertisement(o)
	a.compile(w.nodes)
	w.advertisements[o.Name] = a
	w.updateAll()
}

func (w *Watch) deleteAdvertisement(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.advertisements, key.Name)
	w.updateAll()
}

func (w *Watch) setSlice(s *discoveryv1.EndpointSlice) {
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	if key.Name == "" {
		return
	}
	var nodes []string
	for i := range s.Endpoints {
		node := ""
		if name := s.Endpoints[i].NodeName; name != nil {
			node = *name
		}
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	w.mu.Lock()
	defer w.mu.Unlock()
	old, known := w.endpoints[key][s.Name]
	if known && slices.Equal(old, nodes) {
		return
	}
	if w.endpoints[key] == nil {
		w.endpoints[key] = map[string][]string{}
	}
	w.endpoints[key][s.Name] = nodes
	w.updateService(key)
}

func (w *Watch) deleteSlice(s *discoveryv1.EndpointSlice) {
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.endpoints[key], s.Name)
	if len(w.endpoints[key]) == 0 {
		delete(w.endpoints, key)
	}
	w.updateService(key)
}

func (w *Watch) setService(o *corev1.Service) {
	key := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	ips := addresses(o)
	if len(ips) == 0 {
		w.deleteService(key)
		return
	}
	s := &service{ips: ips, labels: o.Labels, local: o.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal}
	for p := range strings.SplitSeq(o.Annotations[names.Prefix+names.AllocatedFromPool], ",") {
		if p = strings.TrimSpace(p); p != "" {
			s.pools = append(s.pools, p)
		}
	}
	w.mu.Lock()
	old := w.services[key]
	w.services[key] = s
	if old != nil {
		w.release(key, old, s.ips)
	}
	for _, ip := range ips {
		if w.users[ip] == nil {
			w.users[ip] = map[types.NamespacedName]bool{}
		}
		w.users[ip][key] = true
	}
	w.updateService(key)
	w.mu.Unlock()
	w.Touched(key)
}

func (w *Watch) deleteService(key types.NamespacedName) {
	w.mu.Lock()
	s := w.services[key]
	if s != nil {
		delete(w.services, key)
		w.release(key, s, nil)
	}
	w.mu.Unlock()
	if s != nil {
		w.Touched(key)
	}
}

// addresses are those that the controller gave to a Service.
func addresses(o *corev1.Service) []netip.Addr {
	_, given := o.Annotations[names.Prefix+names.AllocatedFromPool]
	given = given || slices.ContainsFunc(o.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == names.Allocated && c.Status == metav1.ConditionTrue
	})
	if !given || o.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var ips []netip.Addr
	for _, i := range o.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(i.IP); err == nil {
			ips = append(ips, ip.Unmap())
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

// release ends a Service's use of its addresses, except those it keeps.
func (w *Watch) release(key types.NamespacedName, s *service, keep []netip.Addr) {
	for _, ip := range s.ips {
		if !slices.Contains(keep, ip) {
			delete(w.users[ip], key)
			if len(w.users[ip]) == 0 {
				delete(w.users, ip)
			}
			w.update(ip)
		}
	}
}

// recompile selects the nodes anew, which makes other advertisements.
func (w *Watch) recompile() {
	for _, a := range w.advertisements {
		a.compile(w.nodes)
	}
	w.updateAll()
}

func (w *Watch) updateAll() {
	for ip := range w.users {
		w.update(ip)
	}
}

func (w *Watch) updateService(key types.NamespacedName) {
	if s := w.services[key]; s != nil {
		for _, ip := range s.ips {
			w.update(ip)
		}
	}
}

// update posts what is known of an address, if it changed.
func (w *Watch) update(ip netip.Addr) {
	old, was := w.posted[ip]
	if len(w.users[ip]) == 0 {
		if was {
			delete(w.posted, ip)
			w.Post(election.DeleteAddress{IP: ip})
		}
		return
	}
	a := w.address(ip)
	if was && sameAddress(old, a) {
		return
	}
	w.posted[ip] = a
	w.Post(election.SetAddress{Address: a})
}

// address unites what is so for the Services that share an address: any of
// their advertisements; some endpoint of any; on the node, of each that wants
// them there.
func (w *Watch) address(ip netip.Addr) election.Address {
	a := election.Address{IP: ip, NoEndpoints: true}
	for key := range w.users[ip] {
		s := w.services[key]
		local := map[string]bool{}
		for _, nodes := range w.endpoints[key] {
			for _, node := range nodes {
				a.NoEndpoints = false
				local[node] = true
			}
		}
		if s.local {
			if a.Local != nil {
				maps.DeleteFunc(a.Local, func(node string, _ bool) bool { return !local[node] })
			} else {
				a.Local = local
			}
		}
		for _, name := range slices.Sorted(maps.Keys(w.advertisements)) {
			adv := w.advertisements[name]
			if !slices.Contains(a.Advertisements, adv.compiled) && w.advertised(adv, s, ip) {
				a.Advertisements = append(a.Advertisements, adv.compiled)
			}
		}
	}
	if len(w.users[ip]) > 1 {
		order := map[*election.Advertisement]string{}
		for name, adv := range w.advertisements {
			order[adv.compiled] = name
		}
		slices.SortFunc(a.Advertisements, func(x, y *election.Advertisement) int { return strings.Compare(order[x], order[y]) })
	}
	return a
}

func (w *Watch) advertised(a *advertisement, s *service, ip netip.Addr) bool {
	if len(s.pools) == 0 {
		return a.selects("", nil, s.labels)
	}
	for _, name := range s.pools {
		p := w.pools[name]
		var poolLabels map[string]string
		if p != nil {
			if len(s.pools) > 1 && !p.contains(ip) {
				continue
			}
			poolLabels = p.labels
		}
		if a.selects(name, poolLabels, s.labels) {
			return true
		}
	}
	return false
}
