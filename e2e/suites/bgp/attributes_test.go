//go:build e2e

package bgp

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// is compares what a table has with what it shall have.
func is(want path) func(path) error {
	return func(got path) error {
		if got.LocalPref = want.LocalPref; got != want { // a router gives it itself
			return fmt.Errorf("want %+v", want)
		}
		return nil
	}
}

// Communities by number, large, by name and well-known; MED; a longer path. Of
// two advertisements of a prefix the communities unite, for the peers of both.
func TestAttributes(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, `
apiVersion: porchlight.dev/v1beta1
kind: Community
metadata: {name: aliases}
spec: {communities: [{name: transit, value: "64600:7"}, {name: big, value: "large:64600:1:2"}]}
---
`+advertisement("routed", `communities: ["64600:1", transit, big, "large:64600:3:4", no-export]`, "med: 7", "prependASPath: 2"))
	ips := f.announced(t, f.namespace, dualStack.service("attributes"))
	tables := func(want func(router string, ip netip.Addr) path) {
		t.Helper()
		for _, router := range routers {
			for _, ip := range ips {
				f.table(t, router, whole(ip), f.names(), is(want(router, ip)))
			}
		}
	}
	alone := path{"64600 64600 64600", "64600:1 64600:7 65535:65281", "64600:1:2 64600:3:4", 0, 7}
	tables(func(string, netip.Addr) path { return alone })

	both := path{"64600", "64600:1 64600:2 64600:7 65535:65281", "64600:1:2 64600:3:4", 0, 7}
	f.Apply(t, cluster.System, advertisement("second", `communities: ["64600:2", "64600:1"]`))
	tables(func(string, netip.Addr) path { return both })

	before := f.ups(t)
	f.Apply(t, cluster.System, advertisement("second", `communities: ["64600:2", "64600:1"]`, "peers: [frr-ipv4, bird-ipv6]"))
	tables(func(router string, ip netip.Addr) path {
		if (router == lab.HostFRR) == ip.Is4() {
			return both
		}
		return alone
	})
	f.Apply(t, cluster.System, advertisement("routed", `communities: [nowhere]`))
	f.refused(t, "BGPAdvertisement routed: CommunityNotFound", f.names()...)
	f.undisturbed(t, before, "")
}

// Selectors limit an advertisement to nodes, to peers, and to Services.
func TestSelectors(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed", on("node1", "node2"))+
		advertisement("edge", "serviceSelectors: [{matchLabels: {tier: edge}}]", "peers: [bird-ipv4, bird-ipv6]", on("node3")))
	inner := f.announced(t, f.namespace, dualStack.service("inner"))
	f.everywhere(t, inner, "node1", "node2")
	edge := f.announced(t, f.namespace, dualStack.service("edge"))
	f.everywhere(t, edge, "node1", "node2")
	if _, err := f.Kubectl("label", "service", "-n", f.namespace, "edge", "tier=edge"); err != nil {
		t.Fatal(err)
	}
	for _, ip := range edge {
		f.hops(t, lab.HostBIRD, whole(ip), f.names()...)
		f.hops(t, lab.HostFRR, whole(ip), "node1", "node2")
	}
	f.everywhere(t, inner, "node1", "node2")
	f.bgpStatuses(t, f.namespace, "inner", []string{"bird-ipv4", "bird-ipv6", "frr-ipv4", "frr-ipv6"}, "node1", "node2")

	f.Apply(t, cluster.System, advertisement("routed", "peers: [frr-ipv4, frr-ipv6]"))
	for _, ip := range inner {
		f.hops(t, lab.HostFRR, whole(ip), f.names()...)
		f.hops(t, lab.HostBIRD, whole(ip))
	}
	f.Apply(t, cluster.System, advertisement("routed", "peers: [nobody]"))
	f.refused(t, "BGPAdvertisement routed: PeerNotFound: there is no BGPPeer nobody", f.names()...)
	f.everywhere(t, inner)
	f.Service(t, f.namespace, "inner", "Announced=False, NoSession", func(s *corev1.Service) bool {
		return condition(s, metav1.ConditionFalse, "NoSession")
	})

	// Pools by their labels; a peer for one node alone.
	f.Apply(t, cluster.System, `
apiVersion: porchlight.dev/v1beta1
kind: BGPAdvertisement
metadata: {name: labelled}
spec: {ipAddressPoolSelectors: [{matchLabels: {routed: "yes"}}]}
---
`+peer("frr-ipv4", append(to(lab.HostFRR, false), on("node3"))...))
	f.hops(t, lab.HostFRR, whole(inner[0]), "node3")
	f.hops(t, lab.HostFRR, whole(inner[1]), f.names()...)
	f.state(t, "frr-ipv4", "up", func(s v1beta1.BGPSessionStateStatus) bool { return s.State == v1beta1.SessionEstablished }, "node3")
	cluster.Eventually(t, "only node3 has a session", f.sessions("frr-ipv4", "node3"))
}
