//go:build e2e

package bgp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// A Service's addresses are reached from beyond either router, by way of all
// nodes, and no more once it is deleted.
func TestReachable(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	for _, s := range []stack{ipv4only, ipv6only, dualStack} {
		t.Run(s.name, func(t *testing.T) {
			name := "reach-" + strings.ToLower(strings.ReplaceAll(s.name, " ", "-"))
			ips := f.announced(t, f.namespace, s.service(name))
			f.everywhere(t, ips, f.names()...)
			for _, router := range routers {
				f.through(t, router)
				for _, ip := range ips {
					f.reachable(t, ip)
				}
			}
			var want []string
			for _, router := range routers {
				for _, ip := range ips {
					want = append(want, sessionTo(router, ip.Is6()))
				}
			}
			slices.Sort(want)
			f.bgpStatuses(t, f.namespace, name, want, f.names()...)
			if err := f.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: name}}); err != nil {
				t.Fatal(err)
			}
			f.everywhere(t, ips)
			f.bgpStatuses(t, f.namespace, name, nil)
		})
	}
}

// bgpStatuses waits until exactly these nodes say that they announce a Service
// to the peers.
func (f *fabric) bgpStatuses(t *testing.T, namespace, name string, peers []string, nodes ...string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("ServiceBGPStatuses of %v name %v", nodes, peers), func(ctx context.Context) error {
		var all v1beta1.ServiceBGPStatusList
		if err := f.List(ctx, &all, client.InNamespace(cluster.System)); err != nil {
			return err
		}
		got := map[string][]string{}
		for _, o := range all.Items {
			if s := o.Status; s.ServiceNamespace == namespace && s.ServiceName == name {
				got[s.Node] = s.Peers
			}
		}
		for _, n := range nodes {
			if !slices.Equal(got[n], peers) {
				return fmt.Errorf("the statuses are %v", got)
			}
		}
		if len(got) != len(nodes) {
			return fmt.Errorf("the statuses are %v", got)
		}
		return nil
	})
}
