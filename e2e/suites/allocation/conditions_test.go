//go:build e2e

package allocation

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Every reason of the condition Allocated, with a message that names the pool
// and the holder, and an event of the same words.
func TestConditionAllocated(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	untouched := bystander(t, c, ns)
	c.Apply(t, ns, pool("open", "203.0.113.0/31")+
		pool("elsewhere", "203.0.113.2/31", "serviceAllocation: {namespaces: [nobody]}")+
		pool("leaving", "203.0.113.4/31", "drain: true"))
	poolSays(t, c, "leaving", "Ready", "True", "Ready")
	c.Apply(t, ns, service("holder", asking("203.0.113.0")+", "+sharing("k")))
	has(t, c, ns, "holder", "203.0.113.0")
	c.Apply(t, ns, service("second", fromPool("open")))
	has(t, c, ns, "second", "203.0.113.1")
	awaitTold(t, c, ns, "holder", "Allocated", "203.0.113.0", "open")
	holder := ns + "/holder"
	for _, r := range []struct {
		reason, annotations, spec string
		says                      []string
	}{
		{"PoolNotFound", fromPool("absent"), onlyFour, []string{"absent"}},
		{"PoolExhausted", fromPool("open"), onlyFour, []string{"open", "IPv4"}},
		{"PoolDraining", fromPool("leaving"), onlyFour, []string{"leaving"}},
		{"AddressNotInPool", asking("203.0.113.99"), onlyFour, []string{"203.0.113.99"}},
		{"AddressInUse", asking("203.0.113.0"), onlyFour, []string{"203.0.113.0", holder}},
		{"SharingRefused", asking("203.0.113.0") + ", " + sharing("k"), onlyFour, []string{"203.0.113.0", holder, "TCP/80"}},
		{"FamilyUnavailable", fromPool("open"), onlySix, []string{"open", "IPv6"}},
		{"NamespaceNotAdmitted", fromPool("elsewhere"), onlyFour, []string{"elsewhere", ns}},
		{"InvalidRequest", asking("everything"), onlyFour, []string{"everything"}},
	} {
		t.Run(r.reason, func(t *testing.T) {
			c.Apply(t, ns, service("web", r.annotations, r.spec))
			refused(t, c, ns, "web", r.reason, r.says...)
			awaitTold(t, c, ns, "web", r.reason, r.says...)
		})
	}
	untouched()
}

// NoPool is what a Service is told that names no pool, where none gives
// addresses to those.
func TestConditionAllocatedNoPool(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, service("early", ""))
	before := address(t, c, ns, "early")
	auto := func(is bool) error {
		return c.Patch(context.Background(), aPool("default"),
			client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"autoAssign":%v}}`, is)))
	}
	t.Cleanup(func() {
		if err := auto(true); err != nil {
			t.Error(err)
		}
	})
	if err := auto(false); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, ns, service("web", ""))
	refused(t, c, ns, "web", "NoPool")
	awaitTold(t, c, ns, "web", "NoPool")
	if err := auto(true); err != nil {
		t.Fatal(err)
	}
	address(t, c, ns, "web")
	if after := address(t, c, ns, "early"); after != before {
		t.Errorf("the Service that had %s has %s", before, after)
	}
}

// An event is told when something changed, once, and not when a Service is
// touched otherwise, seen again, or read by a controller that starts anew.
func TestEventsOnlyOnChange(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("one", "203.0.113.0/32"))
	c.Apply(t, ns, service("has", fromPool("one")))
	has(t, c, ns, "has", "203.0.113.0")
	c.Apply(t, ns, service("waits", fromPool("one")))
	refused(t, c, ns, "waits", "PoolExhausted", "one")
	expect := func(name string, reasons ...string) {
		t.Helper()
		quiesce(t, c, ns)
		var got []string
		for _, e := range told(t.Context(), t, c, ns, name) {
			for _, r := range []string{"Allocated", "PoolExhausted", "PoolNotFound"} {
				if len(e) > len(r) && e[:len(r)+1] == r+":" {
					got = append(got, r)
				}
			}
		}
		slices.Sort(got)
		slices.Sort(reasons)
		if !slices.Equal(got, reasons) {
			t.Errorf("events of %s: %v; want %v", name, got, reasons)
		}
	}
	expect("has", "Allocated")
	expect("waits", "PoolExhausted")

	for i := range 5 {
		for _, name := range []string{"has", "waits"} {
			change(t, c, aService(ns, name), fmt.Sprintf(`{"metadata":{"labels":{"touched":"%d"},"annotations":{"example.com/n":"%d"}}}`, i, i))
		}
	}
	change(t, c, aPool("one"), `{"metadata":{"labels":{"touched":"yes"}}}`)
	expect("has", "Allocated")
	expect("waits", "PoolExhausted")

	restartControllers(t, c)
	expect("has", "Allocated")
	expect("waits", "PoolExhausted")

	change(t, c, aService(ns, "waits"), `{"metadata":{"annotations":{"porchlight.dev/address-pool":"none"}}}`)
	refused(t, c, ns, "waits", "PoolNotFound", "none")
	expect("waits", "PoolExhausted", "PoolNotFound")
	change(t, c, aService(ns, "waits"), `{"metadata":{"annotations":{"porchlight.dev/address-pool":"one"}}}`)
	refused(t, c, ns, "waits", "PoolExhausted", "one")
	expect("waits", "PoolExhausted", "PoolNotFound", "PoolExhausted")
	remove(t, c, aService(ns, "has"))
	has(t, c, ns, "waits", "203.0.113.0")
	expect("waits", "PoolExhausted", "PoolNotFound", "PoolExhausted", "Allocated")
}

// restartControllers restarts all of them, and waits until they are back.
func restartControllers(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	if _, err := c.Kubectl("rollout", "restart", "-n", cluster.System, "deployment/porchlight-controller"); err != nil {
		t.Fatal(err)
	}
	if err := c.ControllersReady(); err != nil {
		t.Fatal(err)
	}
}
