//go:build e2e

package layer2

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// What a person does on purpose breaks no connection: the owner's speaker is
// deleted, its node is drained, all speakers are rolled anew. Meanwhile 100 new
// connections a second and family are opened; make bench opens 10,000.
func TestHandoverWithoutAFailedConnection(t *testing.T) {
	l := scenario(t)
	ips := addresses(l.Service(t, l.namespace, "s0", "announced", announced))
	l.warm(t, ips...)
	var targets []string
	for _, ip := range ips {
		targets = append(targets, net.JoinHostPort(ip.String(), "80"))
	}
	attempts, failed, err := probe.Connections(t.Context(), l.Lab.Dialer("client"), targets, 100, 0, func(ctx context.Context) error {
		return probe.Handover(ctx, l.Cluster, func(ctx context.Context) ([]string, error) {
			now, err := l.who(ctx, asker, ips...)
			if err != nil {
				return nil, err
			}
			nodes := []string{now[ips[0]], now[ips[1]]}
			slices.Sort(nodes)
			return slices.Compact(nodes), nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections", attempts)
	for i, f := range failed {
		if i == 20 {
			break
		}
		t.Logf("failed: %s", f)
	}
	if len(failed) > 0 {
		t.Errorf("%d of %d connections failed", len(failed), attempts)
	}
}
