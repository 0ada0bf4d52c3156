//go:build e2e

package gateway

import (
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A service says of each request whether it may pass, and nothing passes where it
// cannot be asked. The echo server answers /status/N with N.
func TestExternalAuth(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	filter := func(service string) string {
		return "filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: " + service +
			", port: 80}, http: {path: /status, allowedResponseHeaders: [X-User]}}}], backendRefs: [{name: web, port: 80}]"
	}
	c.Apply(t, ns, backend("web")+backend("auth")+`
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{port: 80}], selector: {app: none}}
---
`+gateway("web", "")+
		route("checked", "web", "  - {matches: [{path: {value: /}}], "+filter("auth")+"}\n  - {matches: [{path: {value: /unanswered}}], "+filter("empty")+"}\n")+
		route("missing", "web", "  - {matches: [{path: {value: /missing}}], "+filter("missing")+"}\n"))
	base := "http://" + c.Programmed(t, ns, "web")
	routeSays(t, c, ns, "checked", "ResolvedRefs", metav1.ConditionTrue, "ResolvedRefs")
	routeSays(t, c, ns, "missing", "ResolvedRefs", metav1.ConditionFalse, "BackendNotFound")

	if e := echo(t, c.Want(t, 200, cluster.Request{URL: base + "/200"}).Body); e.Path != "/200" {
		t.Errorf("the backend saw path %s, want /200", e.Path)
	}
	c.Want(t, 401, cluster.Request{URL: base + "/401"})
	c.Want(t, 503, cluster.Request{URL: base + "/500"})
	c.Want(t, 503, cluster.Request{URL: base + "/unanswered"})
	c.Want(t, 500, cluster.Request{URL: base + "/missing"})
}
