//go:build e2e

package bgp

import (
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// A neighbour on the link alone may speak (GTSM), or one that is some hops
// away, whose path BFD watches as well.
func TestHops(t *testing.T) {
	f := scenario(t)
	f.configureFRR(t, []string{"neighbor 172.30.0.11 remote-as 64600", "neighbor 172.30.0.11 ttl-security hops 1"}, []string{"no neighbor 172.30.0.11"})
	f.configureBIRD(t, `
protocol direct { ipv4; ipv6; interface "eth0"; }
protocol bgp secure { local fd00:30::2 as 64513; neighbor fd00:30::11 as 64600; direct; ttl security on; ipv6 { import all; export none; }; }
protocol bgp distant { local 172.31.0.2 as 64513; neighbor 172.30.0.11 as 64600; multihop 2; bfd on; ipv4 { import all; export none; }; }
`)
	f.Apply(t, cluster.System, `
apiVersion: porchlight.dev/v1beta1
kind: BFDProfile
metadata: {name: distant}
spec: {detectMultiplier: 10, minimumTtl: 63}
---
`+peer("secure-frr", append(to(lab.HostFRR, false), "ttlSecurity: true", on("node1"))...)+
		peer("secure-bird", append(to(lab.HostBIRD, true), "ttlSecurity: true", on("node1"))...)+
		// Its packets come by way of FRR; they go directly.
		peer("distant", "myASN: 64600", "peerASN: 64513", "peerAddress: 172.31.0.2", "sourceAddress: 172.30.0.11", "ebgpMultiHop: true", "bfdProfile: distant", on("node1"))+
		advertisement("routed"))
	for _, name := range []string{"secure-frr", "secure-bird", "distant"} {
		f.up(t, name, "node1")
	}
	f.state(t, "distant", "watched by BFD", func(s v1beta1.BGPSessionStateStatus) bool { return s.BFDState == v1beta1.BFDUp }, "node1")
	ips := f.announced(t, f.namespace, dualStack.service("hops"))
	f.through(t, lab.HostFRR)
	f.hops(t, lab.HostFRR, whole(ips[0]), "node1")
	f.reachable(t, ips[0])
	f.through(t, lab.HostBIRD)
	for _, ip := range ips {
		f.hops(t, lab.HostBIRD, whole(ip), "node1")
		f.reachable(t, ip)
	}
}
