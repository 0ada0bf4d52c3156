package watch

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

var (
	vip   = netip.MustParseAddr("192.0.2.10")
	other = netip.MustParseAddr("192.0.2.11")
	name  = types.NamespacedName{Namespace: "ns", Name: "a"}
)

// changes is a Listener that remembers.
type changes []Change

func (c *changes) Changed(_ *State, new Change) { *c = append(*c, new) }

// take returns the changes since the last call.
func (c *changes) take() []Change {
	out := *c
	*c = nil
	return out
}

func lb(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Annotations: map[string]string{names.Prefix + names.AllocatedFromPool: "default"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip.String()}}
	if change != nil {
		change(s)
	}
	return s
}

func summaryOf(t *testing.T, o *corev1.Service) *Service {
	t.Helper()
	s, ok := newService(o, names.Class{})
	if !ok {
		t.Fatal("not ours")
	}
	return s
}

func TestServicesThatAreNotOurs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*corev1.Service)
		ours   bool
	}{
		{"of a pool", nil, true},
		{"of nobody", func(s *corev1.Service) { s.Annotations = nil }, false},
		{"internal", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }, false},
		{"of our class", func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("mine") }, true},
		{"of another installation", func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("theirs") }, false},
		{"without an address", func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil }, false},
		{"allocated, by the condition", func(s *corev1.Service) {
			s.Annotations = nil
			s.Status.Conditions = []metav1.Condition{{Type: names.Allocated, Status: metav1.ConditionTrue}}
		}, true},
	} {
		if _, ours := newService(lb(tt.change), names.Class{Name: "mine"}); ours != tt.ours {
			t.Errorf("%s: ours %v", tt.name, ours)
		}
	}
}

// Whatever changes is told once, with the addresses that it is about.
func TestChangesOfAService(t *testing.T) {
	var heard changes
	w := New("sys", false, &heard)
	for _, step := range []struct {
		name string
		do   func()
		want []Change
	}{
		{"appears", func() { w.setService(name, summaryOf(t, lb(nil))) }, []Change{{Service: name, Addresses: []netip.Addr{vip}}}},
		{"stays", func() { w.setService(name, summaryOf(t, lb(nil))) }, nil},
		{"is reported on", func() {
			w.setService(name, summaryOf(t, lb(func(s *corev1.Service) {
				s.Status.Conditions = []metav1.Condition{{Type: names.Announced, Status: metav1.ConditionTrue}}
			})))
		}, []Change{{Service: name, Addresses: []netip.Addr{vip}, Reported: true}}},
		{"moves", func() {
			w.setService(name, summaryOf(t, lb(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress[0].IP = other.String() })))
		}, []Change{{Service: name, Addresses: []netip.Addr{vip, other}}}},
		{"has endpoints", func() {
			w.setSlice(types.NamespacedName{Name: "a-1"}, endpoints{name, []string{"n1"}})
		}, []Change{{Service: name, Addresses: []netip.Addr{other}, Endpoints: true}}},
		{"has the same endpoints", func() { w.setSlice(types.NamespacedName{Name: "a-1"}, endpoints{name, []string{"n1"}}) }, nil},
		{"has none", func() { w.removeSlice(types.NamespacedName{Name: "a-1"}) }, []Change{{Service: name, Addresses: []netip.Addr{other}, Endpoints: true}}},
		{"vanishes", func() { w.removeService(name) }, []Change{{Service: name, Addresses: []netip.Addr{other}}}},
		{"vanishes again", func() { w.removeService(name) }, nil},
	} {
		step.do()
		if got := heard.take(); !slices.EqualFunc(got, step.want, sameChange) {
			t.Errorf("%s: told %+v, want %+v", step.name, got, step.want)
		}
	}
	w.View(func(s *State) {
		if len(s.users)+len(s.served)+len(s.slices) > 0 {
			t.Errorf("left behind: %v %v %v", s.users, s.served, s.slices)
		}
	})
}

func sameChange(a, b Change) bool {
	return a.Service == b.Service && a.Node == b.Node && a.Reported == b.Reported && a.Endpoints == b.Endpoints && a.Selection == b.Selection && slices.Equal(a.Addresses, b.Addresses)
}

func TestChangesOfNodesAndPools(t *testing.T) {
	var heard changes
	w := New("sys", false, &heard)
	pool := func(blocks ...v1beta1.AddressBlock) *Pool {
		return newPool(&v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: blocks}})
	}
	for _, step := range []struct {
		name string
		do   func()
		want []Change
	}{
		{"node appears", func() { w.setNode("n1", &Node{}) }, []Change{{Node: "n1", Selection: true}}},
		{"node stays", func() { w.setNode("n1", &Node{}) }, nil},
		{"node is not ready", func() { w.setNode("n1", &Node{Reason: reason.NodeNotReady}) }, []Change{{Node: "n1"}}},
		{"node is labelled", func() {
			w.setNode("n1", &Node{Labels: map[string]string{"a": "b"}, Reason: reason.NodeNotReady})
		}, []Change{{Node: "n1", Selection: true}}},
		{"node vanishes", func() { w.setNode("n1", nil) }, []Change{{Node: "n1", Selection: true}}},
		{"pool appears", func() { w.setPool("p", pool("192.0.2.0/24")) }, []Change{{Selection: true}}},
		{"pool's status is written", func() { w.setPool("p", pool("192.0.2.0/24")) }, nil},
		{"pool grows", func() { w.setPool("p", pool("192.0.2.0/24", "2001:db8::/64")) }, []Change{{Selection: true}}},
		{"advertisement appears", func() { w.setL2Advertisement("adv", &v1beta1.L2AdvertisementSpec{}) }, []Change{{Selection: true}}},
		{"advertisement stays", func() { w.setL2Advertisement("adv", &v1beta1.L2AdvertisementSpec{}) }, nil},
		{"advertisement vanishes", func() { w.setL2Advertisement("adv", nil) }, []Change{{Selection: true}}},
	} {
		step.do()
		if got := heard.take(); !slices.EqualFunc(got, step.want, sameChange) {
			t.Errorf("%s: told %+v, want %+v", step.name, got, step.want)
		}
	}
}

// Services that share an address are its users together, in order.
func TestUsers(t *testing.T) {
	w := New("sys", false)
	b := types.NamespacedName{Namespace: "ns", Name: "b"}
	w.setService(b, summaryOf(t, lb(nil)))
	w.setService(name, summaryOf(t, lb(nil)))
	w.setService(b, summaryOf(t, lb(nil)))
	users := func() (out []types.NamespacedName) {
		w.View(func(s *State) { out = s.Users(vip) })
		return out
	}
	both := users()
	w.removeService(name)
	if !slices.Equal(both, []types.NamespacedName{name, b}) || !slices.Equal(users(), []types.NamespacedName{b}) {
		t.Errorf("users %v, then %v", both, users())
	}
}

// A mirror keeps what a list has, however it comes, and forgets the rest.
func TestMirror(t *testing.T) {
	have := map[types.NamespacedName]*Service{}
	m := &mirror[*corev1.Service, *Service]{
		kind: kind[*corev1.Service, *Service]{
			summarize: func(o *corev1.Service) (*Service, bool) { return newService(o, names.Class{}) },
			set:       func(n types.NamespacedName, s *Service) { have[n] = s },
			remove:    func(n types.NamespacedName) { delete(have, n) },
			known:     func() iter.Seq[types.NamespacedName] { return maps.Keys(have) },
		},
		synced: make(chan struct{}),
	}
	named := func(name string) *corev1.Service { return lb(func(s *corev1.Service) { s.Name = name }) }
	has := func(when string, want ...string) {
		t.Helper()
		var got []string
		for n := range have {
			got = append(got, n.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: has %v, want %v", when, got, want)
		}
	}
	streamed, err := m.Transformer()(named("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Replace([]any{named("a"), streamed}, "1"); err != nil {
		t.Fatal(err)
	}
	<-m.synced
	has("listed", "a", "b")
	for _, do := range []struct {
		when string
		err  error
		want []string
	}{
		{"added", m.Add(named("c")), []string{"a", "b", "c"}},
		{"lost its address", m.Update(lb(func(s *corev1.Service) { s.Status.LoadBalancer.Ingress = nil })), []string{"b", "c"}},
	} {
		if do.err != nil {
			t.Errorf("%s: %v", do.when, do.err)
		}
	}
	has("watched", "b", "c")
	if err := m.Delete(named("c")); err != nil {
		t.Fatal(err)
	}
	has("deleted", "b")
	if err := m.Replace([]any{named("d")}, "2"); err != nil {
		t.Fatal(err)
	}
	has("listed again", "d")
}

func TestEndpointsThatServe(t *testing.T) {
	yes, no := true, false
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "a"}}}
	for node, c := range map[string]discoveryv1.EndpointConditions{
		"n1": {}, "n2": {Ready: &no}, "n3": {Ready: &no, Serving: &yes, Terminating: &yes}, "n4": {Ready: &no, Serving: &no, Terminating: &yes}, "n5": {Ready: &yes},
	} {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &node, Conditions: c}, discoveryv1.Endpoint{NodeName: &node, Conditions: c})
	}
	e, ok := newEndpoints(s)
	if !ok || e.service != name || !slices.Equal(e.nodes, []string{"n1", "n3", "n5"}) {
		t.Errorf("%+v may serve", e)
	}
	s.Labels = nil
	if _, ok := newEndpoints(s); ok {
		t.Error("a slice of no Service is kept")
	}
}

func TestNodeReason(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*corev1.Node)
		ignore bool
		want   reason.Reason
	}{
		{"ready", func(*corev1.Node) {}, false, ""},
		{"not ready", func(n *corev1.Node) { n.Status.Conditions = nil }, false, reason.NodeNotReady},
		{"excluded", func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""} }, false, reason.NodeExcluded},
		{"excluded, ignored", func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""} }, true, ""},
		{"out of service", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService}} }, false, reason.NodeNotReady},
		{"no network", func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
		}, false, reason.NetworkUnavailable},
	} {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
		tt.change(n)
		if got := nodeReason(n, tt.ignore); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPoolContains(t *testing.T) {
	p := newPool(&v1beta1.IPAddressPool{Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"192.0.2.0/25", "192.0.2.200 - 192.0.2.201", "2001:db8::/126"}}})
	for ip, want := range map[string]bool{
		"192.0.2.127": true, "192.0.2.128": false, "192.0.2.201": true, "192.0.2.202": false, "2001:db8::3": true, "2001:db8::4": false,
	} {
		if p.Contains(netip.MustParseAddr(ip)) != want {
			t.Errorf("contains %s: %v", ip, !want)
		}
	}
}

func TestLabels(t *testing.T) {
	l := NewLabels(map[string]string{"b": "2", "a": "1", "c": ""})
	for key, want := range map[string]string{"a": "1", "b": "2", "c": ""} {
		if !l.Has(key) || l.Get(key) != want {
			t.Errorf("%s is %q, has %v", key, l.Get(key), l.Has(key))
		}
	}
	if l.Has("2") || l.Has("d") || !slices.Equal(l, []string{"a", "1", "b", "2", "c", ""}) {
		t.Errorf("labels %q", l)
	}
}

func TestChoice(t *testing.T) {
	labelled := func(k, v string) Selectors {
		return NewSelectors([]metav1.LabelSelector{{MatchLabels: map[string]string{k: v}}})
	}
	pools := map[string]*Pool{
		"default": {Labels: map[string]string{"kind": "public"}, blocks: []address.Range{{From: vip, To: vip}}},
		"second":  {blocks: []address.Range{{From: other, To: other}}},
	}
	for _, tt := range []struct {
		name   string
		choice Choice
		from   []string
		want   bool
	}{
		{"neither list: all pools", Choice{}, []string{"default"}, true},
		{"the pool by name", Choice{Pools: []string{"default"}}, []string{"default"}, true},
		{"another pool", Choice{Pools: []string{"second"}}, []string{"default"}, false},
		{"the pool by label", Choice{PoolSelectors: labelled("kind", "public")}, []string{"default"}, true},
		{"another label", Choice{PoolSelectors: labelled("kind", "private")}, []string{"default"}, false},
		{"a Service's label", Choice{Services: labelled("app", "web")}, []string{"default"}, true},
		{"another Service's label", Choice{Services: labelled("app", "db")}, []string{"default"}, false},
		{"of two pools, that of the address", Choice{Pools: []string{"default"}}, []string{"second", "default"}, true},
		{"of two pools, that of the other address", Choice{Pools: []string{"second"}}, []string{"second", "default"}, false},
		{"a pool that is gone, by name", Choice{Pools: []string{"gone"}}, []string{"gone"}, true},
		{"no pool is known", Choice{Pools: []string{"default"}}, nil, false},
		{"no pool is known, all are chosen", Choice{}, nil, true},
	} {
		s := &Service{Addresses: []netip.Addr{vip}, Pools: tt.from, Labels: NewLabels(map[string]string{"app": "web"})}
		if got := tt.choice.Covers(&State{Pools: pools}, s, vip); got != tt.want {
			t.Errorf("%s: covers %v", tt.name, got)
		}
	}
}
