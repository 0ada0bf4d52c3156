//go:build e2e

package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// configMap has CA certificates.
func configMap(name string, certificates ...[]byte) string {
	text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata:\n  ca.crt: |\n", name)
	for line := range strings.Lines(string(slices.Concat(certificates...))) {
		text += "    " + line
	}
	return text + "---\n"
}

// backendTLS checks a Service's certificate against the CA certificates of the
// ConfigMap of its name.
func backendTLS(name string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: %[1]s}
spec:
  targetRefs: [{group: "", kind: Service, name: %[1]s}]
  validation: {hostname: secured.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: %[1]s}]}
---
`, name)
}

// policySays waits for a condition on the policy's only ancestor.
func policySays(t *testing.T, c *cluster.Cluster, ns, name, kind string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	p := &gatewayv1.BackendTLSPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := c.Await(t.Context(), p, &gatewayv1.BackendTLSPolicyList{}, func() bool {
		return len(p.Status.Ancestors) == 1 && cluster.Condition(p.Status.Ancestors[0].Conditions, kind, status, reason)
	}); err != nil {
		t.Errorf("policy %s: want %s=%s, %s: %v", name, kind, status, reason, err)
	}
}

// The CA certificate of two policies and of a listener ends, and nobody changes
// an object: where another one is valid, it is a warning, and requests go on.
func TestAuthorityEnds(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	shown, key, _ := selfSigned(t, "secured.example")
	secret(t, c, ns, "shown", shown, key)
	ends := time.Now().Add(20 * time.Second).Truncate(time.Second)
	former, _, err := cluster.KeyPairUntil(ends, "former.example")
	if err != nil {
		t.Fatal(err)
	}
	listener := "  - {name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: shown}]}}\n"
	validation := "  tls: {frontend: {default: {validation: {caCertificateRefs: [{group: \"\", kind: ConfigMap, name: alone}]}}}}\n"
	rules := ""
	text := configMap("alone", former) + configMap("both", former, shown) + gateway("web", listener+validation) + backend("web")
	for _, name := range []string{"alone", "both"} {
		text += tlsBackend(name, "shown") + backendTLS(name)
		rules += fmt.Sprintf("  - {matches: [{path: {value: /%[1]s}}], backendRefs: [{name: %[1]s, port: 443}]}\n", name)
	}
	c.Apply(t, ns, text+route("all", "web", rules+"  - {backendRefs: [{name: web, port: 80}]}\n"))
	base := "http://" + c.Programmed(t, ns, "web")
	policySays(t, c, ns, "both", "porchlight.dev/CACertificateWarning", metav1.ConditionTrue, "CACertificateExpired")
	if now := time.Now(); now.Before(ends) {
		t.Errorf("said to have expired %v before", ends.Sub(now))
	}
	policySays(t, c, ns, "both", "ResolvedRefs", metav1.ConditionTrue, "ResolvedRefs")
	policySays(t, c, ns, "alone", "ResolvedRefs", metav1.ConditionFalse, "CACertificateExpired")
	policySays(t, c, ns, "alone", "Accepted", metav1.ConditionTrue, "Accepted")
	listenerSays(t, c, ns, "web", "https", "ResolvedRefs", metav1.ConditionFalse, "CACertificateExpired")
	listenerSays(t, c, ns, "web", "https", "Programmed", metav1.ConditionTrue, "Programmed")
	c.Want(t, 200, cluster.Request{URL: base + "/both"})
	c.Want(t, 503, cluster.Request{URL: base + "/alone"})
	c.Want(t, 200, cluster.Request{URL: base + "/"})
}
