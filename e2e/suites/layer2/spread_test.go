//go:build e2e

package layer2

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// Services that share an address have one owner together, also when it moves.
func TestSharedAddress(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	l.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+service("first", "porchlight.dev/allow-shared-ip: both"))
	first := l.Service(t, ns, "first", "announced", announced)
	ips := addresses(first)
	second := service("second", fmt.Sprintf(`porchlight.dev/allow-shared-ip: both, porchlight.dev/loadBalancerIPs: "%s,%s"`, ips[0], ips[1]))
	l.Apply(t, ns, strings.Replace(second, "port: 80,", "port: 81,", 1))
	other := l.Service(t, ns, "second", "announced", announced)
	check := func(now owners) {
		t.Helper()
		nodes := map[string]bool{}
		for _, ip := range ips {
			nodes[now[ip]] = true
			l.reachable(t, "client", ip)
			l.Want(t, 200, cluster.Request{URL: "http://" + netip.AddrPortFrom(ip, 81).String() + "/"})
		}
		l.l2Statuses(t, first, nodes)
		l.l2Statuses(t, other, nodes)
	}
	before := l.owners(t, ips...)
	check(before)
	gone := before[ips[0]]
	l.exclude(t, gone)
	check(l.left(t, gone, ips...))
}

// Fifty addresses of each family are spread so that no node has much more than
// its share, and again when a node is lost to them.
func TestSpread(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	const many = 50
	text := cluster.Echo("DaemonSet", "echo") + pool("many", "172.30.0.101-172.30.0.150", "fd00:30::5:0/120") + advertisement("many", "")
	for i := range many {
		text += service(fmt.Sprintf("m%d", i), "porchlight.dev/address-pool: many")
	}
	l.Apply(t, ns, text)
	for i := range many {
		l.Service(t, ns, fmt.Sprintf("m%d", i), "announced", announced)
	}
	ips := l.announcedAddresses(t)
	if len(ips) < 2*many {
		t.Fatalf("%d addresses are announced; want %d at least", len(ips), 2*many)
	}
	within := func(o owners, nodes []string) {
		t.Helper()
		bound := int(math.Ceil(1.25*float64(len(ips))/float64(len(nodes)))) + 1
		for _, n := range nodes {
			has := len(o.of(n))
			t.Logf("%s has %d of %d addresses", n, has, len(ips))
			if has > bound {
				t.Errorf("%s has %d of %d addresses; want %d at most", n, has, len(ips), bound)
			}
		}
	}
	within(l.owners(t, ips...), l.names())
	l.exclude(t, "node1")
	within(l.left(t, "node1", ips...), l.others("node1"))
}

// announcedAddresses are those of all Services that are announced.
func (l *lan) announcedAddresses(t *testing.T) []netip.Addr {
	t.Helper()
	var all corev1.ServiceList
	if err := l.List(t.Context(), &all, &client.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	var ips []netip.Addr
	for i := range all.Items {
		if announced(&all.Items[i]) {
			ips = append(ips, addresses(&all.Items[i])...)
		}
	}
	return ips
}
