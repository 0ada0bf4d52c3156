//go:build e2e

package allocation

import (
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
)

const (
	onlyFour   = "ipFamilies: [IPv4]"
	onlySix    = "ipFamilies: [IPv6]"
	fourAndSix = "ipFamilies: [IPv4, IPv6]"
	sixAndFour = "ipFamilies: [IPv6, IPv4]"
	single     = "ipFamilyPolicy: SingleStack"
	prefer     = "ipFamilyPolicy: PreferDualStack"
	require    = "ipFamilyPolicy: RequireDualStack"
)

// Each policy, from the pool that the lab has.
func TestIPFamilies(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, service("four", "", single, onlyFour)+service("six", "", single, onlySix)+
		service("prefer", "", prefer, sixAndFour)+service("require", "", require, fourAndSix))
	all := map[string]string{}
	for name, families := range map[string][]string{
		"four": {"172.30.0.2"}, "six": {"fd00:30::2"}, "prefer": {"fd00:30::2", "172.30.0.2"}, "require": {"172.30.0.2", "fd00:30::2"},
	} {
		s := served(t, c, ns, name, len(families))
		for i, a := range cluster.Addresses(s) {
			if !strings.HasPrefix(a, families[i]) {
				t.Errorf("%s: addresses %v; want those of %v", name, cluster.Addresses(s), families)
			}
			if other := all[a]; other != "" {
				t.Errorf("%s is given to %s and to %s", a, other, name)
			}
			all[a] = name
		}
	}
}

// PreferDualStack is content with one family, and gets the other once a pool
// has it; RequireDualStack waits for both.
func TestIPFamiliesOfAPoolWithOne(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("some", "203.0.113.0/29"))
	c.Apply(t, ns, service("prefer", fromPool("some"), prefer, sixAndFour)+
		service("require", fromPool("some"), require, fourAndSix)+service("six", fromPool("some"), onlySix))
	has(t, c, ns, "prefer", "203.0.113.0")
	c.Service(t, ns, "prefer", "its condition says what it lacks", func(s *corev1.Service) bool {
		return strings.Contains(allocated(s).Message, "IPv6")
	})
	refused(t, c, ns, "require", "FamilyUnavailable", "some", "IPv6")
	refused(t, c, ns, "six", "FamilyUnavailable", "some", "IPv6")

	c.Apply(t, ns, pool("some", "203.0.113.0/29, 2001:db8:7::/120"))
	has(t, c, ns, "prefer", "2001:db8:7::", "203.0.113.0")
	served(t, c, ns, "require", 2)
	served(t, c, ns, "six", 1)
	awaitTold(t, c, ns, "prefer", "Allocated", "2001:db8:7::")
}

// A live Service that changes its policy gains or loses the second family, and
// keeps the first.
func TestIPFamilyPolicyChangedLive(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	for _, first := range []struct{ name, families, has, gains string }{
		{"four", onlyFour, "203.0.113.8", "2001:db8:8::"},
		{"six", onlySix, "2001:db8:8::", "203.0.113.8"},
	} {
		c.Apply(t, ns, pool("both", "203.0.113.8/29, 2001:db8:8::/120"))
		c.Apply(t, ns, service(first.name, fromPool("both"), single, first.families))
		has(t, c, ns, first.name, first.has)
		change(t, c, aService(ns, first.name), `{"spec":{"ipFamilyPolicy":"PreferDualStack"}}`)
		has(t, c, ns, first.name, first.has, first.gains)
		awaitTold(t, c, ns, first.name, "Allocated", first.gains)
		change(t, c, aService(ns, first.name), `{"spec":{"ipFamilyPolicy":"SingleStack"}}`)
		has(t, c, ns, first.name, first.has)
		change(t, c, aService(ns, first.name), `{"spec":{"ipFamilyPolicy":"RequireDualStack"}}`)
		s := served(t, c, ns, first.name, 2)
		if a := cluster.Addresses(s)[0]; a != first.has {
			t.Errorf("%s: first address %s; want %s as before", first.name, a, first.has)
		}
		remove(t, c, aService(ns, first.name))
		poolCounts(t, c, "both", "0", "8", "0", "256")
		remove(t, c, aPool("both"))
	}
}

// The two families may come from two pools.
func TestIPFamiliesFromTwoPools(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	only := "serviceAllocation: {priority: 1, namespaces: [" + ns + "]}"
	c.Apply(t, ns, autoPool("just-four", "203.0.113.16/31", only)+autoPool("just-six", "2001:db8:9::/127", only))
	poolSays(t, c, "just-six", "Ready", "True", "Ready")
	poolSays(t, c, "just-four", "Ready", "True", "Ready")
	c.Apply(t, ns, service("asks", asking("203.0.113.16,2001:db8:9::1"), require, fourAndSix))
	s := has(t, c, ns, "asks", "203.0.113.16", "2001:db8:9::1")
	if from := s.Annotations["porchlight.dev/ip-allocated-from-pool"]; from != "just-four,just-six" {
		t.Errorf("from pools %q; want just-four,just-six", from)
	}
	// A Service that asks for an address of one family gets the other as usual.
	c.Apply(t, ns, service("half", asking("203.0.113.17"), require, fourAndSix))
	if a := cluster.Addresses(served(t, c, ns, "half", 2)); a[0] != "203.0.113.17" {
		t.Errorf("addresses %v; want 203.0.113.17 first", a)
	}
}

// Where one family is exhausted, RequireDualStack gets none of either and
// takes none from others; it gets both at once when it can.
func TestRequireDualStackGetsBothOrNone(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("uneven", "203.0.113.24/30, 2001:db8:a::/128"))
	c.Apply(t, ns, service("holder", fromPool("uneven"), onlySix))
	has(t, c, ns, "holder", "2001:db8:a::")
	c.Apply(t, ns, service("both", fromPool("uneven"), require, fourAndSix)+service("prefer", fromPool("uneven"), prefer, fourAndSix))
	refused(t, c, ns, "both", "PoolExhausted", "uneven", "IPv6")
	has(t, c, ns, "prefer", "203.0.113.24")
	poolCounts(t, c, "uneven", "1", "3", "1", "0")
	remove(t, c, aService(ns, "prefer")) // which also waits for it
	remove(t, c, aService(ns, "holder"))
	has(t, c, ns, "both", "203.0.113.25", "2001:db8:a::")
}
