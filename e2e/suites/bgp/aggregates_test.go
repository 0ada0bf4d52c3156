//go:build e2e

package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// asks has a Service ask for addresses.
func asks(service string, ips ...string) string {
	return strings.Replace(service, "address-pool: routed", fmt.Sprintf("loadBalancerIPs: %q", strings.Join(ips, ",")), 1)
}

// An aggregate is announced as long as one address in it is, and of more than
// a pool there is none.
func TestAggregates(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed", "aggregationLength: 28", "aggregationLengthV6: 124"))
	whole4, whole6 := netip.MustParsePrefix("198.51.100.16/28"), netip.MustParsePrefix("2001:db8:51::10/124")
	first := f.announced(t, f.namespace, asks(dualStack.service("first"), "198.51.100.17", "2001:db8:51::17"))
	for _, router := range routers {
		for i, aggregate := range []netip.Prefix{whole4, whole6} {
			f.hops(t, router, aggregate, f.names()...)
			f.absent(t, router, whole(first[i]))
		}
	}
	seen, err := probe.StartBGPCapture(t.Context(), f.Lab, lab.HostFRR)
	if err != nil {
		t.Fatal(err)
	}
	second := f.announced(t, f.namespace, asks(dualStack.service("second"), "198.51.100.18", "2001:db8:51::18"))
	var all []string
	for _, router := range routers {
		all = append(all, sessionTo(router, false), sessionTo(router, true))
	}
	slices.Sort(all)
	f.bgpStatuses(t, f.namespace, "second", all, f.names()...)
	for _, router := range routers {
		f.through(t, router)
		for _, ip := range append(first, second...) {
			f.reachable(t, ip)
		}
	}
	remove := func(name string) {
		t.Helper()
		if err := f.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}); err != nil {
			t.Fatal(err)
		}
		f.bgpStatuses(t, f.namespace, name, nil)
	}
	remove("first")
	f.reachable(t, second[0])
	messages, err := seen.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if len(m.Announced)+len(m.Withdrawn) > 0 {
			t.Errorf("the second address, or the loss of the first, was told: %+v", m)
		}
	}
	remove("second")
	for _, router := range routers {
		f.hops(t, router, whole4)
		f.hops(t, router, whole6)
	}
	f.Apply(t, cluster.System, advertisement("routed", "aggregationLength: 23"))
	f.refused(t, "BGPAdvertisement routed: AggregationTooShort", f.names()...)
}

// LOCAL_PREF is told within an autonomous system; two advertisements of one
// prefix must agree in it.
func TestLocalPreference(t *testing.T) {
	f := scenario(t)
	f.configureFRR(t, []string{
		"neighbor 172.30.0.11 remote-as 64512", "neighbor fd00:30::11 remote-as 64512",
		"address-family ipv6 unicast", "neighbor fd00:30::11 activate",
	}, []string{"no neighbor 172.30.0.11", "no neighbor fd00:30::11"})
	f.configureBIRD(t, `
protocol bgp internal4 { local 172.30.0.2 as 64513; neighbor 172.30.0.11 as 64513; direct; ipv4 { import all; export none; }; }
protocol bgp internal6 { local fd00:30::2 as 64513; neighbor fd00:30::11 as 64513; direct; ipv6 { import all; export none; }; }
`)
	var names []string
	for _, router := range routers {
		for _, v6 := range []bool{false, true} {
			name := "internal-" + sessionTo(router, v6)
			names = append(names, name)
			f.Apply(t, cluster.System, peer(name, fmt.Sprintf("myASN: %d", asn[router]), "dynamicASN: internal",
				fmt.Sprintf("peerAddress: %q", address[router][v6]), on("node1")))
		}
	}
	for _, name := range names {
		f.up(t, name, "node1")
	}
	f.Apply(t, cluster.System, advertisement("routed", "localPref: 300", "prependASPath: 3"))
	ips := f.announced(t, f.namespace, dualStack.service("preferred"))
	for _, router := range routers {
		for _, ip := range ips {
			f.table(t, router, whole(ip), []string{"node1"}, func(p path) error {
				if p.LocalPref != 300 || p.ASPath != "" {
					return fmt.Errorf("want local preference 300 and no AS path")
				}
				return nil
			})
		}
		f.through(t, router)
		for _, ip := range ips {
			f.reachable(t, ip)
		}
	}
	f.Apply(t, cluster.System, advertisement("second", "localPref: 200"))
	f.refused(t, "BGPAdvertisement second: LocalPrefConflict", "node1")
}
