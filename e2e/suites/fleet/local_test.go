//go:build e2e

package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// forwardedFor is the X-Forwarded-For of a request, as the backend saw it.
func forwardedFor(t *testing.T, body string) string {
	t.Helper()
	var e struct {
		Headers map[string][]string `json:"headers"`
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("the backend's answer: %v: %s", err, body)
	}
	return strings.Join(e.Headers["X-Forwarded-For"], ",")
}

// announcedBy waits until the Services of the namespace are announced by the
// node, and by no other.
func announcedBy(t *testing.T, c *cluster.Cluster, ns, node string) {
	t.Helper()
	cluster.Eventually(t, "the Gateway is announced by "+node, func(ctx context.Context) error {
		var all v1beta1.ServiceL2StatusList
		if err := c.List(ctx, &all); err != nil {
			return err
		}
		var nodes []string
		for _, s := range all.Items {
			if s.Status.ServiceNamespace == ns {
				nodes = append(nodes, s.Status.Node)
			}
		}
		for _, n := range nodes {
			if n != node {
				nodes = append([]string{"not only there"}, nodes...)
				break
			}
		}
		if len(nodes) == 0 || nodes[0] != node {
			return fmt.Errorf("announced by %v", nodes)
		}
		return nil
	})
}

// With externalTrafficPolicy Local the backend sees the client's own address,
// and only a node that runs a ready Envoy announces, wherever the Envoys go.
func TestLocalKeepsTheClientsAddress(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	const spec = "{replicas: 1, drainTime: 5s, nodeSelector: {kubernetes.io/hostname: %s}, service: {externalTrafficPolicy: Local}}"
	c.Apply(t, ns, cluster.Fleet("local", fmt.Sprintf(spec, "node1"))+site("web", "local", "{}"))
	url := served(t, c, ns, "web")
	for _, node := range []string{"node1", "node3", "node2"} {
		kubectl(t, c, "patch", "envoyfleet", "-n", cluster.System, "local", "--type=merge",
			"-p", fmt.Sprintf(`{"spec":{"nodeSelector":{"kubernetes.io/hostname":%q}}}`, node))
		announcedBy(t, c, ns, node)
		if got := forwardedFor(t, c.Want(t, 200, cluster.Request{URL: url}).Body); got != "172.30.0.100" {
			t.Errorf("with the Envoy on %s the backend sees %q, want the client's address", node, got)
		}
	}
}
