//go:build e2e

package bgp

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// says waits until a node says why its session to a peer is not up.
func (f *fabric) says(t *testing.T, peer, node, words string) {
	t.Helper()
	f.state(t, peer, fmt.Sprintf("down because of %q", words), func(s v1beta1.BGPSessionStateStatus) bool {
		return s.State != v1beta1.SessionEstablished && strings.Contains(s.LastError, words)
	}, node)
}

// A peer that comes is told everything, and one that goes hears a word;
// sessions to others go on.
func TestPeerAddedAndRemoved(t *testing.T) {
	f := scenario(t)
	add := func(router string) {
		t.Helper()
		for _, v6 := range []bool{false, true} {
			f.Apply(t, cluster.System, peer(sessionTo(router, v6), to(router, v6)...))
		}
		for _, v6 := range []bool{false, true} {
			f.up(t, sessionTo(router, v6), f.names()...)
		}
	}
	add(lab.HostFRR)
	f.Apply(t, cluster.System, advertisement("routed"))
	ips := f.announced(t, f.namespace, dualStack.service("added"))
	for _, ip := range ips {
		f.hops(t, lab.HostFRR, whole(ip), f.names()...)
		f.absent(t, lab.HostBIRD, whole(ip))
	}
	before := f.ups(t)
	add(lab.HostBIRD)
	f.through(t, lab.HostBIRD)
	for _, ip := range ips {
		f.hops(t, lab.HostBIRD, whole(ip), f.names()...)
		f.reachable(t, ip)
	}
	for _, v6 := range []bool{false, true} {
		name := sessionTo(lab.HostBIRD, v6)
		if err := f.Delete(t.Context(), &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: name}}); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, "nothing is said of the peer", f.sessions(name))
	}
	for _, ip := range ips {
		f.hops(t, lab.HostBIRD, whole(ip))
		f.hops(t, lab.HostFRR, whole(ip), f.names()...)
	}
	f.undisturbed(t, before, "")
}

// One session carries both families, whichever it runs over.
func TestEitherFamilyOverEither(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	for _, v6 := range []bool{false, true} {
		t.Run("over IPv"+map[bool]string{false: "4", true: "6"}[v6], func(t *testing.T) {
			for _, router := range routers {
				f.Apply(t, cluster.System, peer(sessionTo(router, v6), append(to(router, v6), "dualStackAddressFamily: true")...))
			}
			ips := f.announced(t, f.namespace, dualStack.service(fmt.Sprintf("over-%v", v6)))
			f.everywhere(t, ips, f.names()...)
			for _, router := range routers {
				f.through(t, router)
				for _, ip := range ips {
					f.reachable(t, ip)
				}
			}
		})
	}
}

// What cannot be a peer is refused by name, and says so; the others go on.
func TestRefusedPeers(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	before := f.ups(t)
	for _, c := range []struct {
		name  string
		spec  []string
		words string
	}{
		// Of two peers at one address the first by name counts.
		{"frr-twin", to(lab.HostFRR, false), "DuplicatePeer: BGPPeer frr-ipv4 has the same address 172.30.0.1"},
		{"secretless", append(to(lab.HostFRR, false), "peerPort: 1179", "passwordSecret: {name: nowhere}"), "SecretNotFound: there is no Secret nowhere"},
		{"unwatched", append(to(lab.HostFRR, false), "peerPort: 1179", "bfdProfile: nowhere"), "BFDProfileNotFound: there is no BFDProfile nowhere"},
		{"elsewhere", append(to(lab.HostFRR, false), "vrf: red"), "VRFNotFound: there is no VRF red"},
		{"unplugged", []string{"myASN: 64600", "dynamicASN: external", "interface: eth7"}, "InterfaceNotFound: interface eth7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Apply(t, cluster.System, peer(c.name, c.spec...))
			for _, n := range f.names() {
				f.says(t, c.name, n, c.words)
			}
			f.refused(t, "BGPPeer "+c.name+": "+c.words, f.names()...)
			why, words, _ := strings.Cut(c.words, ": ")
			f.ready(t, c.name, metav1.ConditionFalse, why, words)
		})
	}
	f.ready(t, "frr-ipv4", metav1.ConditionTrue, "Ready", "")
	f.configuration(t, "is valid again", func(s v1beta1.ConfigurationStateStatus) bool {
		return s.Result == v1beta1.ConfigurationValid && s.ErrorSummary == ""
	}, f.names()...)
	f.undisturbed(t, before, "")
}

// ready waits until the condition Ready of a BGPPeer says so.
func (f *fabric) ready(t *testing.T, name string, status metav1.ConditionStatus, reason, words string) {
	t.Helper()
	p := &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: name}}
	if err := f.Await(t.Context(), p, &v1beta1.BGPPeerList{}, func() bool {
		c := meta.FindStatusCondition(p.Status.Conditions, "Ready")
		return c != nil && c.Status == status && c.Reason == reason && strings.Contains(c.Message, words)
	}); err != nil {
		t.Fatalf("BGPPeer %s is not Ready=%s, %s %q: %v", name, status, reason, words, err)
	}
}

// A node is of several autonomous systems and has several router identifiers,
// one for each of its peers; a peer's number may be left open.
func TestSeveralSystems(t *testing.T) {
	f := scenario(t)
	f.configureFRR(t, []string{
		"neighbor 172.30.0.11 remote-as 65011", "neighbor fd00:30::11 remote-as 65020",
		"address-family ipv6 unicast", "neighbor fd00:30::11 activate",
	}, []string{"no neighbor 172.30.0.11", "no neighbor fd00:30::11"})
	f.Apply(t, cluster.System,
		peer("replaced", "myASN: 65010", "localASN: 65011", "peerASN: 64512", "peerAddress: 172.30.0.1", "routerID: 10.9.9.9", on("node1"))+
			peer("open", "myASN: 65020", "dynamicASN: external", `peerAddress: "fd00:30::1"`, "routerID: 10.9.9.10", on("node1"))+
			peer("usual", append(to(lab.HostBIRD, false), on("node1"))...)+advertisement("routed"))
	for _, name := range []string{"replaced", "open", "usual"} {
		f.up(t, name, "node1")
	}
	ips := f.announced(t, f.namespace, dualStack.service("systems"))
	for _, c := range []struct {
		router, as string
		v6         int
	}{{lab.HostFRR, "65011", 0}, {lab.HostFRR, "65020", 1}, {lab.HostBIRD, "64600", 0}} {
		f.table(t, c.router, whole(ips[c.v6]), []string{"node1"}, is(path{ASPath: c.as, MED: -1}))
	}
	for neighbor, id := range map[string]string{"172.30.0.11": "10.9.9.9", "fd00:30::11": "10.9.9.10"} {
		out, err := f.vtysh(t.Context(), "show bgp neighbors "+neighbor+" json")
		if err != nil || !strings.Contains(strings.ReplaceAll(out, " ", ""), fmt.Sprintf(`"remoteRouterId":%q`, id)) {
			t.Errorf("router identifier of %s is not %s: %v %s", neighbor, id, err, out)
		}
	}
}

// The node's own gateway is FRR; no address of it needs to be known.
func TestDefaultGateway(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, peer("gateway", "myASN: 64600", "peerASN: 64512", "defaultGateway: true", "dualStackAddressFamily: true")+
		advertisement("routed"))
	f.up(t, "gateway", f.names()...)
	ips := f.announced(t, f.namespace, dualStack.service("gateway"))
	f.through(t, lab.HostFRR)
	for _, ip := range ips {
		f.hops(t, lab.HostFRR, whole(ip), f.names()...)
		f.reachable(t, ip)
	}
}

// The router is found on an interface, and told of IPv4 by an IPv6 next hop.
func TestUnnumbered(t *testing.T) {
	f := scenario(t)
	f.configureFRR(t, []string{
		"neighbor eth0 interface remote-as 64600", "address-family ipv6 unicast", "neighbor eth0 activate",
	}, []string{"no neighbor eth0 interface remote-as 64600"})
	f.Apply(t, cluster.System, peer("link", "myASN: 64600", "peerASN: 64512", "interface: eth0", on("node1"))+advertisement("routed"))
	f.up(t, "link", "node1")
	ips := f.announced(t, f.namespace, dualStack.service("link"))
	f.through(t, lab.HostFRR)
	for _, ip := range ips {
		f.hops(t, lab.HostFRR, whole(ip), "node1")
		f.reachable(t, ip)
	}
}
