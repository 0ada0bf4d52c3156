//go:build e2e

package allocation

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The leader is frozen in the middle of its work for longer than its Lease,
// and goes on when another one has given what it was about to give.
func TestTwoLeadersForAMoment(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	const size = 128
	c.Apply(t, ns, pool("frozen", "198.18.12.0/25"))
	l := keepLedger(t, c, ns)
	for i := range 3 {
		prefix := fmt.Sprintf("burst-%d", i)
		first := leader(t, c)
		made := burst(t, c, ns, "frozen", prefix, 0, size)
		l.until(t, "the burst is on its way", func(_, served int) bool { return served >= size/8 })
		if err := first.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		thawed := false
		thaw := func() {
			if !thawed {
				thawed = true
				if err := first.Signal(syscall.SIGCONT); err != nil {
					t.Error(err)
				}
			}
		}
		t.Cleanup(thaw)
		made()
		l.until(t, "another leader serves the burst", func(there, served int) bool { return there == size && served == size })
		// Half of the addresses go to others, which wait for them.
		for n := range size / 2 {
			remove(t, c, aService(ns, fmt.Sprintf("%s-%d", prefix, n)))
		}
		burst(t, c, ns, "frozen", prefix+"-more", 0, size/2)()
		l.until(t, "another leader serves who waits", func(there, served int) bool { return there == size && served == size })
		if now := leader(t, c); now.Pod.Name == first.Pod.Name {
			t.Fatalf("pod %s leads, which is frozen", now.Pod.Name)
		}
		thaw()
		cluster.Eventually(t, "the first leader has noticed, or leads anew", func(ctx context.Context) error {
			m, err := c.Metrics(ctx, first.Pod)
			if err != nil || m["porchlight_controller_leading"] == 0 {
				return err
			}
			now, err := c.Leader(ctx)
			if err == nil && now.Pod.Name != first.Pod.Name {
				err = fmt.Errorf("pod %s leads, as pod %s does", first.Pod.Name, now.Pod.Name)
			}
			return err
		})
		poolCounts(t, c, "frozen", fmt.Sprint(size), "0", "0", "0")
		l.check(t)
		if err := c.DeleteAllOf(t.Context(), &corev1.Service{}, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		l.until(t, "all are gone", func(there, _ int) bool { return there == 0 })
		poolCounts(t, c, "frozen", "0", fmt.Sprint(size), "0", "0")
	}
}
