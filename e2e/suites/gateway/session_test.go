//go:build e2e

package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A client with a session keeps its pod, whichever Envoy it comes by and
// whatever becomes of the weights, and gets another when that one goes. What
// cannot be had is refused.
func TestSessionKeepsItsPod(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	split := func(stable, canary int) string {
		return route("paths", "web", fmt.Sprintf(`
  - matches: [{path: {value: /shop}}]
    sessionPersistence: {sessionName: SHOP}
    backendRefs: [{name: stable, port: 80, weight: %d}, {name: canary, port: 80, weight: %d}]
`, stable, canary))
	}
	c.Apply(t, ns, backend("stable")+strings.Replace(backend("canary"), "spec:\n  selector", "spec:\n  replicas: 2\n  selector", 1)+
		gateway("web", "")+split(1, 1)+
		route("ended", "web", `
  - matches: [{path: {value: /ended}}]
    sessionPersistence: {type: Header, absoluteTimeout: 1h}
    backendRefs: [{name: stable, port: 80}]
`))
	base := "http://" + c.Programmed(t, ns, "web")
	routeSays(t, c, ns, "ended", "Accepted", metav1.ConditionFalse, "UnsupportedValue")
	canary := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "canary"}}
	if err := c.Await(t.Context(), canary, &appsv1.DeploymentList{}, func() bool { return canary.Status.ReadyReplicas == 2 }); err != nil {
		t.Fatal(err)
	}

	// get returns the pod that answers, and the session that it gives.
	get := func(session string) (pod, given string) {
		t.Helper()
		r := c.Want(t, 200, cluster.Request{URL: base + "/shop/cart", Header: map[string]string{"Cookie": session}})
		given, attributes, _ := strings.Cut(r.Header.Get("Set-Cookie"), ";")
		if given != "" && !strings.Contains(attributes, "Path=/shop;") {
			t.Errorf("the cookie has the attributes %s; want the path /shop", attributes)
		}
		return echo(t, r.Body).Pod, given
	}
	kept := func(session, pod string) {
		t.Helper()
		for range 50 {
			if got, again := get(session); got != pod || again != "" {
				t.Fatalf("session %s is answered by %s and given %q; want %s and none", session, got, again, pod)
			}
		}
	}
	var pod, session string
	cluster.Eventually(t, "a new client gets a pod of canary", func(context.Context) error {
		if pod, session = get(""); !strings.HasPrefix(pod, "canary") {
			return fmt.Errorf("%s answers", pod)
		}
		return nil
	})
	kept(session, pod)

	c.Apply(t, ns, split(1, 0))
	cluster.Eventually(t, "new clients get no pod of canary", func(context.Context) error {
		for range 20 {
			if p, _ := get(""); strings.HasPrefix(p, "canary") {
				return fmt.Errorf("%s answers", p)
			}
		}
		return nil
	})
	kept(session, pod)

	if _, err := c.Kubectl("delete", "pod", "--namespace", ns, "--wait", pod); err != nil {
		t.Fatal(err)
	}
	var other, next string
	cluster.Eventually(t, "the client of a pod that is gone gets another", func(context.Context) error {
		if other, next = get(session); other == pod || next == "" {
			return fmt.Errorf("%s answers, and gives %q", other, next)
		}
		return nil
	})
	kept(next, other)
}
