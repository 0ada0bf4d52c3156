//go:build e2e

package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const gatewayProgram = "porchlight-gateway"

// gateways are the pods of the gateway.
func gateways(t *testing.T, c *cluster.Cluster) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := c.List(t.Context(), &list, client.InNamespace(cluster.System), client.MatchingLabels{"app.kubernetes.io/component": "gateway"}); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// Every gateway serves xDS, the one that holds the Lease and the others, and
// none to an Envoy without a certificate.
func TestEveryGatewayServes(t *testing.T) {
	c := cluster.ForTest(t)
	pods := gateways(t, c)
	if len(pods) < 2 {
		t.Fatalf("there are %d gateways", len(pods))
	}
	for _, p := range pods {
		conn, err := c.Lab.Dialer(p.Spec.NodeName)(t.Context(), "tcp", net.JoinHostPort(p.Status.PodIP, "18000"))
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		defer conn.Close()
		asked := false
		session := tls.Client(conn, &tls.Config{
			InsecureSkipVerify: true, // who answers there is not the question
			NextProtos:         []string{"h2"},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				return &tls.Certificate{}, nil
			},
		})
		if err := session.HandshakeContext(t.Context()); err != nil || !asked {
			t.Errorf("%s asks for a certificate: %v; %v", p.Name, asked, err)
		}
		if _, err := session.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
			t.Errorf("%s says to one who has none: %v", p.Name, err)
		}
	}
}

// connected waits until the gateways have as many streams as there are Envoys.
func connected(t *testing.T, c *cluster.Cluster, fleet string, envoys float64) {
	t.Helper()
	series := fmt.Sprintf(`porchlight_xds_streams{fleet="%s/%s"}`, cluster.System, fleet)
	cluster.Eventually(t, "all Envoys are connected", func(ctx context.Context) error {
		var sum float64
		for _, p := range gateways(t, c) {
			m, err := c.Metrics(ctx, &p)
			if err != nil {
				return err
			}
			sum += m[series]
		}
		if sum != envoys {
			return fmt.Errorf("%v streams, want %v", sum, envoys)
		}
		return nil
	})
}

// No request fails while gateways are killed, one or both of them, nor in the
// minute in which there is none; and what was told before is served on.
func TestNoRequestFailsWithoutGateways(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, site("web", "porchlight", "{}"))
	url := served(t, c, ns, "web")
	kill := func(pods []corev1.Pod) {
		t.Helper()
		for i := range pods {
			p, err := c.Program(&pods[i], gatewayProgram)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	rolledOut := func() {
		t.Helper()
		kubectl(t, c, "rollout", "status", "-n", cluster.System, "deployment/"+gatewayProgram, "--timeout="+cluster.Patience.String())
		connected(t, c, "porchlight-envoy", 2)
	}
	for i := range 2 {
		t.Run(fmt.Sprintf("replica %d", i+1), func(t *testing.T) {
			underLoad(t, c, url, func() {
				kill(gateways(t, c)[i : i+1])
				rolledOut()
			})
		})
	}
	t.Run("both for a minute", func(t *testing.T) {
		t.Cleanup(func() {
			kubectl(t, c, "scale", "-n", cluster.System, "deployment/"+gatewayProgram, "--replicas=2")
			rolledOut()
		})
		underLoad(t, c, url, func() {
			pods := gateways(t, c)
			kill(pods)
			kubectl(t, c, "scale", "-n", cluster.System, "deployment/"+gatewayProgram, "--replicas=0")
			away := time.After(time.Minute)
			cluster.Eventually(t, "no gateway is left", func(context.Context) error {
				if n := len(gateways(t, c)); n > 0 {
					return fmt.Errorf("%d are", n)
				}
				return nil
			})
			<-away // it is the time itself that is asked about
			kubectl(t, c, "scale", "-n", cluster.System, "deployment/"+gatewayProgram, "--replicas=2")
			rolledOut()
		})
	})
}

// To delete the authority of the xDS certificates replaces it. No stream ends
// by that and no request fails; an Envoy and a gateway that start meanwhile
// find each other.
func TestAuthorityIsReplaced(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, cluster.Fleet("rotating", "{replicas: 2, drainTime: 5s, "+answering+"}")+site("web", "rotating", "{}"))
	ready(t, c, "rotating", 2)
	url := served(t, c, ns, "web")
	connected(t, c, "rotating", 2)
	secret := func(name string) (s corev1.Secret) {
		t.Helper()
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: cluster.System, Name: name}, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	before, leaf := secret("porchlight-xds-ca"), secret("rotating-xds")
	underLoad(t, c, url, func() {
		if err := c.Delete(t.Context(), &before); err != nil {
			t.Fatal(err)
		}
		cluster.Eventually(t, "both authorities are believed", func(context.Context) error {
			for _, name := range []string{"porchlight-xds-server", "rotating-xds"} {
				if s := secret(name); len(s.Data["ca.crt"]) <= len(before.Data["tls.crt"]) {
					return fmt.Errorf("Secret %s holds one", name)
				}
			}
			return nil
		})
		if now := secret("rotating-xds"); string(now.Data["tls.crt"]) != string(leaf.Data["tls.crt"]) {
			t.Error("the Envoys' certificate is of an authority that gateways may not know yet")
		}
		connected(t, c, "rotating", 2)
		kubectl(t, c, "rollout", "restart", "-n", cluster.System, "deployment/rotating")
		kubectl(t, c, "rollout", "status", "-n", cluster.System, "deployment/rotating", "--timeout=90s")
		kubectl(t, c, "rollout", "restart", "-n", cluster.System, "deployment/"+gatewayProgram)
		kubectl(t, c, "rollout", "status", "-n", cluster.System, "deployment/"+gatewayProgram, "--timeout=90s")
		ended(t, c, "rotating")
		connected(t, c, "rotating", 2)
	})
}
