//go:build e2e

package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// What people get wrong has a reason, and what is beside it is served.

// secret makes a Secret of type kubernetes.io/tls.
func secret(t *testing.T, c *cluster.Cluster, ns, name string, certificate, key []byte) {
	t.Helper()
	if err := c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}); err != nil {
		t.Fatal(err)
	}
}

// listenerSays waits for a condition on a listener.
func listenerSays(t *testing.T, c *cluster.Cluster, ns, gateway, listener, kind string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: gateway}}
	if err := c.Await(t.Context(), g, &gatewayv1.GatewayList{}, func() bool {
		for _, l := range g.Status.Listeners {
			if string(l.Name) == listener {
				return cluster.Condition(l.Conditions, kind, status, reason)
			}
		}
		return false
	}); err != nil {
		t.Errorf("listener %s of gateway %s: want %s=%s, %s: %v", listener, gateway, kind, status, reason, err)
	}
}

func TestBadCertificates(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	certificate, key, roots := selfSigned(t, "fine.example")
	secret(t, c, ns, "fine", certificate, key)
	_, other, _ := selfSigned(t, "fine.example")
	secret(t, c, ns, "mismatched", certificate, other)
	secret(t, c, ns, "garbage", []byte("certificate"), []byte("key"))
	ends := time.Now().Add(15 * time.Second).Truncate(time.Second)
	certificate, key, err := cluster.KeyPairUntil(ends, "brief.example")
	if err != nil {
		t.Fatal(err)
	}
	secret(t, c, ns, "brief", certificate, key)
	listeners := ""
	for _, name := range []string{"fine", "mismatched", "garbage", "brief"} {
		listeners += fmt.Sprintf("  - {name: %[1]s, protocol: HTTPS, port: 443, hostname: %[1]s.example, tls: {certificateRefs: [{name: %[1]s}]}}\n", name)
	}
	c.Apply(t, ns, backend("web")+gateway("web", listeners)+route("all", "web", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	address := c.Programmed(t, ns, "web")
	listenerSays(t, c, ns, "web", "mismatched", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef")
	listenerSays(t, c, ns, "web", "garbage", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef")
	// Nobody changes an object when it ends.
	listenerSays(t, c, ns, "web", "brief", "ResolvedRefs", metav1.ConditionFalse, "CertificateExpired")
	if now := time.Now(); now.Before(ends) {
		t.Errorf("said to have expired %v before", ends.Sub(now))
	}
	listenerSays(t, c, ns, "web", "brief", "Programmed", metav1.ConditionTrue, "Programmed")
	cluster.Eventually(t, "the expired certificate is shown", func(ctx context.Context) error {
		_, err := c.Send(ctx, cluster.Request{URL: "https://" + address + "/", Host: "brief.example"})
		if err != nil && strings.Contains(err.Error(), "certificate has expired") {
			return nil
		}
		return fmt.Errorf("the answer is %w; want it refused as expired", err)
	})
	c.Want(t, 200, cluster.Request{URL: "https://" + address + "/", Host: "fine.example", RootCAs: roots})
	c.Want(t, 200, cluster.Request{URL: "http://" + address + "/"})
}

func TestBadRules(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	bad := map[string]string{
		"extension": "matches: [{path: {value: /extension}}], filters: [{type: ExtensionRef, extensionRef: {group: example.com, kind: Custom, name: x}}]",
		"regex":     "matches: [{path: {type: RegularExpression, value: '/regex(?=x)'}}, {path: {value: /regex}}]",
		"class":     `matches: [{path: {type: RegularExpression, value: '/class/\p{Letter}+'}}, {path: {value: /class}}]`,
		"lines":     `matches: [{path: {value: /lines}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: "/a\nb"}}}]`,
		"large":     `matches: [{path: {value: /large}, headers: [{name: x, type: RegularExpression, value: '\p{L}{1,900}'}]}, {path: {value: /large}}]`,
	}
	text := backend("web") + gateway("web", "") + route("fine", "web", "  - {matches: [{path: {value: /fine}}], backendRefs: [{name: web, port: 80}]}\n")
	for name, rule := range bad {
		text += route(name, "web", "  - {"+rule+", backendRefs: [{name: web, port: 80}]}\n")
	}
	text += route("kind", "web", "  - {matches: [{path: {value: /kind}}], backendRefs: [{group: example.com, kind: Bucket, name: web, port: 80}]}\n")
	c.Apply(t, ns, text)
	base := "http://" + c.Programmed(t, ns, "web")
	for name := range bad {
		routeSays(t, c, ns, name, "Accepted", metav1.ConditionFalse, "UnsupportedValue")
		c.Want(t, 500, cluster.Request{URL: base + "/" + name})
	}
	routeSays(t, c, ns, "kind", "ResolvedRefs", metav1.ConditionFalse, "InvalidKind")
	c.Want(t, 500, cluster.Request{URL: base + "/kind"})
	c.Want(t, 200, cluster.Request{URL: base + "/fine"})
}

// A route with as many hostnames as it may have, and as many such routes as it
// takes for 64 KiB, on twenty Gateways.
func TestManyHostnamesOnTwentyGateways(t *testing.T) {
	const gateways = 20
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	text, parents := backend("web"), ""
	for i := range gateways {
		text += gateway(fmt.Sprintf("gw%d", i), "")
		parents += fmt.Sprintf("  - {name: gw%d}\n", i)
	}
	label := strings.Repeat("x", 60)
	size, last := 0, ""
	for n := 0; size < 64<<10; n++ {
		text += fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: many-%d}\nspec:\n  parentRefs:\n%s  hostnames:\n", n, parents)
		for i := range 16 {
			last = fmt.Sprintf("h%d.n%d.%s.%s.%s.example", i, n, label, label, label)
			size += len(last)
			text += "  - " + last + "\n"
		}
		text += "  rules: [{backendRefs: [{name: web, port: 80}]}]\n---\n"
	}
	c.Apply(t, ns, text)
	for i := range gateways {
		url := "http://" + c.Programmed(t, ns, fmt.Sprintf("gw%d", i)) + "/"
		c.Want(t, 200, cluster.Request{URL: url, Host: last})
		c.Want(t, 404, cluster.Request{URL: url, Host: "other.example"})
	}
}

// What an Envoy refuses is an event on what it is about and is counted, and
// other changes go on to be served. The lab's image of Envoy has no CA
// certificates for a policy that trusts those of the system.
func TestRefusedConfiguration(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	certificate, key, _ := selfSigned(t, "inner.example")
	secret(t, c, ns, "inner", certificate, key)
	c.Apply(t, ns, tlsBackend("inner", "inner")+backend("web")+gateway("web", "")+`
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: inner}
spec:
  targetRefs: [{group: "", kind: Service, name: inner}]
  validation: {hostname: inner.example, wellKnownCACertificates: System}
---
`+route("inner", "web", "  - {matches: [{path: {value: /inner}}], backendRefs: [{name: inner, port: 443}]}\n"))
	base := "http://" + c.Programmed(t, ns, "web")
	p := &gatewayv1.BackendTLSPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "inner"}}
	if err := c.Await(t.Context(), p, &gatewayv1.BackendTLSPolicyList{}, func() bool {
		return len(p.Status.Ancestors) == 1 && cluster.Condition(p.Status.Ancestors[0].Conditions, "Accepted", metav1.ConditionTrue, "Accepted")
	}); err != nil {
		t.Fatalf("the policy: want it accepted: %v", err)
	}
	c.Want(t, 503, cluster.Request{URL: base + "/inner"})
	c.Apply(t, ns, route("later", "web", "  - {matches: [{path: {value: /later}}], backendRefs: [{name: web, port: 80}]}\n"))
	c.Want(t, 200, cluster.Request{URL: base + "/later"})

	refusalOn(t, c, "EnvoyFleet", cluster.System, "porchlight-envoy")
	var pods corev1.PodList
	if err := c.List(t.Context(), &pods, client.InNamespace(cluster.System), client.MatchingLabels{"app.kubernetes.io/component": "gateway"}); err != nil {
		t.Fatal(err)
	}
	sum := map[string]float64{}
	for i := range pods.Items {
		m, err := c.Metrics(t.Context(), &pods.Items[i])
		if err != nil {
			t.Fatal(err)
		}
		for series, v := range m {
			sum[series] += v
		}
	}
	for _, series := range []string{
		`porchlight_gateway_translation_seconds_count`,
		`porchlight_xds_resources{fleet="porchlight-system/porchlight-envoy",type="Listener"}`,
		`porchlight_xds_pushes_total{type="RouteConfiguration"}`,
		`porchlight_xds_pushed_resources_total{type="RouteConfiguration"}`,
		`porchlight_xds_ack_seconds_count{type="RouteConfiguration"}`,
		`porchlight_xds_refusals_total{reason="Resource",type="Secret"}`,
	} {
		if sum[series] == 0 {
			t.Errorf("the metrics of the gateways have no %s", series)
		}
	}
}

// refusalOn waits for the event that Envoys refuse what is made from an object.
func refusalOn(t *testing.T, c *cluster.Cluster, kind, ns, name string) {
	t.Helper()
	eventOn(t, c, kind, ns, name, "ConfigurationRefused")
}

// eventOn waits for an event on an object.
func eventOn(t *testing.T, c *cluster.Cluster, kind, ns, name, reason string) {
	t.Helper()
	cluster.Eventually(t, reason+" is an event on "+kind+" "+name, func(ctx context.Context) error {
		var list eventsv1.EventList
		if err := c.List(ctx, &list); err != nil {
			return err
		}
		for _, e := range list.Items {
			if o := e.Regarding; e.Reason == reason && o.Kind == kind && o.Namespace == ns && o.Name == name {
				return nil
			}
		}
		return fmt.Errorf("it is not among %d events", len(list.Items))
	})
}

// An access log that Envoy would not understand is said on the EnvoyFleet that
// asks for it, with an event. Listeners that come later are served all the same,
// and what is asked is logged in Envoy's own format.
func TestRefusedAccessLog(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	logging := func(text string) string {
		return cluster.Fleet("logging", "{replicas: 1, drainTime: 1s, accessLog: {text: '"+text+"'}}")
	}
	c.Apply(t, ns, logging("asked for %REQ(:PATH)%")+backend("web")+gatewayOf("logging", "logged", "", "")+gateway("beside", "")+
		route("logged", "logged", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	base := "http://" + c.Programmed(t, ns, "logged")
	c.Want(t, 200, cluster.Request{URL: base + "/first"})

	c.Apply(t, ns, logging("asked for %NO_SUCH_COMMAND%"))
	eventOn(t, c, "EnvoyFleet", cluster.System, "logging", "AccessLogRefused")
	f := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "logging"}}
	says := func(status metav1.ConditionStatus, reason string) {
		t.Helper()
		if err := c.Await(t.Context(), f, &v1beta1.EnvoyFleetList{}, func() bool {
			return cluster.Condition(f.Status.Conditions, "Ready", status, reason)
		}); err != nil {
			t.Errorf("fleet logging: want Ready=%s, %s: %v", status, reason, err)
		}
	}
	says(metav1.ConditionFalse, "AccessLogRefused")
	late := strings.Replace(gateway("late", ""), "gatewayClassName: porchlight", "gatewayClassName: logging", 1)
	c.Apply(t, ns, late+route("late", "late", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	c.Want(t, 200, cluster.Request{URL: "http://" + c.Programmed(t, ns, "late") + "/late"})
	c.Apply(t, ns, route("logged", "logged", "  - {matches: [{path: {type: Exact, value: /later}}], backendRefs: [{name: web, port: 80}]}\n"))
	c.Want(t, 404, cluster.Request{URL: base + "/first"})
	c.Want(t, 200, cluster.Request{URL: base + "/later"})
	c.Apply(t, ns, route("beside", "beside", "  - {backendRefs: [{name: web, port: 80}]}\n"))
	c.Want(t, 200, cluster.Request{URL: "http://" + c.Programmed(t, ns, "beside") + "/"})

	c.Apply(t, ns, logging("now asked for %REQ(:PATH)%"))
	says(metav1.ConditionTrue, "Ready")
	// Envoy writes its lines out every ten seconds.
	cluster.Eventually(t, "requests are logged, in the format that holds", func(ctx context.Context) error {
		if _, err := c.Send(ctx, cluster.Request{URL: base + "/anew"}); err != nil {
			return err
		}
		out, err := c.Kubectl("logs", "-n", cluster.System, "-l", "porchlight.dev/fleet=logging", "-c", "envoy", "--tail=-1")
		for _, line := range []string{"\nasked for /first\n", `"GET /late HTTP/1.1" 200`, `"GET /later HTTP/1.1" 200`, "\nnow asked for /anew\n"} {
			if err == nil && !strings.Contains("\n"+out, line) {
				err = fmt.Errorf("%q is not in the log:\n%s", line, out)
			}
		}
		return err
	})
}
