//go:build e2e

package allocation

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// measured waits until the leading controller's metrics have these values; a
// series that is not there is 0.
func measured(t *testing.T, c *cluster.Cluster, want map[string]float64) {
	t.Helper()
	cluster.Eventually(t, "the metrics are right", func(ctx context.Context) error {
		got, err := leaderMetrics(ctx, c)
		if err != nil {
			return err
		}
		var wrong []error
		for series, value := range want {
			if got[series] != value {
				wrong = append(wrong, fmt.Errorf("%s is %v; want %v", series, got[series], value))
			}
		}
		return errors.Join(wrong...)
	})
}

func leaderMetrics(ctx context.Context, c *cluster.Cluster) (map[string]float64, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	return c.Metrics(ctx, leader.Pod)
}

// What the controller measures: addresses by pool and family, who waits and
// why, how long allocation takes, what is still to be written, who leads.
func TestMetrics(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	const written = "porchlight_allocation_duration_seconds_count"
	const ready = `porchlight_pool_ready{pool="measured"}`
	quiesce(t, c, ns) // what earlier tests left behind is gone
	// Pools and Services are watched apart: a Service that is seen before its
	// pool is written twice.
	c.Apply(t, ns, pool("measured", "203.0.113.0/31, 2001:db8:b::/64"))
	measured(t, c, map[string]float64{ready: 1})
	before, err := leaderMetrics(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	pending := func(reason string) string { return fmt.Sprintf("porchlight_services_pending{reason=%q}", reason) }
	assigned := func(family string) string {
		return fmt.Sprintf("porchlight_pool_assigned_addresses{family=%q,pool=\"measured\"}", family)
	}
	total := func(family string) string {
		return fmt.Sprintf("porchlight_pool_total_addresses{family=%q,pool=\"measured\"}", family)
	}
	for i := range 2 {
		name := fmt.Sprintf("web-%d", i)
		c.Apply(t, ns, service(name, fromPool("measured"), require))
		served(t, c, ns, name, 2)
	}
	c.Apply(t, ns, service("late", fromPool("measured"))+service("lost", fromPool("nowhere"))+service("lost-too", fromPool("nowhere")))
	refused(t, c, ns, "lost-too", "PoolNotFound", "nowhere")
	refused(t, c, ns, "late", "PoolExhausted", "measured")
	measured(t, c, map[string]float64{
		assigned("IPv4"): 2, total("IPv4"): 2, assigned("IPv6"): 2, total("IPv6"): 1 << 64,
		ready:                           1,
		pending("PoolExhausted"):        before[pending("PoolExhausted")] + 1,
		pending("PoolNotFound"):         before[pending("PoolNotFound")] + 2,
		written:                         before[written] + 5,
		"porchlight_write_queue_depth":  0,
		"porchlight_controller_leading": 1,
	})

	remove(t, c, aService(ns, "web-0"))
	served(t, c, ns, "late", 1)
	remove(t, c, aService(ns, "lost"))
	measured(t, c, map[string]float64{
		assigned("IPv4"): 2, assigned("IPv6"): 1,
		pending("PoolExhausted"): before[pending("PoolExhausted")],
		pending("PoolNotFound"):  before[pending("PoolNotFound")] + 1,
	})
	remove(t, c, aPool("measured"))
	measured(t, c, map[string]float64{assigned("IPv4"): 0, total("IPv4"): 0, ready: 0})
}
