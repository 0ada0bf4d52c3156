package advertise

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

var vip = netip.MustParseAddr("192.0.2.10")

// fixture has two nodes and a pool, and what the election was told last.
type fixture struct {
	*watch.Watch
	addresses map[netip.Addr]election.Address
	nodes     map[string]reason.Reason
	posts     int
	held      map[netip.Addr]bool
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{addresses: map[netip.Addr]election.Address{}, nodes: map[string]reason.Reason{}, held: map[netip.Addr]bool{}}
	f.Watch = watch.New("sys", false, New(func(ev election.Event) {
		switch ev := ev.(type) {
		case election.SetAddress:
			f.addresses[ev.Address.IP] = ev.Address
			f.posts++
		case election.DeleteAddress:
			delete(f.addresses, ev.IP)
		case election.SetNode:
			f.nodes[ev.Name] = ev.Reason
		}
	}, func(ip netip.Addr) bool { return f.held[ip] }))
	f.Put(node("n1", nil), node("n2", map[string]string{"rack": "b"}), &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sys", Name: "default"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"192.0.2.0/24"}},
	})
	return f
}

func node(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func lb(name string, policy corev1.ServiceExternalTrafficPolicy) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Annotations: map[string]string{names.Prefix + names.AllocatedFromPool: "default"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ExternalTrafficPolicy: policy},
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip.String()}}
	return s
}

func slice(service string, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	for _, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &n})
	}
	return s
}

func advertise(name string, spec v1beta1.L2AdvertisementSpec) *v1beta1.L2Advertisement {
	return &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Namespace: "sys", Name: name}, Spec: spec}
}

func TestAddressOfAService(t *testing.T) {
	f := newFixture(t)
	f.Put(lb("a", ""))
	if a := f.addresses[vip]; len(a.Advertisements) != 0 || !a.NoEndpoints || a.Local != nil {
		t.Errorf("without anything: %+v", a)
	}
	f.Put(slice("a", "n1"), advertise("adv", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"default"}}))
	if a := f.addresses[vip]; len(a.Advertisements) != 1 || len(a.Advertisements[0].Nodes) != 2 || a.NoEndpoints || a.Local != nil {
		t.Errorf("advertised: %+v", a)
	}
	before := f.posts
	f.Put(slice("a", "n2"))
	if f.posts != before {
		t.Error("that endpoints moved is told, though any node may announce")
	}
	gone := lb("a", "")
	gone.Status.LoadBalancer.Ingress = nil
	f.Put(gone)
	if len(f.addresses) != 0 {
		t.Error("a Service without addresses keeps one")
	}
}

func TestAdvertisements(t *testing.T) {
	selector := func(k, v string) []metav1.LabelSelector {
		return []metav1.LabelSelector{{MatchLabels: map[string]string{k: v}}}
	}
	for _, tt := range []struct {
		name string
		spec v1beta1.L2AdvertisementSpec
		want map[string]int // nodes, with their weights
	}{
		{"every node", v1beta1.L2AdvertisementSpec{}, map[string]int{"n1": 0, "n2": 0}},
		{"nodes by label", v1beta1.L2AdvertisementSpec{NodeSelectors: selector("rack", "b")}, map[string]int{"n2": 0}},
		{"of nobody's pool", v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"other"}}, nil},
		{"preferred nodes", v1beta1.L2AdvertisementSpec{PreferredNodeSelectors: []v1beta1.PreferredNodeSelector{
			{Weight: 10, Preference: selector("rack", "b")[0]}, {Weight: 5, Preference: metav1.LabelSelector{}},
		}}, map[string]int{"n1": 5, "n2": 15}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.Put(advertise("adv", tt.spec), lb("a", ""))
			var got map[string]int
			for _, a := range f.addresses[vip].Advertisements {
				got = a.Nodes
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("announced from %v, want %v", got, tt.want)
			}
		})
	}
}

// What says how to announce reaches the election as it is written.
func TestInterfacesAndFailback(t *testing.T) {
	f := newFixture(t)
	f.Put(advertise("adv", v1beta1.L2AdvertisementSpec{Interfaces: []string{"eth*"}, Failback: true}), lb("a", ""))
	a := f.addresses[vip].Advertisements
	if len(a) != 1 || !slices.Equal(a[0].Interfaces, []string{"eth*"}) || !a[0].Failback {
		t.Errorf("%+v", a)
	}
}

// A node's label brings it in, and takes it out.
func TestNodeIsLabelled(t *testing.T) {
	f := newFixture(t)
	f.Put(lb("a", ""), advertise("adv", v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"rack": "b"}}}}))
	f.Put(node("n1", map[string]string{"rack": "b"}), node("n2", nil))
	if a := f.addresses[vip].Advertisements; len(a) != 1 || !maps.Equal(a[0].Nodes, map[string]int{"n1": 0}) {
		t.Errorf("%+v", a)
	}
	f.Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	if f.nodes["n1"] != reason.NodeNotReady {
		t.Errorf("the election holds n1 for %q", f.nodes["n1"])
	}
}

// Services that share an address are one Address (property 6 of the election).
func TestSharedAddress(t *testing.T) {
	f := newFixture(t)
	const local = corev1.ServiceExternalTrafficPolicyLocal
	f.Put(advertise("adv", v1beta1.L2AdvertisementSpec{}), slice("a", "n1", "n2"), slice("b", "n2"), lb("a", local), lb("b", local))
	if a := f.addresses[vip]; len(f.addresses) != 1 || !maps.Equal(a.Local, map[string]bool{"n2": true}) || len(a.Advertisements) != 1 {
		t.Errorf("%+v", a)
	}
	gone := lb("b", local)
	gone.Spec.Type = corev1.ServiceTypeClusterIP
	f.Put(gone)
	if a := f.addresses[vip]; len(a.Local) != 2 {
		t.Errorf("after one left: %+v", a)
	}
}

func TestHeldBack(t *testing.T) {
	f := newFixture(t)
	f.held[vip] = true
	f.Put(lb("a", corev1.ServiceExternalTrafficPolicyCluster))
	if !f.addresses[vip].Behind {
		t.Error("the election is not told that the node is behind")
	}
	delete(f.held, vip)
	f.Touch([]netip.Addr{vip})
	if address, told := f.addresses[vip]; !told || address.Behind {
		t.Error("the election is not told that the node is not behind any more")
	}
}
