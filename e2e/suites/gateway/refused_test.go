//go:build e2e

package gateway

import (
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A Gateway whose Service the API server refuses says why, and has it once the
// EnvoyFleet is mended.
func TestServiceIsRefused(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	fleet := func(class string) string {
		return `
apiVersion: porchlight.dev/v1beta1
kind: EnvoyFleet
metadata: {name: refused, namespace: porchlight-system}
spec: {replicas: 1, service: {` + class + `}}
---
`
	}
	c.Apply(t, cluster.System, fleet("loadBalancerClass: a..b/c"))
	c.Apply(t, ns, `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: refused}
spec:
  controllerName: porchlight.dev/gateway
  parametersRef: {group: porchlight.dev, kind: EnvoyFleet, name: refused, namespace: porchlight-system}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec:
  gatewayClassName: refused
  listeners: [{name: http, protocol: HTTP, port: 80}]
---
`)
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web"}}
	if err := c.Await(t.Context(), g, &gatewayv1.GatewayList{}, func() bool {
		return cluster.Condition(g.Status.Conditions, "Programmed", metav1.ConditionFalse, "ServiceRefused")
	}); err != nil {
		t.Fatalf("gateway web: want it said that its Service is refused: %v", err)
	}
	c.Apply(t, cluster.System, fleet(""))
	c.Programmed(t, ns, "web")
}
