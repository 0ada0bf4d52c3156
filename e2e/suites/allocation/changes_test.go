//go:build e2e

package allocation

import (
	"fmt"
	"slices"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
)

// A Service that is none of type LoadBalancer any more has nothing of ours
// left, and its address is free.
func TestTypeChangedFreesAddress(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("typed", "203.0.113.0/32"))
	c.Apply(t, ns, service("web", fromPool("typed")))
	has(t, c, ns, "web", "203.0.113.0")
	c.Apply(t, ns, service("next", fromPool("typed")))
	refused(t, c, ns, "next", "PoolExhausted", "typed")
	for _, other := range []string{"ClusterIP", "NodePort"} {
		change(t, c, aService(ns, "web"), `{"spec":{"type":"`+other+`"}}`)
		c.Service(t, ns, "web", "no address and no trace of one", func(s *corev1.Service) bool {
			_, annotated := s.Annotations["porchlight.dev/ip-allocated-from-pool"]
			return len(s.Status.LoadBalancer.Ingress) == 0 && !annotated && len(s.Status.Conditions) == 0
		})
		has(t, c, ns, "next", "203.0.113.0")
		remove(t, c, aService(ns, "next"))
		change(t, c, aService(ns, "web"), `{"spec":{"type":"LoadBalancer"}}`)
		has(t, c, ns, "web", "203.0.113.0")
		c.Apply(t, ns, service("next", fromPool("typed")))
		refused(t, c, ns, "next", "PoolExhausted", "typed")
	}
}

func TestServiceDeletedFreesAddress(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("freed", "203.0.113.4/31"))
	for i, want := range []string{"203.0.113.4", "203.0.113.5", "203.0.113.4", "203.0.113.5"} {
		// The address that has been free longest comes first.
		name := fmt.Sprintf("web-%d", i)
		c.Apply(t, ns, service(name, fromPool("freed")))
		has(t, c, ns, name, want)
		remove(t, c, aService(ns, name))
	}
	poolCounts(t, c, "freed", "0", "2", "0", "0")
}

// When an address frees, the oldest of those who wait gets it, whatever their
// names, and nobody has to ask again.
func TestFreedAddressServesTheOldestWaiting(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("single", "203.0.113.77/32"))
	from := `"metallb.io/address-pool": single`
	c.Apply(t, ns, service("holder", from))
	holder := has(t, c, ns, "holder", "203.0.113.77")
	created := holder.CreationTimestamp
	waiting := []string{"zoe", "yan", "xin"} // the oldest first
	for _, name := range waiting {
		s := aService(ns, name)
		inALaterSecond(t, c, created, service(name, from), ns, s)
		created = s.CreationTimestamp
		refused(t, c, ns, name, "PoolExhausted", "single")
	}
	before := "holder"
	for i, name := range waiting {
		remove(t, c, aService(ns, before))
		has(t, c, ns, name, "203.0.113.77")
		for _, still := range waiting[i+1:] {
			refused(t, c, ns, still, "PoolExhausted", "single")
		}
		before = name
	}

	// A pool that grows serves them too.
	c.Apply(t, ns, service("late", from))
	refused(t, c, ns, "late", "PoolExhausted", "single")
	c.Apply(t, ns, pool("single", "203.0.113.77-203.0.113.78"))
	has(t, c, ns, "late", "203.0.113.78")
}

// Services whose address is no longer in any pool that admits them get
// another, with an event; the others keep theirs.
func TestPoolChangedUnderLiveServices(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	untouched := bystander(t, c, ns)
	only := func(priority int) string {
		return fmt.Sprintf("serviceAllocation: {priority: %d, namespaces: [%s]}", priority, ns)
	}
	c.Apply(t, ns, autoPool("near", "203.0.113.8/30", only(1))+autoPool("far", "203.0.113.16/30", only(2)))
	poolSays(t, c, "far", "Ready", "True", "Ready")
	for i := range 4 {
		name := fmt.Sprintf("web-%d", i)
		c.Apply(t, ns, service(name, ""))
		has(t, c, ns, name, fmt.Sprintf("203.0.113.%d", 8+i))
		awaitTold(t, c, ns, name, "Allocated", "near")
	}

	// Shrunk: two stay, two move to the other pool.
	c.Apply(t, ns, autoPool("near", "203.0.113.8/31", only(1)))
	moved := []string{"203.0.113.16", "203.0.113.17"}
	for i, want := range moved {
		name := fmt.Sprintf("web-%d", 2+i)
		has(t, c, ns, name, want)
		awaitTold(t, c, ns, name, "Allocated", want, "far")
	}
	// Moved: other addresses under the same name.
	c.Apply(t, ns, autoPool("near", "203.0.113.12/31", only(1)))
	for i, want := range []string{"203.0.113.12", "203.0.113.13"} {
		name := fmt.Sprintf("web-%d", i)
		has(t, c, ns, name, want)
		awaitTold(t, c, ns, name, "Allocated", want, "near")
	}
	// Deleted.
	remove(t, c, aPool("near"))
	for i, want := range []string{"203.0.113.18", "203.0.113.19"} {
		has(t, c, ns, fmt.Sprintf("web-%d", i), want)
	}
	for i, want := range moved {
		has(t, c, ns, fmt.Sprintf("web-%d", 2+i), want)
	}
	quiesce(t, c, ns)
	for name, events := range map[string]int{"web-0": 3, "web-1": 3, "web-2": 2, "web-3": 2} {
		if got := told(t.Context(), t, c, ns, name); len(got) != events {
			t.Errorf("events of %s: %q; want %d", name, got, events)
		}
	}
	untouched()
}

// A Service whose requested pool or address no longer exists loses what it
// has, says why, and does not get another; it is served again when what it
// asks for is back.
func TestRequestedPoolOrAddressGone(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	untouched := bystander(t, c, ns)
	c.Apply(t, ns, pool("asked", "203.0.113.32/29"))
	c.Apply(t, ns, service("by-pool", fromPool("asked"))+service("by-address", asking("203.0.113.38"))+
		service("by-both", fromPool("asked")+", "+asking("203.0.113.34")))
	for name, a := range map[string]string{"by-pool": "203.0.113.32", "by-address": "203.0.113.38", "by-both": "203.0.113.34"} {
		has(t, c, ns, name, a)
	}

	c.Apply(t, ns, pool("asked", "203.0.113.32/30"))
	refused(t, c, ns, "by-address", "AddressNotInPool", "203.0.113.38")
	awaitTold(t, c, ns, "by-address", "AddressNotInPool", "203.0.113.38")
	has(t, c, ns, "by-pool", "203.0.113.32")
	has(t, c, ns, "by-both", "203.0.113.34")

	remove(t, c, aPool("asked"))
	refused(t, c, ns, "by-pool", "PoolNotFound", "asked")
	refused(t, c, ns, "by-both", "PoolNotFound", "asked")
	awaitTold(t, c, ns, "by-pool", "PoolNotFound", "asked")
	refused(t, c, ns, "by-address", "AddressNotInPool", "203.0.113.38")

	c.Apply(t, ns, pool("asked", "203.0.113.32/29"))
	has(t, c, ns, "by-address", "203.0.113.38")
	has(t, c, ns, "by-both", "203.0.113.34")
	if a := address(t, c, ns, "by-pool"); slices.Contains([]string{"203.0.113.34", "203.0.113.38"}, a) {
		t.Errorf("by-pool has %s, which another asks for and has", a)
	}
	untouched()
}

// A Service may change what it asks for while it has an address.
func TestRequestChangedLive(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("from", "203.0.113.48/30")+pool("to", "203.0.113.52/30"))
	c.Apply(t, ns, service("web", fromPool("from"))+service("other", asking("203.0.113.53")))
	has(t, c, ns, "web", "203.0.113.48")
	has(t, c, ns, "other", "203.0.113.53")
	annotate := func(name, value string) {
		t.Helper()
		change(t, c, aService(ns, "web"), fmt.Sprintf(`{"metadata":{"annotations":{"porchlight.dev/%s":%s}}}`, name, value))
	}
	annotate("address-pool", `"to"`)
	has(t, c, ns, "web", "203.0.113.52")
	annotate("loadBalancerIPs", `"203.0.113.54"`)
	has(t, c, ns, "web", "203.0.113.54")
	annotate("loadBalancerIPs", `"203.0.113.53"`)
	refused(t, c, ns, "web", "AddressInUse", "203.0.113.53", ns+"/other")
	remove(t, c, aService(ns, "other"))
	has(t, c, ns, "web", "203.0.113.53")
	// Nothing asked for any more: what it has is as good as another.
	annotate("loadBalancerIPs", "null")
	has(t, c, ns, "web", "203.0.113.53")
	poolCounts(t, c, "from", "0", "4", "0", "0")
	poolCounts(t, c, "to", "1", "3", "0", "0")
}
