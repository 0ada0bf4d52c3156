//go:build e2e

package layer2

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// tells waits until condition Announced of a Service of the suite says why
// a node is not chosen.
func (l *lan) tells(t *testing.T, namespace, name, node, reason string) {
	t.Helper()
	l.Service(t, namespace, name, "to tell "+node+" "+reason, func(s *corev1.Service) bool {
		return strings.Contains(message(s), node+" "+reason)
	})
}

func TestExcludeLabel(t *testing.T) {
	l := scenario(t)
	lost, now := l.lose(t, "NodeExcluded", func(node string) { l.exclude(t, node) })
	l.include(t, lost)
	l.unmoved(t, now)
}

func TestLastEligibleNode(t *testing.T) {
	l := scenario(t)
	l.exclude(t, l.names()...)
	l.silent(t, l.ips...)
	for i := range services {
		l.Service(t, l.namespace, fmt.Sprintf("s%d", i), "Announced=False, AllNodesExcluded", func(s *corev1.Service) bool {
			return condition(s, metav1.ConditionFalse, "AllNodesExcluded")
		})
	}
	l.include(t, "node2")
	l.ownedBy(t, "node2", l.ips...)
	l.warm(t, l.ips...)
	for i := range services {
		l.Service(t, l.namespace, fmt.Sprintf("s%d", i), "announced", announced)
	}
}

// externalTrafficPolicy Local: the addresses go where the endpoints go, and
// stay as long as an endpoint serves.
func TestLocalFollowsEndpoints(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	l.Apply(t, ns, cluster.Echo("Deployment", "echo")+service("local", "", "externalTrafficPolicy: Local"))
	patch := func(text string) {
		t.Helper()
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "echo"}}
		if err := l.Patch(t.Context(), d, client.RawPatch(types.StrategicMergePatchType, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	var ips []netip.Addr
	for _, node := range []string{"node1", "node3"} {
		// An endpoint that ends goes on serving for some seconds.
		patch(fmt.Sprintf(`{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":%q},"terminationGracePeriodSeconds":20,
			"containers":[{"name":"echo","lifecycle":{"preStop":{"sleep":{"seconds":6}}}}]}}}}`, node))
		s := l.Service(t, ns, "local", "announced by "+node, func(s *corev1.Service) bool {
			return announced(s) && strings.Count(message(s), node+" answers for") == 2
		})
		ips = addresses(s)
		l.ownedBy(t, node, ips...)
		l.warm(t, ips...)
		for _, other := range l.others(node) {
			l.tells(t, ns, "local", other, "NoLocalEndpoint")
		}
	}
	patch(`{"spec":{"replicas":0}}`)
	cluster.Eventually(t, "the endpoint serves while it terminates", func(ctx context.Context) error {
		var all discoveryv1.EndpointSliceList
		if err := l.List(ctx, &all, client.InNamespace(ns)); err != nil {
			return err
		}
		families := 0
		for _, s := range all.Items {
			for _, e := range s.Endpoints {
				if c := e.Conditions; c.Terminating != nil && *c.Terminating && c.Serving != nil && *c.Serving {
					families++
				}
			}
		}
		if families != 2 {
			return fmt.Errorf("endpoints of %d families do", families)
		}
		return nil
	})
	l.ownedBy(t, "node3", ips...)
	l.Service(t, ns, "local", "Announced=False, NoEndpoints", func(s *corev1.Service) bool {
		return condition(s, metav1.ConditionFalse, "NoEndpoints")
	})
	l.silent(t, ips...)
}

// A preferred node has the addresses; it takes them back only where the
// advertisement lets it.
func TestPreferredNodeAndFailback(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	const weights = `preferredNodeSelectors:
  - {weight: 10, preference: {matchLabels: {kubernetes.io/hostname: node2}}}
  - {weight: 5, preference: {matchLabels: {kubernetes.io/hostname: node3}}}
  failback: `
	l.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+pool("preferred", "172.30.0.174-172.30.0.177", "fd00:30::3:0/120")+
		advertisement("preferred", weights+"true")+service("preferred", "porchlight.dev/address-pool: preferred"))
	ips := addresses(l.Service(t, ns, "preferred", "announced", announced))
	l.ownedBy(t, "node2", ips...)
	l.exclude(t, "node2")
	l.ownedBy(t, "node3", ips...)
	l.include(t, "node2")
	began := time.Now()
	l.ownedBy(t, "node2", ips...)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the preferred node took the addresses back after %v; want 10 s at most", took)
	}
	l.warm(t, ips...)

	l.Apply(t, ns, advertisement("preferred", weights+"false"))
	l.exclude(t, "node2")
	l.ownedBy(t, "node3", ips...)
	l.include(t, "node2")
	l.unmoved(t, owners{ips[0]: "node3", ips[1]: "node3"})
}

// An address of no subnet of the nodes is announced where the advertisement
// names the interfaces, by name or glob, and else says why it is not.
func TestInterfaces(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	l.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+pool("elsewhere", "198.51.100.0/29", "2001:db8:51::/125")+
		advertisement("elsewhere", "")+service("elsewhere", "porchlight.dev/address-pool: elsewhere"))
	for _, step := range []struct {
		interfaces string
		announced  bool
	}{
		{"[]", false},
		{"[eth0]", true},
		{"[bond*]", false},
		{"[bond*, 'e*[0-9]']", true},
	} {
		l.Apply(t, ns, advertisement("elsewhere", "interfaces: "+step.interfaces))
		if !step.announced {
			s := l.Service(t, ns, "elsewhere", "Announced=False, NoSubnet with interfaces "+step.interfaces, func(s *corev1.Service) bool {
				return len(s.Status.LoadBalancer.Ingress) == 2 && condition(s, metav1.ConditionFalse, "NoSubnet")
			})
			l.silent(t, addresses(s)...)
			l.l2Statuses(t, s, map[string]bool{})
			continue
		}
		s := l.Service(t, ns, "elsewhere", "announced with interfaces "+step.interfaces, announced)
		nodes := map[string]bool{}
		for _, node := range l.owners(t, addresses(s)...) {
			nodes[node] = true
		}
		l.l2Statuses(t, s, nodes)
	}
}

// Selectors limit an advertisement to nodes, and to Services.
func TestSelectors(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	l.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+pool("selected", "172.30.0.160-172.30.0.165", "fd00:30::4:0/120")+
		advertisement("selected", `nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node3}}]
  serviceSelectors: [{matchLabels: {tier: edge}}]`)+
		service("inner", "porchlight.dev/address-pool: selected")+service("edge", "porchlight.dev/address-pool: selected"))
	if _, err := l.Kubectl("label", "service", "-n", ns, "edge", "tier=edge"); err != nil {
		t.Fatal(err)
	}
	edge := l.Service(t, ns, "edge", "announced", announced)
	l.ownedBy(t, "node3", addresses(edge)...)
	for _, n := range l.others("node3") {
		l.tells(t, ns, "edge", n, "SelectorMismatch")
	}
	inner := l.Service(t, ns, "inner", "Announced=False, NoAdvertisement", func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 2 && condition(s, metav1.ConditionFalse, "NoAdvertisement")
	})
	l.silent(t, addresses(inner)...)
}

// An advertisement selects pools by name and by label.
func TestPoolSelectors(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	const selecting = `
apiVersion: porchlight.dev/v1beta1
kind: L2Advertisement
metadata: {name: labelled, namespace: porchlight-system}
spec:
  ipAddressPools: [no-such-pool]
  ipAddressPoolSelectors: [{matchLabels: {tier: edge}}, {matchLabels: {tier: core}}]
---
`
	l.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+selecting+pool("labelled", "172.30.0.190-172.30.0.193", "fd00:30::7:0/120")+
		service("labelled", "porchlight.dev/address-pool: labelled"))
	for _, tier := range []string{"tier=none", "tier=core", "tier-"} {
		if _, err := l.Kubectl("label", "--overwrite", "ippool", "-n", cluster.System, "labelled", tier); err != nil {
			t.Fatal(err)
		}
		if tier == "tier=core" {
			l.owners(t, addresses(l.Service(t, ns, "labelled", "announced", announced))...)
			continue
		}
		s := l.Service(t, ns, "labelled", "Announced=False, NoAdvertisement, with "+tier, func(s *corev1.Service) bool {
			return len(s.Status.LoadBalancer.Ingress) == 2 && condition(s, metav1.ConditionFalse, "NoAdvertisement")
		})
		l.silent(t, addresses(s)...)
	}
}
