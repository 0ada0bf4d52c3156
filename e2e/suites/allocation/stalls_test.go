//go:build e2e

package allocation

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/lab/host"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// apiServer is the process of the lab's API server.
func apiServer(t *testing.T, c *cluster.Cluster) int {
	t.Helper()
	hosts, err := host.Find(c.Lab.Dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := host.Processes(hosts[lab.HostControlPlane])
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if filepath.Base(p.Args[0]) == "kube-apiserver" {
			return p.PID
		}
	}
	t.Fatalf("no API server runs on host %s", lab.HostControlPlane)
	return 0
}

func leaseOf(ctx context.Context, c *cluster.Cluster) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	return lease, c.Get(ctx, types.NamespacedName{Namespace: cluster.System, Name: "porchlight-controller"}, lease)
}

// The API server stalls again and again in the middle of a burst, each time for
// longer than the Lease lasts. Nobody else is there to take it, so that the
// term goes on: what is known is not read again, everybody is served, nobody's
// address changes.
func TestAPIServerStalls(t *testing.T) {
	const (
		size   = 500
		stalls = 5
		stall  = 1500 * time.Millisecond
	)
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("stalled", "198.18.16.0/23"))
	scale := func(replicas int) {
		t.Helper()
		if _, err := c.Kubectl("scale", "-n", cluster.System, "deployment/porchlight-controller", fmt.Sprintf("--replicas=%d", replicas)); err != nil {
			t.Fatal(err)
		}
		if err := c.ControllersReady(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { scale(2) })
	scale(1)
	cluster.Eventually(t, "the other controller is gone", func(ctx context.Context) error {
		var pods corev1.PodList
		err := c.List(ctx, &pods, client.InNamespace(cluster.System), client.MatchingLabels{"app.kubernetes.io/component": "controller"})
		if err == nil && len(pods.Items) != 1 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	l := keepLedger(t, c, ns)
	burst(t, c, ns, "stalled", "first", 0, 1)()
	l.until(t, "a controller leads", func(_, served int) bool { return served == 1 })
	only := leader(t, c)
	terms := func() int {
		t.Helper()
		log, err := c.Kubectl("logs", "-n", cluster.System, only.Pod.Name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(log, `"msg":"leading"`)
	}
	before, err := leaseOf(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	termsBefore := terms()

	pid := apiServer(t, c)
	signal := func(s syscall.Signal) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatalf("sending %v to the API server: %v", s, err)
		}
	}
	t.Cleanup(func() { signal(syscall.SIGCONT) })
	made := burst(t, c, ns, "stalled", "web", 1, size)
	for i := range stalls {
		l.until(t, "the burst is on its way", func(_, served int) bool { return served > (i+1)*size/(2*stalls) })
		signal(syscall.SIGSTOP)
		time.Sleep(stall)
		signal(syscall.SIGCONT)
		stalled := time.Now()
		cluster.Eventually(t, "the Lease is renewed", func(ctx context.Context) error {
			lease, err := leaseOf(ctx, c)
			if err == nil && lease.Spec.RenewTime.Time.Before(stalled) {
				err = errors.New("not since the API server went on")
			}
			return err
		})
	}
	made()
	l.until(t, "all are served", func(there, served int) bool { return there == size && served == size })
	poolCounts(t, c, "stalled", fmt.Sprint(size), fmt.Sprint(512-size), "0", "0")
	after, err := leaseOf(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if n := terms(); n != termsBefore || *after.Spec.LeaseTransitions != *before.Spec.LeaseTransitions {
		t.Errorf("%d terms began; the Lease counts %d transitions more", n-termsBefore, *after.Spec.LeaseTransitions-*before.Spec.LeaseTransitions)
	}
	l.check(t)
}
