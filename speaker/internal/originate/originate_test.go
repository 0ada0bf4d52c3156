package originate

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

// fixture has what was said since it was asked last.
type fixture struct {
	*watch.Watch
	said []bgp.Event
	held map[netip.Addr]bool
}

func newFixture() *fixture {
	f := &fixture{held: map[netip.Addr]bool{}}
	f.Watch = watch.New("sys", false, New(func(ev bgp.Event) { f.said = append(f.said, ev) }, func(ip netip.Addr) bool { return f.held[ip] }))
	f.Put(node("n1", nil), node("n2", map[string]string{"rack": "b"}), &v1beta1.IPAddressPool{
		ObjectMeta: named("default"), Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"192.0.2.0/25", "2001:db8::1-2001:db8::ff"}},
	})
	f.said = nil
	return f
}

func (f *fixture) put(objects ...runtime.Object) []bgp.Event {
	f.said = nil
	f.Put(objects...)
	return f.said
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "sys", Name: name}
}

func node(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func service(name string, labels map[string]string) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: labels, Annotations: map[string]string{names.Prefix + names.AllocatedFromPool: "default"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	return s
}

func advertise(name string, spec v1beta1.BGPAdvertisementSpec) *v1beta1.BGPAdvertisement {
	return &v1beta1.BGPAdvertisement{ObjectMeta: named(name), Spec: spec}
}

func selector(k, v string) []metav1.LabelSelector {
	return []metav1.LabelSelector{{MatchLabels: map[string]string{k: v}}}
}

func want(t *testing.T, got []bgp.Event, want ...bgp.Event) {
	t.Helper()
	if !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
		t.Errorf("said %+v\nwant %+v", got, want)
	}
}

func TestAddress(t *testing.T) {
	f := newFixture()
	ip := netip.MustParseAddr("192.0.2.1")
	here := "n1"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a-1", Labels: map[string]string{discoveryv1.LabelServiceName: "a"}},
		Endpoints:  []discoveryv1.Endpoint{{NodeName: &here}},
	}
	want(t, f.put(service("a", map[string]string{"app": "web"})), bgp.SetAddress{Address: bgp.Address{IP: ip, NoEndpoints: true}})
	want(t, f.put(slice), bgp.SetAddress{Address: bgp.Address{IP: ip}})
	want(t, f.put(slice))
	all := bgp.Advertisement{Name: "all", Length: 32, LengthV6: 128}
	want(t, f.put(advertise("all", v1beta1.BGPAdvertisementSpec{})),
		bgp.SetAdvertisement{Advertisement: all}, bgp.SetAddress{Address: bgp.Address{IP: ip, Advertisements: []string{"all"}}})
	// Another one is for other Services: of this one nothing is said.
	want(t, f.put(advertise("db", v1beta1.BGPAdvertisementSpec{ServiceSelectors: selector("app", "db")})),
		bgp.SetAdvertisement{Advertisement: bgp.Advertisement{Name: "db", Length: 32, LengthV6: 128}})
	want(t, f.put(node("n2", map[string]string{"rack": "c"})), bgp.SetNode{Name: "n2"})
	local := service("a", map[string]string{"app": "db"})
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	want(t, f.put(local), bgp.SetAddress{Address: bgp.Address{IP: ip, Advertisements: []string{"all", "db"}, Local: map[string]bool{"n1": true}}})
}

func TestAdvertisement(t *testing.T) {
	f := newFixture()
	length, length6, med := int32(26), int32(64), uint32(5)
	spec := v1beta1.BGPAdvertisementSpec{
		AggregationLength: &length, AggregationLengthV6: &length6, LocalPref: 200, MED: &med, PrependASPath: 2,
		Communities: []v1beta1.CommunityReference{"1:2", "web"}, NodeSelectors: selector("rack", "b"), Peers: []string{"p"},
		IPAddressPools: []string{"other"},
	}
	wanted := bgp.Advertisement{
		Name: "a", Nodes: map[string]bool{"n2": true}, Peers: []string{"p"}, Length: 26, LengthV6: 64,
		LocalPref: 200, MED: &med, Prepend: 2, Communities: []string{"1:2", "web"},
	}
	want(t, f.put(advertise("a", spec)), bgp.SetAdvertisement{Advertisement: wanted})
	// An aggregate must not hold more than the pool.
	spec.IPAddressPools = []string{"default"}
	wanted.Refused = bgp.Refusal{Reason: reason.AggregationTooShort, Message: "aggregates of 64 bits are larger than 2001:db8::/120 of IPAddressPool default"}
	want(t, f.put(advertise("a", spec)), bgp.SetAdvertisement{Advertisement: wanted})
	spec.NodeSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Resembles"}}}}
	f.put(advertise("a", spec))
	if got := f.said[0].(bgp.SetAdvertisement).Advertisement.Refused.Reason; got != reason.InvalidSelector {
		t.Errorf("refused %q", got)
	}
}

func TestPeer(t *testing.T) {
	f := newFixture()
	keep, fast, echo := metav1.Duration{Duration: 4 * time.Second}, uint32(50), true
	want(t, f.put(&corev1.Secret{ObjectMeta: named("s"), Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"password": []byte("word")}}),
		bgp.SetSecret{Name: "s", Password: "word"})
	profile := bfd.DefaultConfig()
	profile.TransmitInterval, profile.Echo = 50*time.Millisecond, true
	want(t, f.put(&v1beta1.BFDProfile{ObjectMeta: named("fast"), Spec: v1beta1.BFDProfileSpec{TransmitInterval: &fast, EchoMode: &echo}}),
		bgp.SetProfile{Name: "fast", Profile: profile})
	want(t, f.put(&v1beta1.Community{ObjectMeta: named("c"), Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: "web", Value: "1:2"}}}}),
		bgp.SetCommunities{Name: "c", Aliases: map[string]string{"web": "1:2"}})
	want(t, f.put(&v1beta1.BGPPeer{ObjectMeta: named("p"), Spec: v1beta1.BGPPeerSpec{
		MyASN: 64600, LocalASN: 64601, DynamicASN: v1beta1.DynamicExternal, PeerAddress: "192.0.2.254", SourceAddress: "192.0.2.253", PeerPort: 1179,
		KeepaliveTime: &keep, RouterID: "1.2.3.4", NodeSelectors: selector("rack", "b"), PasswordSecret: &corev1.SecretReference{Name: "s"},
		BFDProfile: "fast", EnableGracefulRestart: true, TTLSecurity: true, VRF: "red", DualStackAddressFamily: true,
	}}), bgp.SetPeer{Peer: bgp.Peer{
		Name: "p", Nodes: map[string]bool{"n2": true}, Address: netip.MustParseAddr("192.0.2.254"), Source: netip.MustParseAddr("192.0.2.253"),
		Port: 1179, VRF: "red", LocalAS: 64601, PeerType: bgp.External, RouterID: netip.MustParseAddr("1.2.3.4"),
		HoldTime: 12 * time.Second, Keepalive: 4 * time.Second, Connect: 10 * time.Second,
		GracefulRestart: true, TTLSecurity: true, DualStack: true, Secret: "s", Profile: "fast",
	}})
	want(t, f.put(&v1beta1.BGPSessionState{ObjectMeta: named("x"), Status: v1beta1.BGPSessionStateStatus{Node: "n2", Peer: "p", State: v1beta1.SessionEstablished}}),
		bgp.SetSession{Node: "n2", Peer: "p", Up: true})
	const why = "NoDefaultGateway: there is none"
	for state, refused := range map[v1beta1.SessionState]bgp.Refusal{
		v1beta1.SessionActive: {}, v1beta1.SessionIdle: {Reason: reason.NoDefaultGateway, Message: "there is none"},
	} {
		want(t, f.put(&v1beta1.BGPSessionState{ObjectMeta: named("x"), Status: v1beta1.BGPSessionStateStatus{Node: "n2", Peer: "p", State: state, LastError: why}}),
			bgp.SetSession{Node: "n2", Peer: "p", Refused: refused, Error: why})
	}
}

// What is said of a peer that was deleted is not said of another that has its
// name, be it for the moment until its node says something of the new one.
func TestSessionOfNamesake(t *testing.T) {
	f := newFixture()
	peer := &v1beta1.BGPPeer{ObjectMeta: named("p"), Spec: v1beta1.BGPPeerSpec{MyASN: 1, PeerASN: 2, PeerAddress: "192.0.2.254"}}
	session := func(of types.UID) *v1beta1.BGPSessionState {
		return &v1beta1.BGPSessionState{ObjectMeta: named("x"), Status: v1beta1.BGPSessionStateStatus{Node: "n2", Peer: "p", PeerUID: of, State: v1beta1.SessionEstablished}}
	}
	up, nothing := bgp.SetSession{Node: "n2", Peer: "p", Up: true}, bgp.SetSession{Node: "n2", Peer: "p"}
	peer.UID = "first"
	f.put(peer)
	want(t, f.put(session("first")), up)
	peer = peer.DeepCopy()
	peer.UID = "second"
	f.put(peer)
	if got := f.said[0]; got != nothing {
		t.Errorf("said %+v of the second peer, want %+v", got, nothing)
	}
	want(t, f.put(session("second")), up)
	// A speaker of an earlier version does not say of which it speaks.
	want(t, f.put(session("")))
}

func TestHeldBack(t *testing.T) {
	f := newFixture()
	ip := netip.MustParseAddr("192.0.2.1")
	f.held[ip] = true
	want(t, f.put(service("a", nil)), bgp.SetAddress{Address: bgp.Address{IP: ip, NoEndpoints: true, Behind: true}})
	f.said = nil
	delete(f.held, ip)
	f.Touch([]netip.Addr{ip})
	want(t, f.said, bgp.SetAddress{Address: bgp.Address{IP: ip, NoEndpoints: true}})
}
