//go:build e2e

package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// A change in one Service is told of that Service's prefixes and of no others,
// and no session restarts: seen on the wire.
func TestChangesStayApart(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	var others []netip.Addr
	for i := range 5 {
		others = append(others, f.announced(t, f.namespace, dualStack.service(fmt.Sprintf("other%d", i)))...)
	}
	f.everywhere(t, others, f.names()...)
	var captures []*probe.BGPCapture
	for _, router := range routers {
		seen, err := probe.StartBGPCapture(t.Context(), f.Lab, router)
		if err != nil {
			t.Fatal(err)
		}
		captures = append(captures, seen)
	}
	ips := f.announced(t, f.namespace, dualStack.service("changing"))
	f.everywhere(t, ips, f.names()...)
	f.Apply(t, f.namespace, dualStack.service("changing", local))
	f.everywhere(t, ips, f.names()...)
	f.Apply(t, f.namespace, strings.Replace(dualStack.service("changing", local), "app: echo", "app: nobody", 1))
	f.everywhere(t, ips)
	f.Apply(t, f.namespace, dualStack.service("changing"))
	f.everywhere(t, ips, f.names()...)
	if err := f.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "changing"}}); err != nil {
		t.Fatal(err)
	}
	f.everywhere(t, ips)
	for i, seen := range captures {
		messages, err := seen.Stop()
		if err != nil {
			t.Fatal(err)
		}
		updates := 0
		for _, m := range messages {
			if f.nodes[m.From.Addr()] == "" {
				continue // what a router tells, which we do not take
			}
			switch m.Kind {
			case packet.BGP_MSG_KEEPALIVE:
			case packet.BGP_MSG_UPDATE:
				updates++
				for _, p := range append(m.Announced, m.Withdrawn...) {
					if !slices.Contains(ips, p.Addr()) {
						t.Errorf("%s was told of %s by %s", routers[i], p, m.From)
					}
				}
			default:
				t.Errorf("%s was sent what begins or ends a session: %+v", routers[i], m)
			}
		}
		// Two announcements and two withdrawals of each address by each node.
		if want := 2 * 4 * len(f.names()); updates != want {
			t.Errorf("%s was sent %d UPDATEs; want %d", routers[i], updates, want)
		}
	}
}

// Both routers are told at once, and the far host may use both.
func TestBothRouters(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	ips := f.announced(t, f.namespace, dualStack.service("both", local))
	f.everywhere(t, ips, f.names()...)
	f.through(t, routers...)
	for _, ip := range ips {
		for range 20 {
			f.reachable(t, ip)
		}
	}
}
