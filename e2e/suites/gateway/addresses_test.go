//go:build e2e

package gateway

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// A Gateway has the addresses that it asks for, several if it likes; its status
// follows when it asks for others, and those that it had are free.
func TestAddressesThatAreAskedFor(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	asking := func(name, addresses string) string {
		return gatewayOf("porchlight", name, "addresses: ["+addresses+"]", "")
	}
	has := func(name string, want ...string) {
		t.Helper()
		g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
		if err := c.Await(t.Context(), g, &gatewayv1.GatewayList{}, func() bool {
			var got []string
			for _, a := range g.Status.Addresses {
				got = append(got, a.Value)
			}
			return slices.Equal(got, want) && cluster.Condition(g.Status.Conditions, "Programmed", metav1.ConditionTrue, "Programmed")
		}); err != nil {
			t.Fatalf("gateway %s: want it programmed at %v: %v", name, want, err)
		}
		for _, a := range want {
			c.Want(t, 200, cluster.Request{URL: "http://" + a + "/"})
		}
	}
	c.Apply(t, ns, backend("web")+asking("web", "{value: 172.30.0.245}, {value: 172.30.0.246}")+
		route("all", "web", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	has("web", "172.30.0.245", "172.30.0.246")

	c.Apply(t, ns, asking("web", "{value: 172.30.0.246}, {value: 172.30.0.247}"))
	has("web", "172.30.0.246", "172.30.0.247")
	c.Apply(t, ns, asking("other", "{value: 172.30.0.245}")+route("others", "other", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	has("other", "172.30.0.245")

	// One that no pool has is refused, and disturbs nobody.
	c.Apply(t, ns, asking("nowhere", "{value: 203.0.113.7}"))
	gatewaySays(t, c, ns, "nowhere", "Programmed", metav1.ConditionFalse, "AddressNotUsable")
	c.Apply(t, ns, asking("nowhere", "{value: 172.30.0.248}")+route("there", "nowhere", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	has("nowhere", "172.30.0.248")
	has("web", "172.30.0.246", "172.30.0.247")
}

// A team beside the Gateway's own adds a listener with a ListenerSet, which the
// Gateway admits or does not.
func TestListenerSet(t *testing.T) {
	c := cluster.ForTest(t)
	infra, team := c.Namespace(t), c.Namespace(t)
	admits := func(from string) string {
		return gatewayOf("porchlight", "shared", "allowedListeners: {namespaces: {from: "+from+"}}", "")
	}
	c.Apply(t, infra, admits("All"))
	c.Apply(t, team, backend("web")+fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: shared, namespace: %s}
  listeners:
  - {name: alt, protocol: HTTP, port: 8080}
---
`, infra)+attached("HTTPRoute", "web", "{kind: ListenerSet, name: more}", "", "web", 80))
	says := func(status metav1.ConditionStatus, reason string) {
		t.Helper()
		s := &gatewayv1.ListenerSet{ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "more"}}
		if err := c.Await(t.Context(), s, &gatewayv1.ListenerSetList{}, func() bool {
			return cluster.Condition(s.Status.Conditions, "Accepted", status, reason)
		}); err != nil {
			t.Fatalf("the ListenerSet: want Accepted=%s, %s: %v", status, reason, err)
		}
	}
	says(metav1.ConditionTrue, "Accepted")
	url := "http://" + c.Programmed(t, infra, "shared") + ":8080/"
	c.Want(t, 200, cluster.Request{URL: url})

	c.Apply(t, infra, admits("Same"))
	says(metav1.ConditionFalse, "NotAllowed")
	cluster.Eventually(t, "its port is closed", func(ctx context.Context) error {
		if r, err := c.Send(ctx, cluster.Request{URL: url}); err == nil {
			return fmt.Errorf("it answers %d", r.Status)
		}
		return nil
	})
	c.Want(t, 404, cluster.Request{URL: "http://" + c.Programmed(t, infra, "shared") + "/"})
}
