//go:build e2e

package bgp

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// Routers spread what comes over all nodes, and follow the nodes that may
// announce.
func TestSpread(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	ips := f.announced(t, f.namespace, dualStack.service("spread", local))
	served := func(router string, ip netip.Addr, nodes ...string) {
		t.Helper()
		f.hops(t, router, whole(ip), nodes...)
		f.through(t, router)
		pods := map[string]bool{}
		cluster.Eventually(t, fmt.Sprintf("%d nodes serve %s", len(nodes), ip), func(ctx context.Context) error {
			r, err := f.Send(ctx, cluster.Request{From: lab.HostFar, URL: url(ip)})
			if err != nil {
				return err
			}
			var echo struct {
				Pod string `json:"pod"`
			}
			if err := json.Unmarshal([]byte(r.Body), &echo); err != nil || echo.Pod == "" {
				return fmt.Errorf("the answer names no pod: %s", r.Body)
			}
			if pods[echo.Pod] = true; len(pods) < len(nodes) {
				return fmt.Errorf("only %v answer", slices.Sorted(maps.Keys(pods)))
			}
			return nil
		})
	}
	for _, router := range routers {
		for _, ip := range ips {
			served(router, ip, f.names()...)
		}
	}
	label := func(set string) {
		t.Helper()
		if _, err := f.Kubectl("label", "node", "node1", "node2", corev1.LabelNodeExcludeBalancers+set); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = f.Kubectl("label", "node", "node1", "node2", corev1.LabelNodeExcludeBalancers+"-") })
	label("=")
	for _, router := range routers {
		for _, ip := range ips {
			served(router, ip, "node3")
		}
	}
	label("-")
	f.everywhere(t, ips, f.names()...)
}

// externalTrafficPolicy Local: the nodes that have an endpoint announce, and
// nobody where there is none.
func TestLocalFollowsEndpoints(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	ns := f.Namespace(t)
	f.Apply(t, ns, cluster.Echo("Deployment", "echo")+dualStack.service("local", local))
	patch := func(text string) {
		t.Helper()
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "echo"}}
		if err := f.Patch(t.Context(), d, client.RawPatch(types.StrategicMergePatchType, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	var ips []netip.Addr
	for _, node := range []string{"node1", "node3"} {
		patch(fmt.Sprintf(`{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":%q}}}}}`, node))
		ips = addresses(f.Service(t, ns, "local", "announced", announced))
		f.everywhere(t, ips, node)
		f.bgpStatuses(t, ns, "local", []string{"bird-ipv4", "bird-ipv6", "frr-ipv4", "frr-ipv6"}, node)
		for _, router := range routers {
			f.through(t, router)
			for _, ip := range ips {
				f.reachable(t, ip)
			}
		}
	}
	patch(`{"spec":{"replicas":0}}`)
	f.everywhere(t, ips)
	f.bgpStatuses(t, ns, "local", nil)
	f.Service(t, ns, "local", "Announced=False, NoEndpoints", func(s *corev1.Service) bool {
		return condition(s, metav1.ConditionFalse, "NoEndpoints")
	})
}

// An address may be answered for on its segment and announced beyond it.
func TestLayer2AndBGP(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, strings.Replace(advertisement("default"), "[routed]", "[default]", 1))
	ips := f.announced(t, f.namespace, strings.Replace(dualStack.service("twice"), "address-pool: routed", "address-pool: default", 1))
	f.Service(t, f.namespace, "twice", "to tell of both ways", func(s *corev1.Service) bool {
		for _, c := range s.Status.Conditions {
			if c.Type == "porchlight.dev/Announced" && strings.Count(c.Message, "answers for") == 2 && strings.Count(c.Message, "is announced over BGP") == 2 {
				return true
			}
		}
		return false
	})
	f.everywhere(t, ips, f.names()...)
	for _, ip := range ips {
		f.reachable(t, ip)
		f.Want(t, 200, cluster.Request{URL: url(ip)})
		answers, err := probe.Who(t.Context(), f.Lab, lab.HostBIRD, 200*time.Millisecond, cluster.Patience, ip)
		if err != nil || len(answers[ip]) != 1 {
			t.Errorf("who answers for %s: %v %v", ip, answers[ip], err)
		}
	}
	if err := f.Delete(t.Context(), &v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "default"}}); err != nil {
		t.Fatal(err)
	}
	f.everywhere(t, ips)
	for _, ip := range ips {
		f.reachable(t, ip) // by way of the router's own interface on the segment
	}
}
