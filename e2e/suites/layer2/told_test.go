//go:build e2e

package layer2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// count is a metric of a node's speaker.
func (l *lan) count(t *testing.T, node, series string) float64 {
	t.Helper()
	v, err := probe.Metric(t.Context(), l.Cluster, node, metricsPort, series)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A take-over is counted by its cause where the address went, with the time of
// it at both ends, and an event of the Service tells of it.
func TestTakeOverIsTold(t *testing.T) {
	l := scenario(t)
	const takeovers = `porchlight_layer2_takeovers_total{cause="OwnerIneligible"}`
	_, before := l.victim(t) // moves what must be moved for there to be one
	counted := map[string]float64{}
	for _, node := range l.names() {
		counted[node] = l.count(t, node, takeovers)
	}
	began := time.Now()
	lost, now := l.lose(t, "", func(node string) { l.exclude(t, node) })
	for _, node := range l.names() {
		took := len(now.of(node)) - len(before.of(node))
		cluster.Eventually(t, fmt.Sprintf("%s counts %d addresses that it took", node, max(0, took)), func(ctx context.Context) error {
			v, err := probe.Metric(ctx, l.Cluster, node, metricsPort, takeovers)
			if err == nil && v-counted[node] != float64(max(0, took)) {
				err = fmt.Errorf("it counts %v", v-counted[node])
			}
			return err
		})
		if owned := l.count(t, node, "porchlight_layer2_owned_addresses"); int(owned) != len(now.of(node)) {
			t.Errorf("%s counts %v addresses of its own; it answers for %v", node, owned, now.of(node))
		}
		changed := l.count(t, node, "porchlight_layer2_last_change_timestamp_seconds") >= float64(began.UnixMilli())/1000
		if changed != (took != 0) {
			t.Errorf("%s took %d addresses; that its last change is since: %v", node, took, changed)
		}
	}
	ip := before.of(lost)[0]
	cluster.Eventually(t, "an event tells where "+ip.String()+" went", func(ctx context.Context) error {
		var all eventsv1.EventList
		if err := l.List(ctx, &all, client.InNamespace(l.namespace)); err != nil {
			return err
		}
		want := fmt.Sprintf("node %s answers for %s instead of %s", now[ip], ip, lost)
		if !slices.ContainsFunc(all.Items, func(e eventsv1.Event) bool { return e.Reason == "Announced" && strings.HasPrefix(e.Note, want) }) {
			return fmt.Errorf("none of %d events says %q", len(all.Items), want)
		}
		return nil
	})
}

// What is asked is counted where it is answered, and where it is not, with the
// reason.
func TestRequestsAreCounted(t *testing.T) {
	l := scenario(t)
	for protocol, is := range map[string]func(netip.Addr) bool{"arp": netip.Addr.Is4, "ndp": netip.Addr.Is6} {
		ip := l.ips[slices.IndexFunc(l.ips, is)]
		owner := l.owners(t, ip)[ip]
		series := map[string]string{}
		before := map[string]float64{}
		for _, node := range l.names() {
			series[node] = fmt.Sprintf(`porchlight_layer2_packets_dropped_total{protocol=%q,reason="NotOwned"}`, protocol)
			if node == owner {
				series[node] = fmt.Sprintf("porchlight_layer2_requests_answered_total{protocol=%q}", protocol)
			}
			before[node] = l.count(t, node, series[node])
		}
		const questions = 20
		for range questions {
			if now := l.owners(t, ip)[ip]; now != owner {
				t.Fatalf("%s moved from %s to %s", ip, owner, now)
			}
		}
		for _, node := range l.names() {
			// Others ask, too.
			if n := l.count(t, node, series[node]) - before[node]; n < questions {
				t.Errorf("%s counts %v of %d questions as %s", node, n, questions, series[node])
			}
		}
	}
}
