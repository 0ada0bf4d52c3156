//go:build e2e

package allocation

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func leader(t *testing.T, c *cluster.Cluster) cluster.Program {
	t.Helper()
	var l cluster.Program
	cluster.Eventually(t, "a controller leads", func(ctx context.Context) (err error) {
		l, err = c.Leader(ctx)
		return err
	})
	return l
}

// The leading controller is killed in the middle of bursts of a thousand
// Services, twenty times, each time with some of them served, some made and
// some still to come: no address is given twice, nobody is left without,
// nobody's changes. The pool is so small that the second burst gets addresses of
// the first.
func TestControllerKilledInABurst(t *testing.T) {
	const (
		bursts   = 2
		kills    = 10 // in each
		size     = 1000
		between  = size / kills
		poolSize = 1 << 10
	)
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("killed", "198.18.0.0/22"))
	l := keepLedger(t, c, ns)
	t.Cleanup(func() {
		if err := c.ControllersReady(); err != nil {
			t.Error(err)
		}
	})
	for i := range bursts {
		prefix := fmt.Sprintf("burst-%d", i)
		for k := range kills {
			made := burst(t, c, ns, "killed", prefix, k*between, (k+1)*between)
			victim := leader(t, c)
			l.until(t, "the burst is on its way", func(_, served int) bool { return served > k*between+between/10 })
			if err := victim.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := c.Replace(t.Context(), victim); err != nil {
				t.Fatal(err)
			}
			made()
		}
		l.until(t, "the whole burst is served", func(there, served int) bool { return there == size && served == size })
		if i < bursts-1 {
			if err := c.DeleteAllOf(t.Context(), &corev1.Service{}, client.InNamespace(ns), client.MatchingLabels{"burst": prefix}); err != nil {
				t.Fatal(err)
			}
			l.until(t, "the burst is gone", func(there, _ int) bool { return there == 0 })
		}
	}
	poolCounts(t, c, "killed", fmt.Sprint(size), fmt.Sprint(poolSize-size), "0", "0")
}

// Killed, deleted or restarted while nothing happens, the controllers change
// nobody's address, and give it to nobody.
func TestControllerRestarted(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("adopted", "203.0.113.16/28"))
	l := keepLedger(t, c, ns)
	number := 0
	more := func() {
		t.Helper()
		burst(t, c, ns, "adopted", "web", number, number+4)()
		number += 4
		l.until(t, "all are served", func(there, served int) bool { return there == number && served == number })
	}
	more()
	restartControllers(t, c)
	more()
	victim := leader(t, c)
	if err := victim.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	more()
	if _, err := c.Kubectl("delete", "pod", "-n", cluster.System, "-l", "app.kubernetes.io/component=controller",
		"--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	more()
	poolSays(t, c, "adopted", "Exhausted", "True", "Exhausted")
	if err := c.ControllersReady(); err != nil {
		t.Fatal(err)
	}
}

// The API server is away for 30 s while changes are on their way, and there
// are more when it is back: none is lost.
func TestAPIServerAway(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("away", "198.18.8.0/23"))
	l := keepLedger(t, c, ns)
	t.Cleanup(func() {
		if err := c.Lab.Heal(context.Background()); err != nil {
			t.Error(err)
		}
	})
	made := burst(t, c, ns, "away", "before", 0, 300)
	l.until(t, "the burst is on its way", func(_, served int) bool { return served >= 60 })
	if err := c.Lab.Fault(t.Context(), lab.CutAPIServer, lab.HostControlPlane); err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	made()
	// The test is on the control plane's host, and goes on.
	for i := range 40 {
		remove(t, c, aService(ns, fmt.Sprintf("before-%d", i)))
	}
	burst(t, c, ns, "away", "meanwhile", 0, 100)()
	c.Apply(t, ns, pool("away", "198.18.8.0/23, 198.18.10.0/24"))
	select {
	case <-time.After(time.Until(cut.Add(30 * time.Second))):
	case <-t.Context().Done():
	}
	if err := c.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until(t, "all are served", func(there, served int) bool { return there == 360 && served == 360 })
	poolCounts(t, c, "away", "360", "408", "0", "0")
	if err := c.ControllersReady(); err != nil {
		t.Fatal(err)
	}
}
