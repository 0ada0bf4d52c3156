package watch

import (
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

var vip = netip.MustParseAddr("192.0.2.10")

// fixture is a Watch with two nodes, a pool and an advertisement; posted are
// the latest events of addresses.
type fixture struct {
	*Watch
	addresses map[netip.Addr]election.Address
	nodes     map[string]reason.Reason
	posts     int
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		Watch:     New(slog.New(slog.NewTextHandler(io.Discard, nil))),
		addresses: map[netip.Addr]election.Address{}, nodes: map[string]reason.Reason{},
	}
	f.Touched = func(types.NamespacedName) {}
	f.Post = func(ev election.Event) {
		switch ev := ev.(type) {
		case election.SetAddress:
			f.addresses[ev.Address.IP] = ev.Address
			f.posts++
		case election.DeleteAddress:
			delete(f.addresses, ev.IP)
		case election.SetNode:
			f.nodes[ev.Name] = ev.Reason
		}
	}
	f.setNode(node("n1", nil))
	f.setNode(node("n2", map[string]string{"rack": "b"}))
	f.setPool(&v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"kind": "public"}},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"192.0.2.0/24", "2001:db8::1-2001:db8::ff"}},
	})
	return f
}

func node(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func lb(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Annotations: map[string]string{names.Prefix + names.AllocatedFromPool: "default"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip.String()}}
	if change != nil {
		change(s)
	}
	return s
}

func slice(service, name string, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &n})
	}
	return s
}

func advertise(name string, spec v1beta1.L2AdvertisementSpec) *v1beta1.L2Advertisement {
	return &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func TestAddressOfAService(t *testing.T) {
	f := newFixture(t)
	f.setService(lb("a", nil))
	if a := f.addresses[vip]; len(a.Advertisements) != 0 || !a.NoEndpoints || a.Local != nil {
		t.Errorf("without anything: %+v", a)
	}
	f.setSlice(slice("a", "a-1", "n1"))
	f.setAdvertisement(advertise("adv", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"default"}}))
	if a := f.addresses[vip]; len(a.Advertisements) != 1 || len(a.Advertisements[0].Nodes) != 2 || a.NoEndpoints {
		t.Errorf("advertised: %+v", a)
	}
	before := f.posts
	f.setService(lb("a", nil))
	f.setSlice(slice("a", "a-1", "n1"))
	f.setPool(&v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"kind": "public"}},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"192.0.2.0/24", "2001:db8::1-2001:db8::ff"}},
	})
	if f.posts != before {
		t.Error("what does not change is told again")
	}
	f.deleteService(types.NamespacedName{Namespace: "ns", Name: "a"})
	if len(f.addresses) != 0 || len(f.Users(vip)) != 0 {
		t.Error("a deleted Service keeps its address")
	}
}

func TestServicesThatAreNotOurs(t *testing.T) {
	f := newFixture(t)
	f.setService(lb("foreign", func(s *corev1.Service) { s.Annotations = nil }))
	f.setService(lb("internal", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }))
	if len(f.addresses) != 0 {
		t.Errorf("%+v", f.addresses)
	}
	f.setService(lb("allocated", func(s *corev1.Service) {
		s.Annotations = nil
		s.Status.Conditions = []metav1.Condition{{Type: names.Allocated, Status: metav1.ConditionTrue}}
	}))
	if len(f.addresses) != 1 {
		t.Error("the condition Allocated does not count")
	}
}

func TestAdvertisementSelects(t *testing.T) {
	selector := func(k, v string) []metav1.LabelSelector {
		return []metav1.LabelSelector{{MatchLabels: map[string]string{k: v}}}
	}
	for _, tt := range []struct {
		name  string
		spec  v1beta1.L2AdvertisementSpec
		nodes []string // nil: not advertised
	}{
		{"neither list: all pools", v1beta1.L2AdvertisementSpec{}, []string{"n1", "n2"}},
		{"another pool", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"other"}}, nil},
		{"pool by label", v1beta1.L2AdvertisementSpec{IPAddressPoolSelectors: selector("kind", "public")}, []string{"n1", "n2"}},
		{"pool by other label", v1beta1.L2AdvertisementSpec{IPAddressPoolSelectors: selector("kind", "private")}, nil},
		{"nodes", v1beta1.L2AdvertisementSpec{NodeSelectors: selector("rack", "b")}, []string{"n2"}},
		{"services", v1beta1.L2AdvertisementSpec{ServiceSelectors: selector("app", "web")}, []string{"n1", "n2"}},
		{"other services", v1beta1.L2AdvertisementSpec{ServiceSelectors: selector("app", "db")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.setAdvertisement(advertise("adv", tt.spec))
			f.setService(lb("a", func(s *corev1.Service) { s.Labels = map[string]string{"app": "web"} }))
			var nodes []string
			for _, a := range f.addresses[vip].Advertisements {
				for n := range a.Nodes {
					nodes = append(nodes, n)
				}
			}
			slices.Sort(nodes)
			if !slices.Equal(nodes, tt.nodes) {
				t.Errorf("announced from %v, want %v", nodes, tt.nodes)
			}
		})
	}
}

// Services that share an address are one Address (property 6 of the election).
func TestSharedAddress(t *testing.T) {
	f := newFixture(t)
	f.setAdvertisement(advertise("adv", v1beta1.L2AdvertisementSpec{}))
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	f.setSlice(slice("a", "a-1", "n1", "n2"))
	f.setSlice(slice("b", "b-1", "n2"))
	f.setService(lb("a", local))
	f.setService(lb("b", local))
	if a := f.addresses[vip]; len(f.addresses) != 1 || len(a.Local) != 1 || !a.Local["n2"] || len(a.Advertisements) != 1 {
		t.Errorf("%+v", a)
	}
	f.deleteService(types.NamespacedName{Namespace: "ns", Name: "b"})
	if a := f.addresses[vip]; len(a.Local) != 2 {
		t.Errorf("after one left: %+v", a)
	}
}

func TestSliceTrimming(t *testing.T) {
	yes, no := true, false
	s := slice("a", "a-1", "n1", "n1", "n2", "n3", "n4")
	s.Endpoints[2].Conditions = discoveryv1.EndpointConditions{Ready: &no}
	s.Endpoints[3].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	s.Endpoints[4].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &yes}
	o, err := trimSlice(s)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, e := range o.(*discoveryv1.EndpointSlice).Endpoints {
		nodes = append(nodes, *e.NodeName)
	}
	if !slices.Equal(nodes, []string{"n1", "n3"}) {
		t.Errorf("%v may serve", nodes)
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
		n := node("n", nil)
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
		if p.contains(netip.MustParseAddr(ip)) != want {
			t.Errorf("contains %s: %v", ip, !want)
		}
	}
}
