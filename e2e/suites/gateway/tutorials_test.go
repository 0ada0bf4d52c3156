//go:build e2e

package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// What people try first, in the order of the tutorials that they come from.

// answeredBy says which backend's pod answered.
func answeredBy(t *testing.T, c *cluster.Cluster, r cluster.Request, backend string) echoed {
	t.Helper()
	e := echo(t, c.Want(t, 200, r).Body)
	if !strings.HasPrefix(e.Pod, backend+"-") {
		t.Errorf("%s (Host %s, %v) was answered by %s; want %s", r.URL, r.Host, r.Header, e.Pod, backend)
	}
	return e
}

func TestHttpbinSequence(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("httpbin")+backend("next")+gateway("web", ""))
	base := "http://" + c.Programmed(t, ns, "web")

	c.Apply(t, ns, route("httpbin", "web", `
  - matches: [{path: {type: Exact, value: /get}}]
    backendRefs: [{name: httpbin, port: 80}]
`))
	routeSays(t, c, ns, "httpbin", "Accepted", metav1.ConditionTrue, "Accepted")
	c.Want(t, 200, cluster.Request{URL: base + "/get"})
	c.Want(t, 404, cluster.Request{URL: base + "/get/more"})
	c.Want(t, 404, cluster.Request{URL: base + "/status/200"})

	c.Apply(t, ns, route("httpbin", "web", `
  - matches: [{path: {value: /api/httpbin}, headers: [{name: X-Dark, value: launch}]}]
    backendRefs: [{name: next, port: 80}]
  - matches: [{path: {value: /api/httpbin}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: Authorization, value: "Basic dXNlcjpwYXNz"}]}}
    backendRefs: [{name: httpbin, port: 80}]
`))
	c.Want(t, 404, cluster.Request{URL: base + "/get"})
	e := answeredBy(t, c, cluster.Request{URL: base + "/api/httpbin/get"}, "httpbin")
	if a := e.Headers["Authorization"]; e.Path != "/get" || len(a) != 1 || a[0] != "Basic dXNlcjpwYXNz" {
		t.Errorf("the backend saw %s with Authorization %v; want /get and the one that the route adds", e.Path, a)
	}
	answeredBy(t, c, cluster.Request{URL: base + "/api/httpbin/get", Header: map[string]string{"X-Dark": "launch"}}, "next")
}

func TestShares(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("stable")+backend("canary")+gateway("web", "")+route("shares", "web", `
  - matches: [{path: {value: /half}}]
    backendRefs: [{name: stable, port: 80, weight: 50}, {name: canary, port: 80, weight: 50}]
  - matches: [{path: {value: /few}}]
    backendRefs: [{name: stable, port: 80, weight: 99}, {name: canary, port: 80, weight: 1}]
  - matches: [{path: {value: /missing}}]
    backendRefs: [{name: stable, port: 80}, {name: nowhere, port: 80}]
`))
	base := "http://" + c.Programmed(t, ns, "web")
	routeSays(t, c, ns, "shares", "ResolvedRefs", metav1.ConditionFalse, "BackendNotFound")
	// Both backends are known to every Envoy once so many requests in a row are
	// answered by either.
	cluster.Eventually(t, "both backends serve", func(ctx context.Context) error {
		for range 40 {
			r, err := c.Send(ctx, cluster.Request{URL: base + "/half"})
			if err != nil {
				return err
			}
			if r.Status != 200 {
				return fmt.Errorf("status %d: %.300s", r.Status, r.Body)
			}
		}
		return nil
	})
	for path, want := range map[string]struct{ requests, least, most int }{
		// Binomial; the bounds are five standard deviations away, or where the
		// chance of a miss is below one in 100 million: 0.99^2000 is 2e-9.
		"/half":    {500, 194, 306},
		"/few":     {2000, 1, 50},
		"/missing": {500, 194, 306},
	} {
		other := 0
		for range want.requests {
			r, err := c.Send(t.Context(), cluster.Request{URL: base + path})
			switch {
			case err != nil:
				t.Fatal(err)
			case path == "/missing" && r.Status == 500:
				other++
			case r.Status != 200:
				t.Fatalf("%s: status %d", path, r.Status)
			case strings.HasPrefix(echo(t, r.Body).Pod, "canary-"):
				other++
			}
		}
		if other < want.least || other > want.most {
			t.Errorf("%s: the second backend got %d of %d requests; want %d to %d", path, other, want.requests, want.least, want.most)
		}
	}
}

func TestBookinfoSequence(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("details")+backend("productpage")+gateway("bookinfo", "")+route("pages", "bookinfo", `
  - matches: [{path: {value: /details}}]
    backendRefs: [{name: details, port: 80}]
  - matches:
    - method: GET
      headers: [{name: magic, value: foo}]
      queryParams: [{name: great, value: example}]
      path: {value: /}
    backendRefs: [{name: productpage, port: 80}]
`))
	base := "http://" + c.Programmed(t, ns, "bookinfo")
	answeredBy(t, c, cluster.Request{URL: base + "/details/1"}, "details")
	magic := map[string]string{"magic": "foo"}
	answeredBy(t, c, cluster.Request{URL: base + "/?great=example", Header: magic}, "productpage")
	c.Want(t, 404, cluster.Request{URL: base + "/?great=example"})
	c.Want(t, 404, cluster.Request{URL: base + "/?great=other", Header: magic})
	c.Want(t, 404, cluster.Request{URL: base + "/", Header: magic})
}

func TestTwoHostnamesOfOneSecret(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	certificate, key, roots := selfSigned(t, "one.example", "two.example")
	if err := c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "both"},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, ns, backend("one")+backend("two")+gateway("web", `
  - {name: one, protocol: HTTPS, port: 443, hostname: one.example, tls: {certificateRefs: [{name: both}]}}
  - {name: two, protocol: HTTPS, port: 443, hostname: two.example, tls: {certificateRefs: [{name: both}]}}
`)+attached("HTTPRoute", "one", "{name: web, sectionName: one}", "", "one", 80)+attached("HTTPRoute", "two", "{name: web, sectionName: two}", "", "two", 80))
	url := "https://" + c.Programmed(t, ns, "web") + "/"
	answeredBy(t, c, cluster.Request{URL: url, Host: "one.example", RootCAs: roots}, "one")
	answeredBy(t, c, cluster.Request{URL: url, Host: "two.example", RootCAs: roots}, "two")
}

// attached is a route of any kind to a backend; more is YAML of its spec.
func attached(kind, name, parent, more, backend string, port int) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s}
spec:
  parentRefs: [%s]
%s  rules: [{backendRefs: [{name: %s, port: %d}]}]
---
`, kind, name, parent, more, backend, port)
}

func TestPassthroughByServerName(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	certificate, key, roots := selfSigned(t, "inner.example")
	if err := c.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "inner"},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, ns, tlsBackend("inner", "inner")+gateway("through", `
  - {name: tls, protocol: TLS, port: 443, tls: {mode: Passthrough}}
`)+attached("TLSRoute", "inner", "{name: through}", "  hostnames: [inner.example]\n", "inner", 443))
	url := "https://" + c.Programmed(t, ns, "through") + "/"
	// Only the backend has the certificate.
	answeredBy(t, c, cluster.Request{URL: url, Host: "inner.example", RootCAs: roots}, "inner")
	if r, err := c.Send(t.Context(), cluster.Request{URL: url, Host: "other.example", RootCAs: roots}); err == nil {
		t.Errorf("a server name that no route has: status %d; want no connection", r.Status)
	}
}

// tlsBackend is a backend that speaks TLS with the key pair of a Secret.
func tlsBackend(name, secret string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: echo
        image: registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.3
        readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        - {name: TLS_SERVER_CERT, value: /certificate/tls.crt}
        - {name: TLS_SERVER_PRIVKEY, value: /certificate/tls.key}
        volumeMounts: [{name: certificate, mountPath: /certificate}]
      volumes: [{name: certificate, secret: {secretName: %[2]s}}]
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  ports: [{port: 443, targetPort: 8443}]
  selector: {app: %[1]s}
---
`, name, secret)
}

func TestTwoTCPListeners(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("foo")+backend("bar")+gateway("tcp", `
  - {name: foo, protocol: TCP, port: 8080}
  - {name: bar, protocol: TCP, port: 8090}
`)+attached("TCPRoute", "foo", "{name: tcp, sectionName: foo}", "", "foo", 80)+attached("TCPRoute", "bar", "{name: tcp, sectionName: bar}", "", "bar", 80))
	address := c.Programmed(t, ns, "tcp")
	answeredBy(t, c, cluster.Request{URL: "http://" + address + ":8080/"}, "foo")
	answeredBy(t, c, cluster.Request{URL: "http://" + address + ":8090/"}, "bar")
}

// One Gateway for many teams: who may attach is the Gateway's to say.
func TestTeamsShareAGateway(t *testing.T) {
	c := cluster.ForTest(t)
	infra, red, blue, stranger := c.Namespace(t), c.Namespace(t), c.Namespace(t), c.Namespace(t)
	for _, ns := range []string{red, blue} {
		if _, err := c.Kubectl("label", "namespace", ns, "gateway-access="+infra); err != nil {
			t.Fatal(err)
		}
	}
	c.Apply(t, infra, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shared}
spec:
  gatewayClassName: porchlight
  listeners:
  - {name: http, protocol: HTTP, port: 80, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {gateway-access: %s}}}}}
---
`, infra))
	parent := "{name: shared, namespace: " + infra + "}"
	for ns, host := range map[string]string{red: "red.example", blue: "blue.example", stranger: "stranger.example"} {
		c.Apply(t, ns, backend("site")+attached("HTTPRoute", "site", parent, "  hostnames: ["+host+"]\n", "site", 80))
	}
	url := "http://" + c.Programmed(t, infra, "shared") + "/"
	answeredBy(t, c, cluster.Request{URL: url, Host: "red.example"}, "site")
	answeredBy(t, c, cluster.Request{URL: url, Host: "blue.example"}, "site")
	routeSays(t, c, stranger, "site", "Accepted", metav1.ConditionFalse, string(gatewayv1.RouteReasonNotAllowedByListeners))
	c.Want(t, 404, cluster.Request{URL: url, Host: "stranger.example"})

	if _, err := c.Kubectl("label", "namespace", stranger, "gateway-access="+infra); err != nil {
		t.Fatal(err)
	}
	routeSays(t, c, stranger, "site", "Accepted", metav1.ConditionTrue, "Accepted")
	answeredBy(t, c, cluster.Request{URL: url, Host: "stranger.example"}, "site")
}

// Or each team has its own: none sees what is another's, and a route that
// names the Gateway of another team is refused.
func TestTeamsWithAGatewayEach(t *testing.T) {
	c := cluster.ForTest(t)
	red, blue := c.Namespace(t), c.Namespace(t)
	for _, ns := range []string{red, blue} {
		c.Apply(t, ns, backend("site")+gateway("own", "")+attached("HTTPRoute", "site", "{name: own}", "", "site", 80))
	}
	c.Apply(t, blue, attached("HTTPRoute", "intruder", "{name: own, namespace: "+red+"}", "  hostnames: [intruder.example]\n", "site", 80))
	url := map[string]string{}
	for _, ns := range []string{red, blue} {
		url[ns] = "http://" + c.Programmed(t, ns, "own") + "/"
		if e := answeredBy(t, c, cluster.Request{URL: url[ns]}, "site"); e.Namespace != ns {
			t.Errorf("the Gateway of %s is answered from %s", ns, e.Namespace)
		}
	}
	if url[red] == url[blue] {
		t.Errorf("both are at %s", url[red])
	}
	routeSays(t, c, blue, "intruder", "Accepted", metav1.ConditionFalse, string(gatewayv1.RouteReasonNotAllowedByListeners))
	if e := answeredBy(t, c, cluster.Request{URL: url[red], Host: "intruder.example"}, "site"); e.Namespace != red {
		t.Errorf("a route of %s took traffic of %s", e.Namespace, red)
	}
}
