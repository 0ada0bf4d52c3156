//go:build e2e

// Package gateway shows the Gateway API through real Envoys: what people's
// first hour with it looks like, and what they see when they get it wrong.
package gateway

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// backend is one pod that answers with what it was asked, behind a Service.
func backend(name string) string {
	return cluster.Echo("Deployment", name) + fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec:
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: %[1]s}
---
`, name)
}

// gateway has one HTTP listener, and more, which is YAML of a list.
func gateway(name, listeners string) string {
	return gatewayOf("porchlight", name, "", listeners)
}

// gatewayOf is gateway of a class, with another field of the spec, or none.
func gatewayOf(class, name, field, listeners string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s}
spec:
  gatewayClassName: %s
  %s
  listeners:
  - {name: http, protocol: HTTP, port: 80}
%s---
`, name, class, field, listeners)
}

// route sends what the rules, YAML of a list, match.
func route(name, gateway, rules string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: %s}]
  rules:
%s---
`, name, gateway, rules)
}

// gatewaySays waits for a condition on the Gateway.
func gatewaySays(t *testing.T, c *cluster.Cluster, ns, name, kind string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := c.Await(t.Context(), g, &gatewayv1.GatewayList{}, func() bool {
		return cluster.Condition(g.Status.Conditions, kind, status, reason)
	}); err != nil {
		t.Fatalf("gateway %s: want %s=%s, %s: %v", name, kind, status, reason, err)
	}
}

// routeSays waits for a condition on the route's only parent.
func routeSays(t *testing.T, c *cluster.Cluster, ns, name, kind string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := c.Await(t.Context(), r, &gatewayv1.HTTPRouteList{}, func() bool {
		return len(r.Status.Parents) == 1 && cluster.Condition(r.Status.Parents[0].Conditions, kind, status, reason)
	}); err != nil {
		t.Fatalf("route %s: want %s=%s, %s: %v", name, kind, status, reason, err)
	}
}

// echoed is what a backend says of the request it got.
type echoed struct {
	Path    string              `json:"path"`
	Host    string              `json:"host"`
	Headers map[string][]string `json:"headers"`
	Pod     string              `json:"pod"`

	Namespace string `json:"namespace"`
}

func echo(t *testing.T, body string) echoed {
	t.Helper()
	var e echoed
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("the backend's answer: %v: %s", err, body)
	}
	return e
}

func TestRewriteHeaderMatchAndSplit(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("stable")+backend("canary")+gateway("web", "")+
		route("paths", "web", `
  - matches: [{path: {type: PathPrefix, value: /api}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Porch, value: light}]}}
    backendRefs: [{name: stable, port: 80}]
  - matches: [{path: {value: /}, headers: [{name: X-Dark, value: launch}]}]
    backendRefs: [{name: canary, port: 80}]
  - matches: [{path: {value: /split}}]
    backendRefs: [{name: stable, port: 80, weight: 90}, {name: canary, port: 80, weight: 10}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 301}}]
  - matches: [{path: {value: /}}]
    backendRefs: [{name: stable, port: 80}]
`))
	base := "http://" + c.Programmed(t, ns, "web")
	routeSays(t, c, ns, "paths", "Accepted", metav1.ConditionTrue, "Accepted")

	e := echo(t, c.Want(t, 200, cluster.Request{URL: base + "/api/users"}).Body)
	if e.Path != "/v1/users" || len(e.Headers["X-Porch"]) != 1 {
		t.Errorf("the backend saw path %s and headers %v; want /v1/users with X-Porch", e.Path, e.Headers)
	}
	if e := echo(t, c.Want(t, 200, cluster.Request{URL: base + "/apiary"}).Body); e.Path != "/apiary" {
		t.Errorf("the backend saw %s; a prefix matches whole path elements", e.Path)
	}
	if e := echo(t, c.Want(t, 200, cluster.Request{URL: base + "/", Header: map[string]string{"X-Dark": "launch"}}).Body); !strings.HasPrefix(e.Pod, "canary") {
		t.Errorf("%s answered a request with the canary's header", e.Pod)
	}
	if r := c.Want(t, 301, cluster.Request{URL: base + "/old/page"}); r.Header.Get("Location") != "http://new.example/old/page" {
		t.Errorf("redirected to %s", r.Header.Get("Location"))
	}

	const requests = 500
	canary := 0
	for range requests {
		if strings.HasPrefix(echo(t, c.Want(t, 200, cluster.Request{URL: base + "/split"}).Body).Pod, "canary") {
			canary++
		}
	}
	// Binomial, n = 500, p = 0.1: six standard deviations are 40.
	if canary < 10 || canary > 90 {
		t.Errorf("the canary answered %d of %d requests; want about 50", canary, requests)
	}
}

func TestBadBackendsFailAlone(t *testing.T) {
	c := cluster.ForTest(t)
	ns, other := c.Namespace(t), c.Namespace(t)
	c.Apply(t, other, backend("theirs"))
	c.Apply(t, ns, backend("fine")+`
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {ports: [{port: 80}], selector: {app: none}}
---
`+gateway("web", "")+
		route("absent", "web", "  - {matches: [{path: {value: /absent}}], backendRefs: [{name: nowhere, port: 80}]}\n")+
		route("ungranted", "web", "  - {matches: [{path: {value: /ungranted}}], backendRefs: [{name: theirs, namespace: "+other+", port: 80}]}\n")+
		route("empty", "web", "  - {matches: [{path: {value: /empty}}], backendRefs: [{name: empty, port: 80}]}\n")+
		route("fine", "web", "  - {matches: [{path: {value: /fine}}], backendRefs: [{name: fine, port: 80}]}\n"))
	base := "http://" + c.Programmed(t, ns, "web")

	routeSays(t, c, ns, "absent", "ResolvedRefs", metav1.ConditionFalse, "BackendNotFound")
	eventOn(t, c, "HTTPRoute", ns, "absent", "BackendNotFound")
	c.Want(t, 500, cluster.Request{URL: base + "/absent"})
	routeSays(t, c, ns, "ungranted", "ResolvedRefs", metav1.ConditionFalse, "RefNotPermitted")
	c.Want(t, 500, cluster.Request{URL: base + "/ungranted"})
	routeSays(t, c, ns, "empty", "ResolvedRefs", metav1.ConditionTrue, "ResolvedRefs")
	c.Want(t, 503, cluster.Request{URL: base + "/empty"})
	c.Want(t, 200, cluster.Request{URL: base + "/fine"})
	c.Want(t, 404, cluster.Request{URL: base + "/"})

	c.Apply(t, other, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: let}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: %s}]
  to: [{group: "", kind: Service}]
`, ns))
	routeSays(t, c, ns, "ungranted", "ResolvedRefs", metav1.ConditionTrue, "ResolvedRefs")
	eventOn(t, c, "HTTPRoute", ns, "ungranted", "ResolvedRefs")
	c.Want(t, 200, cluster.Request{URL: base + "/ungranted"})
}

func TestTLSAndItsMissingSecret(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("web")+gateway("web", `
  - {name: https, protocol: HTTPS, port: 443, hostname: secure.example, tls: {certificateRefs: [{name: secure}]}}
`)+route("all", "web", "  - {backendRefs: [{name: web, port: 80}]}\n"))

	// Its Secret is not there yet.
	listenerSays(t, c, ns, "web", "https", "ResolvedRefs", metav1.ConditionFalse, "InvalidCertificateRef")
	address := c.Programmed(t, ns, "web")
	c.Want(t, 200, cluster.Request{URL: "http://" + address + "/"})

	certificate, key, roots := selfSigned(t, "secure.example")
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "secure"},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	c.Want(t, 200, cluster.Request{URL: "https://" + address + "/", Host: "secure.example", RootCAs: roots})

	// A new certificate takes the old one's place without a restart.
	certificate, key, roots = selfSigned(t, "secure.example")
	secret.Data = map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	c.Want(t, 200, cluster.Request{URL: "https://" + address + "/", Host: "secure.example", RootCAs: roots})
}

// selfSigned makes a key pair for the hosts, in PEM, and a pool that trusts it.
func selfSigned(t *testing.T, host string, more ...string) (certificate, key []byte, roots *x509.CertPool) {
	t.Helper()
	certificate, key, err := cluster.KeyPair(host, more...)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return certificate, key, roots
}

// Any number of Gateways may use port 80: each has an address of its own, and
// none serves what is another's.
func TestGatewaysShareTheFleetButNotThePort(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, backend("one")+backend("two")+gateway("first", "")+gateway("second", "")+
		route("one", "first", "  - {backendRefs: [{name: one, port: 80}]}\n")+
		route("two", "second", "  - {backendRefs: [{name: two, port: 80}]}\n"))
	first, second := c.Programmed(t, ns, "first"), c.Programmed(t, ns, "second")
	if first == second {
		t.Fatalf("both gateways have the address %s", first)
	}
	for address, pod := range map[string]string{first: "one", second: "two"} {
		if e := echo(t, c.Want(t, 200, cluster.Request{URL: "http://" + address + "/"}).Body); !strings.HasPrefix(e.Pod, pod) {
			t.Errorf("%s was answered by %s; want %s", address, e.Pod, pod)
		}
	}
}

// A Gateway that goes leaves nothing: its Service goes, and its address is free.
func TestGatewayDeleted(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, gateway("brief", ""))
	address := c.Programmed(t, ns, "brief")
	if err := c.Delete(t.Context(), &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "brief"}}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the gateway's Service is gone", func(ctx context.Context) error {
		out, err := c.Kubectl("get", "svc,endpointslice", "-n", ns, "-o", "name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("still there: %s", out)
		}
		return err
	})
	c.Apply(t, ns, gatewayOf("porchlight", "heir", "addresses: [{value: "+address+"}]", ""))
	if got := c.Programmed(t, ns, "heir"); got != address {
		t.Errorf("another Gateway asks for the address %s that is free, and has %s", address, got)
	}
}
