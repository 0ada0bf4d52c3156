//go:build e2e

package allocation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// stopControllers leaves the cluster without a controller; start brings them
// back, at the end of the test at the latest.
func stopControllers(t *testing.T, c *cluster.Cluster) (start func()) {
	t.Helper()
	scale := func(replicas int) error {
		_, err := c.Kubectl("scale", "-n", cluster.System, "deployment/porchlight-controller", fmt.Sprintf("--replicas=%d", replicas))
		return err
	}
	start = func() {
		if err := scale(2); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		start()
		if err := c.ControllersReady(); err != nil {
			t.Error(err)
		}
	})
	if err := scale(0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl("wait", "pod", "-n", cluster.System, "-l", "app.kubernetes.io/component=controller",
		"--for=delete", "--timeout="+cluster.Patience.String()); err != nil {
		t.Fatal(err)
	}
	return start
}

// record writes the addresses into a Service's status, as something else than
// our controller would.
func record(t *testing.T, c *cluster.Cluster, ns, name string, addresses ...string) {
	t.Helper()
	var ingress []map[string]string
	for _, a := range addresses {
		ingress = append(ingress, map[string]string{"ip": a, "ipMode": "VIP"})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": ingress}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Status().Patch(t.Context(), aService(ns, name), client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// reAddressed are the events of a Service that tell of an address it had
// before.
func reAddressed(ctx context.Context, t *testing.T, c *cluster.Cluster, ns, name string) (all []string) {
	t.Helper()
	for _, e := range told(ctx, t, c, ns, name) {
		if strings.Contains(e, "before it was") {
			all = append(all, e)
		}
	}
	return all
}

// While there is no controller, what Services have and may have falls apart.
// One that starts adopts before it gives: of two that hold one address the
// older keeps it; who holds what is in no pool any more gets another, with an
// event; who is new gets what nobody holds, though it is the oldest.
func TestAdoption(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("held", "203.0.113.0/28"))
	from := fromPool("held")
	c.Apply(t, ns, service("stays", from)+service("asks", from))
	had := map[string]string{"stays": address(t, c, ns, "stays"), "asks": address(t, c, ns, "asks")}

	start := stopControllers(t, c)
	// The pool moves on by a half; who has what, was decided in the other.
	c.Apply(t, ns, pool("held", "203.0.113.0/29, 203.0.113.32/29"))
	change(t, c, aService(ns, "asks"), `{"metadata":{"annotations":{"porchlight.dev/loadBalancerIPs":"203.0.113.35"}}}`)
	c.Apply(t, ns, service("aaa-new", from)+service("outside", from)+
		service("key-1", from+", "+sharing("k"), port("TCP", 1))+service("key-2", from+", "+sharing("k"), port("TCP", 2))+
		service("zzz-older", from))
	older := aService(ns, "zzz-older")
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(older), older); err != nil {
		t.Fatal(err)
	}
	inALaterSecond(t, c, older.CreationTimestamp, service("aaa-younger", from), ns, aService(ns, "aaa-younger"))
	for name, a := range map[string]string{
		"outside": "203.0.113.12", "key-1": "203.0.113.36", "key-2": "203.0.113.36",
		"zzz-older": "203.0.113.2", "aaa-younger": "203.0.113.2",
	} {
		record(t, c, ns, name, a)
	}
	start()

	has(t, c, ns, "stays", had["stays"])
	has(t, c, ns, "asks", "203.0.113.35")
	has(t, c, ns, "key-1", "203.0.113.36")
	has(t, c, ns, "key-2", "203.0.113.36")
	has(t, c, ns, "zzz-older", "203.0.113.2")
	held := []string{had["stays"], "203.0.113.35", "203.0.113.36", "203.0.113.2", "203.0.113.12"}
	for _, name := range []string{"aaa-new", "outside", "aaa-younger"} {
		a := address(t, c, ns, name)
		if slices.Contains(held, a) {
			t.Errorf("%s is given %s, which somebody had or asks for", name, a)
		}
		held = append(held, a)
	}
	awaitTold(t, c, ns, "outside", "Allocated", "before it was 203.0.113.12")
	awaitTold(t, c, ns, "aaa-younger", "Allocated", "before it was 203.0.113.2")
	awaitTold(t, c, ns, "asks", "Allocated", "before it was "+had["asks"])
	quiesce(t, c, ns)
	for _, name := range []string{"stays", "key-1", "key-2", "zzz-older", "aaa-new"} {
		if all := reAddressed(t.Context(), t, c, ns, name); len(all) > 0 {
			t.Errorf("%s was re-addressed: %q", name, all)
		}
	}
	poolCounts(t, c, "held", "7", "9", "0", "0")
}
