//go:build e2e

package gateway

import (
	"slices"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A route that asks for default Gateways is served by each, and follows when
// one takes another's place.
func TestDefaultGateways(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	scoped := func(name, scope string) string {
		return gatewayOf("porchlight", name, "defaultScope: "+scope, "")
	}
	has := func(want ...string) {
		t.Helper()
		r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "defaulted"}}
		if err := c.Await(t.Context(), r, &gatewayv1.HTTPRouteList{}, func() bool {
			var got []string
			for _, p := range r.Status.Parents {
				if cluster.Condition(p.Conditions, "Accepted", metav1.ConditionTrue, "Accepted") {
					got = append(got, string(p.ParentRef.Name))
				}
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		}); err != nil {
			t.Fatalf("the route: want it accepted by %v: %v", want, err)
		}
	}
	c.Apply(t, ns, backend("web")+scoped("before", "All")+scoped("after", "None")+`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: defaulted}
spec:
  useDefaultGateways: All
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
`)
	has("before")
	before, after := "http://"+c.Programmed(t, ns, "before")+"/", "http://"+c.Programmed(t, ns, "after")+"/"
	c.Want(t, 200, cluster.Request{URL: before})
	c.Want(t, 404, cluster.Request{URL: after})

	c.Apply(t, ns, scoped("after", "All"))
	has("after", "before")
	gatewaySays(t, c, ns, "after", "DefaultGateway", metav1.ConditionTrue, "DefaultScope")
	c.Want(t, 200, cluster.Request{URL: after})
	c.Apply(t, ns, scoped("before", "None"))
	has("after")
	c.Want(t, 200, cluster.Request{URL: after})
	c.Want(t, 404, cluster.Request{URL: before})
}
