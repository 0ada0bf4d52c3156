package cluster

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Fleet is YAML of an EnvoyFleet, with spec as YAML, and of a GatewayClass of
// its name.
func Fleet(name, spec string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: EnvoyFleet
metadata: {name: %[1]s, namespace: %[2]s}
spec: %[3]s
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: %[1]s}
spec:
  controllerName: porchlight.dev/gateway
  parametersRef: {group: porchlight.dev, kind: EnvoyFleet, name: %[1]s, namespace: %[2]s}
---
`, name, System, spec)
}

// Programmed waits until the Gateway serves, and returns its first address.
func (c *Cluster) Programmed(t *testing.T, namespace, name string) string {
	t.Helper()
	address, err := c.AwaitProgrammed(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// AwaitProgrammed is Programmed outside of tests.
func (c *Cluster) AwaitProgrammed(ctx context.Context, namespace, name string) (string, error) {
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := c.Await(ctx, g, &gatewayv1.GatewayList{}, func() bool {
		return Condition(g.Status.Conditions, "Programmed", metav1.ConditionTrue, "Programmed") && len(g.Status.Addresses) > 0
	}); err != nil {
		return "", fmt.Errorf("gateway %s: want it programmed: %w", name, err)
	}
	return g.Status.Addresses[0].Value, nil
}

// AwaitForwarding waits until every node forwards what comes to the address that
// the request goes to: it sends it from each until the answer is 200, as only a
// node that does reaches what it answers for itself. A node announces an address
// before its kube-proxy knows an endpoint, and refuses connections until then.
func (c *Cluster) AwaitForwarding(ctx context.Context, r Request) error {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return fmt.Errorf("listing the nodes that shall forward %s: %w", r.URL, err)
	}
	for _, n := range nodes.Items {
		r.From = n.Name
		if err := Poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			got, err := c.Send(ctx, r)
			if err == nil && got.Status != http.StatusOK {
				err = fmt.Errorf("status %d", got.Status)
			}
			return err
		}); err != nil {
			return fmt.Errorf("%s does not forward %s: %w", n.Name, r.URL, err)
		}
	}
	return nil
}
