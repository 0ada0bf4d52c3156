//go:build e2e

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	neturl "net/url"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ended waits until no pod of the group ends any more.
func ended(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	cluster.Eventually(t, "the Envoys that leave have ended", func(ctx context.Context) error {
		var list corev1.PodList
		if err := c.List(ctx, &list, client.InNamespace(cluster.System), client.MatchingLabels{group: name}); err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.DeletionTimestamp != nil {
				return fmt.Errorf("%s ends since %v", p.Name, p.DeletionTimestamp)
			}
		}
		return nil
	})
}

// No request fails while each Envoy is replaced, nor while there are fewer.
func TestNoRequestFailsWhileEnvoysLeave(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, cluster.Fleet("changing", "{replicas: 3, drainTime: 10s, "+answering+"}")+site("web", "changing", "{}"))
	ready(t, c, "changing", 3)
	url := served(t, c, ns, "web")

	t.Run("rolling restart", func(t *testing.T) {
		underLoad(t, c, url, func() {
			kubectl(t, c, "rollout", "restart", "-n", cluster.System, "deployment/changing")
			kubectl(t, c, "rollout", "status", "-n", cluster.System, "deployment/changing", "--timeout=90s")
			ended(t, c, "changing")
		})
	})
	t.Run("scale down and up", func(t *testing.T) {
		underLoad(t, c, url, func() {
			for _, n := range []int32{1, 3} {
				kubectl(t, c, "patch", "envoyfleet", "-n", cluster.System, "changing", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
				ready(t, c, "changing", n)
				ended(t, c, "changing")
			}
		})
	})
	t.Run("requests that take long", func(t *testing.T) {
		underWay(t, c, url+"?delay=8s", 12, func() {
			kubectl(t, c, "patch", "envoyfleet", "-n", cluster.System, "changing", "--type=merge", "-p", `{"spec":{"replicas":1}}`)
			ready(t, c, "changing", 1)
		})
		ended(t, c, "changing")
	})
	t.Run("another kind", func(t *testing.T) {
		underLoad(t, c, url, func() {
			kubectl(t, c, "patch", "envoyfleet", "-n", cluster.System, "changing", "--type=merge", "-p", `{"spec":{"kind":"DaemonSet","replicas":null}}`)
			cluster.Eventually(t, "the Deployment is gone", func(context.Context) error {
				out, err := c.Kubectl("get", "deployment", "-n", cluster.System, "changing", "--ignore-not-found", "-o", "name")
				if err == nil && out != "" {
					err = fmt.Errorf("there is %s", out)
				}
				return err
			})
			ended(t, c, "changing")
		})
	})
}

// Nor where a node serves with its own Envoy alone, and what the network sends
// moves from node to node. Only a connection that is open at that very moment
// ends: the other node knows nothing of it, and resets it.
func TestNoRequestFailsWhileLocalEnvoysLeave(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, cluster.Fleet("local-changing", "{replicas: 2, drainTime: 5s, service: {externalTrafficPolicy: Local}, "+answering+"}")+site("web", "local-changing", "{}"))
	ready(t, c, "local-changing", 2)
	url := served(t, c, ns, "web")
	u, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		t.Fatal(err)
	}
	owners, err := probe.Who(t.Context(), c.Lab, "client", time.Second, cluster.Patience, ip)
	if err != nil || len(owners[ip]) != 1 {
		t.Fatalf("%v have %s, want one: %v", owners[ip], ip, err)
	}
	capture, err := probe.StartCapture(t.Context(), c.Lab, "client")
	if err != nil {
		t.Fatal(err)
	}
	l := ask(t, c, url, func() {
		kubectl(t, c, "rollout", "restart", "-n", cluster.System, "deployment/local-changing")
		kubectl(t, c, "rollout", "status", "-n", cluster.System, "deployment/local-changing", "--timeout=90s")
		ended(t, c, "local-changing")
	})
	frames, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	owner := owners[ip][0]
	var moved []time.Time
	for _, f := range frames {
		if f.IP == ip && f.Kind != probe.Question && f.From != owner {
			owner, moved = f.From, append(moved, f.At)
		}
	}
	t.Logf("the address moved %d times", len(moved))
	l.report(t, func(f failure) bool {
		return errors.Is(f.err, syscall.ECONNRESET) &&
			slices.ContainsFunc(moved, func(at time.Time) bool { return f.from.Before(at) && at.Before(f.until) })
	})
}
