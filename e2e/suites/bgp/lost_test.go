//go:build e2e

package bgp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// local has who gets a packet serve it, so that what is seen is the route
// alone.
const local = "externalTrafficPolicy: Local"

// patient is YAML of a BFDProfile that a busy machine does not disturb.
const patient = `
apiVersion: porchlight.dev/v1beta1
kind: BFDProfile
metadata: {name: patient}
spec: {receiveInterval: 100, transmitInterval: 100, detectMultiplier: 6}
---
`

// watched waits until BFD watches the sessions of the nodes to all peers.
func (f *fabric) watched(t *testing.T, nodes ...string) {
	t.Helper()
	for _, router := range routers {
		for _, v6 := range []bool{false, true} {
			f.state(t, sessionTo(router, v6), "watched by BFD", func(s v1beta1.BGPSessionStateStatus) bool {
				return s.State == v1beta1.SessionEstablished && s.BFDState == v1beta1.BFDUp
			}, nodes...)
		}
	}
}

// others are the names of all nodes but some.
func (f *fabric) others(nodes ...string) []string {
	return slices.DeleteFunc(f.names(), func(n string) bool { return slices.Contains(nodes, n) })
}

// A node whose link is cut is no way any more once BFD misses it, at both
// routers, long before a hold time is over; and is one again afterwards.
func TestNodeCut(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, patient+advertisement("routed"))
	f.peers(t, "bfdProfile: patient", "holdTime: 3600s") // no hold time ends within the test
	f.watched(t, f.names()...)
	ips := f.announced(t, f.namespace, dualStack.service("cut", local))
	f.everywhere(t, ips, f.names()...)
	if err := f.Lab.Fault(t.Context(), lab.LinkDown, "node2"); err != nil {
		t.Fatal(err)
	}
	f.everywhere(t, ips, f.others("node2")...)
	for _, router := range routers {
		f.through(t, router)
		for _, ip := range ips {
			f.reachable(t, ip)
		}
	}
	if err := f.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.everywhere(t, ips, f.names()...)
	f.watched(t, f.names()...)
}

// connections opens connections from the far host to each of the addresses,
// through a router, while during lasts, and shows that none fails.
func (f *fabric) connections(t *testing.T, router string, ips []netip.Addr, during func(context.Context) error) {
	t.Helper()
	var targets []string
	for _, ip := range ips {
		targets = append(targets, net.JoinHostPort(ip.String(), "80"))
	}
	f.through(t, router)
	for _, ip := range ips {
		if err := f.AwaitForwarding(t.Context(), cluster.Request{URL: url(ip)}); err != nil {
			t.Fatal(err)
		}
		f.reachable(t, ip)
	}
	attempts, failed, err := probe.Connections(t.Context(), f.Lab.Dialer(lab.HostFar), targets, 50, 100, during)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections through %s", attempts, router)
	for i, failure := range failed {
		if i == 10 {
			break
		}
		t.Logf("failed: %s", failure)
	}
	if len(failed) > 0 {
		t.Errorf("%d of %d connections through %s failed", len(failed), attempts, router)
	}
}

// back waits until the sessions of a node to all peers are others than before.
func (f *fabric) back(ctx context.Context, node string, before map[string]v1beta1.BGPSessionStateStatus) error {
	return cluster.Poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		for name, old := range before {
			states, err := f.states(ctx, name)
			if err != nil {
				return err
			}
			if s := states[node]; s.State != v1beta1.SessionEstablished || s.Since.Equal(old.Since) {
				return fmt.Errorf("%s has %+v to %s", node, s, name)
			}
		}
		return nil
	})
}

// A speaker that is killed, or told to stop, comes back before routers give up
// what it announced, where graceful restart is on: no connection fails, and no
// route changes.
func TestGracefulRestart(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	f.peers(t, "enableGracefulRestart: true")
	ips := f.announced(t, f.namespace, dualStack.service("graceful", local))
	f.everywhere(t, ips, f.names()...)
	for i, router := range routers {
		node := f.names()[i]
		for _, restart := range []struct {
			how string
			do  func(context.Context) error
		}{
			{"stopped", func(context.Context) error { return f.stopSpeaker(node) }},
			// After it, since the kubelet makes a container wait that has ended before:
			// this pod is new.
			{"killed", func(ctx context.Context) error { return f.Lab.Fault(ctx, lab.KillSpeaker, node) }},
		} {
			t.Run(restart.how+" under "+router, func(t *testing.T) {
				routes, err := probe.WatchRoutes(f.Lab, router)
				if err != nil {
					t.Fatal(err)
				}
				defer routes.Stop()
				before := map[string]v1beta1.BGPSessionStateStatus{}
				for _, r := range routers {
					for _, v6 := range []bool{false, true} {
						states, err := f.states(t.Context(), sessionTo(r, v6))
						if err != nil {
							t.Fatal(err)
						}
						before[sessionTo(r, v6)] = states[node]
					}
				}
				f.connections(t, router, ips, func(ctx context.Context) error {
					if err := restart.do(ctx); err != nil {
						return err
					}
					return f.back(ctx, node, before)
				})
				changes, err := routes.Changes()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range changes {
					if slices.Contains(ips, c.Prefix.Addr()) && len(c.Via) != len(f.names()) {
						t.Errorf("a route changed: %+v", c)
					}
				}
			})
		}
	}
}

// stopSpeaker tells the speaker of a node to stop, as an update of the
// DaemonSet does.
func (f *fabric) stopSpeaker(node string) error {
	_, err := f.Kubectl("delete", "pod", "-n", cluster.System, "-l", "app.kubernetes.io/component=speaker", "--field-selector=spec.nodeName="+node)
	return err
}

// Without graceful restart a router turns to the others at once when a speaker
// is killed, and back when it is there again.
func TestSpeakerKilled(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	f.peers(t)
	ips := f.announced(t, f.namespace, dualStack.service("killed", local))
	f.everywhere(t, ips, f.names()...)
	var watches []*probe.Routes
	for _, router := range routers {
		routes, err := probe.WatchRoutes(f.Lab, router)
		if err != nil {
			t.Fatal(err)
		}
		defer routes.Stop()
		watches = append(watches, routes)
	}
	const node = "node3"
	if err := f.Lab.Fault(t.Context(), lab.KillSpeaker, node); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	for i, routes := range watches {
		for _, ip := range ips {
			if _, err := routes.Await(ctx, func(c probe.RouteChange) bool {
				return c.Prefix == whole(ip) && len(c.Via) == len(f.names())-1 && !slices.ContainsFunc(c.Via, func(via netip.Addr) bool { return f.nodes[via] == node })
			}); err != nil {
				t.Fatalf("%s does not turn from %s for %s: %v", routers[i], node, ip, err)
			}
		}
	}
	f.everywhere(t, ips, f.names()...)
}

// A speaker that is told to stop asks routers to prefer other paths, and only
// then withdraws its own: no connection fails.
func TestDrain(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	f.peers(t)
	ips := f.announced(t, f.namespace, dualStack.service("drained", local))
	f.everywhere(t, ips, f.names()...)
	for i, router := range routers {
		t.Run(router, func(t *testing.T) {
			node := f.names()[i]
			seen, err := probe.StartBGPCapture(t.Context(), f.Lab, router)
			if err != nil {
				t.Fatal(err)
			}
			f.connections(t, router, ips, func(context.Context) error { return f.stopSpeaker(node) })
			messages, err := seen.Stop()
			if err != nil {
				t.Fatal(err)
			}
			for _, ip := range ips {
				if err := f.drained(messages, node, ip); err != nil {
					t.Errorf("%s: %v", ip, err)
				}
			}
			f.everywhere(t, ips, f.names()...)
		})
	}
}

// drained judges what a node said of an address: GRACEFUL_SHUTDOWN, then a
// withdrawal, and in the end that it stops.
func (f *fabric) drained(messages []probe.BGPMessage, node string, ip netip.Addr) error {
	asked, withdrawn, stopped := 0, 0, 0
	for i, m := range messages {
		if f.nodes[m.From.Addr()] != node || m.From.Addr().Is4() != ip.Is4() {
			continue
		}
		switch {
		case asked == 0 && slices.Contains(m.Announced, whole(ip)) && slices.Contains(m.Communities, uint32(packet.COMMUNITY_PLANNED_SHUT)):
			asked = i + 1
		case asked > 0 && withdrawn == 0 && slices.Contains(m.Withdrawn, whole(ip)):
			withdrawn = i + 1
		case withdrawn > 0 && stopped == 0 && m.Kind == packet.BGP_MSG_NOTIFICATION:
			stopped = i + 1
			if m.Code != packet.BGP_ERROR_CEASE || m.Subcode != packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN {
				return fmt.Errorf("the session ended with code %d, subcode %d", m.Code, m.Subcode)
			}
		}
	}
	if stopped == 0 {
		return fmt.Errorf("%s asked in message %d, withdrew in %d, stopped in %d of %d", node, asked, withdrawn, stopped, len(messages))
	}
	return nil
}

// A router that lost its power is told everything again.
func TestRouterRestarts(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, patient+advertisement("routed"))
	f.peers(t, "bfdProfile: patient")
	f.watched(t, f.names()...)
	ips := f.announced(t, f.namespace, dualStack.service("restarted"))
	f.everywhere(t, ips, f.names()...)
	for i, router := range routers {
		t.Run(router, func(t *testing.T) {
			other := routers[1-i]
			before := f.ups(t)
			if err := f.Lab.Fault(t.Context(), lab.PowerOff, router); err != nil {
				t.Fatal(err)
			}
			for _, v6 := range []bool{false, true} {
				f.state(t, sessionTo(router, v6), "down", func(s v1beta1.BGPSessionStateStatus) bool { return s.State != v1beta1.SessionEstablished }, f.names()...)
			}
			for _, ip := range ips {
				f.hops(t, other, whole(ip), f.names()...)
			}
			if err := f.Lab.Fault(t.Context(), lab.PowerOn, router); err != nil {
				t.Fatal(err)
			}
			f.watched(t, f.names()...)
			f.everywhere(t, ips, f.names()...)
			f.through(t, router)
			for _, ip := range ips {
				f.reachable(t, ip)
			}
			now := f.ups(t)
			for session, since := range before {
				if of(session, other) && !now[session].Equal(since) {
					t.Errorf("the session %s was disturbed", session)
				}
			}
		})
	}
}

// of says whether a session, as ups names it, is one to a router.
func of(session, router string) bool {
	return len(session) > len(router) && session[:len(router)+1] == router+"-"
}
