//go:build e2e

package layer2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// watched is a capture of the segment, while somebody asks for all addresses
// again and again, so that whoever answers is seen to.
type watched struct {
	*lan
	capture *probe.Capture
	stop    context.CancelFunc
	asking  sync.WaitGroup
}

// watch begins to watch the segment of the asker.
func (l *lan) watch(t *testing.T) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	capture, err := probe.StartCapture(ctx, l.Lab, asker)
	if err != nil {
		stop()
		t.Fatal(err)
	}
	w := &watched{lan: l, capture: capture, stop: stop}
	t.Cleanup(func() {
		stop()
		w.asking.Wait()
	})
	w.asking.Go(func() {
		for ctx.Err() == nil {
			// What is answered is in the capture.
			if _, err := probe.Who(ctx, l.Lab, asker, 100*time.Millisecond, 0, l.ips...); err != nil && ctx.Err() == nil {
				t.Errorf("asking: %v", err)
				return
			}
		}
	})
	return w
}

// judge ends the capture. No address may have had two owners for longer than
// what fencing takes; it returns who had each last.
func (w *watched) judge(t *testing.T) owners {
	t.Helper()
	frames, err := w.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.asking.Wait()
	last := owners{}
	for _, c := range probe.Contests(frames) {
		if !slices.Contains(w.ips, c.IP) {
			continue
		}
		last[c.IP] = w.named([]string{c.Final})[0]
		if len(c.Others) > 0 {
			t.Logf("%s: %v and %s for %v", c.IP, w.named(c.Others), last[c.IP], c.Lasted.Round(time.Millisecond))
		}
		if c.Lasted > fenced {
			t.Errorf("%s had two owners for %v, %v and %s; want at most %v", c.IP, c.Lasted, w.named(c.Others), last[c.IP], fenced)
		}
	}
	return last
}

// Speakers that cannot talk to each other hear each other on the segment: one
// yields. Both sides lose sight of the other, each would have all addresses.
func TestGossipCut(t *testing.T) {
	l := scenario(t)
	cut, _ := l.victim(t)
	l.warm(t, l.ips...)
	w := l.watch(t)
	l.fault(t, lab.CutGossip, cut)
	l.apart(t, cut)
	l.observe(t, fenced+settle)
	last := w.judge(t)
	l.turned(t, last)
	now := l.owners(t, l.ips...)
	for ip, node := range now {
		if last[ip] != node {
			t.Errorf("%s answers for %s; on the wire it was %s in the end", node, ip, last[ip])
		}
	}
	l.warm(t, l.ips...)

	w = l.watch(t)
	l.heal(t)
	l.observe(t, settle)
	w.judge(t)
	l.warm(t, l.ips...)
}

// apart waits until the node believes itself alone, and the others it dead.
func (l *lan) apart(t *testing.T, node string) {
	t.Helper()
	cluster.Eventually(t, "the others take "+node+" for dead", func(ctx context.Context) error {
		if err := l.together(ctx, 1, node); err != nil {
			return err
		}
		return l.together(ctx, len(l.names())-1, l.others(node)...)
	})
}

// observe gives a capture time: what must not happen is looked for in it.
func (l *lan) observe(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(d):
	}
}

// A LAN that falls apart has an owner on each side. When it is whole again, one
// remains.
func TestPartition(t *testing.T) {
	l := scenario(t)
	cut, _ := l.victim(t)
	l.fault(t, lab.Partition, cut, asker)
	l.apart(t, cut)
	l.ownedBy(t, cut, l.ips...) // on the asker's side
	var beyond owners
	cluster.Eventually(t, "the other side has owners", func(ctx context.Context) (err error) {
		beyond, err = l.who(ctx, "client", l.ips...)
		return err
	})
	if ips := beyond.of(cut); len(ips) > 0 {
		t.Errorf("%s answers for %v beyond the cut", cut, ips)
	}
	for _, ip := range l.ips {
		l.reachable(t, asker, ip)
		l.reachable(t, "client", ip)
		l.reachable(t, lab.HostFar, ip)
	}
	w := l.watch(t)
	l.heal(t)
	l.observe(t, settle)
	last := w.judge(t)
	l.turned(t, last)
	l.warm(t, l.ips...)
	if now := l.owners(t, l.ips...); !maps.Equal(now, last) {
		t.Errorf("the owners are %v; on the wire they were %v in the end", now, last)
	}
}

// A speaker that was frozen does not know what it lost. It finds out before it
// does harm.
func TestFrozenSpeakerThaws(t *testing.T) {
	l := scenario(t)
	frozen, before := l.victim(t)
	ips := before.of(frozen)
	l.warm(t, ips...)
	l.fault(t, lab.Freeze, frozen)
	heirs := l.left(t, frozen, l.ips...)
	l.turned(t, heirs.only(ips))
	w := l.watch(t)
	l.heal(t)
	l.observe(t, settle)
	last := w.judge(t)
	for ip, node := range heirs {
		if last[ip] != node {
			t.Errorf("%s went from %s to %s when %s thawed", ip, node, last[ip], frozen)
		}
	}
	l.turned(t, heirs.only(ips))
	l.warm(t, ips...)
}

// A host that is none of ours has one of our addresses. It is told of, and
// nothing is fought over for ever, however often the host insists. The address
// is ours again when the host is gone.
func TestForeignHost(t *testing.T) {
	l := scenario(t)
	ips := addresses(l.Service(t, l.namespace, "s0", "announced", announced))
	l.warm(t, ips...)
	const foreign = lab.HostControlPlane
	t.Cleanup(func() { l.on(t, foreign, forget(ips)) })
	l.on(t, foreign, take(ips))
	l.Service(t, l.namespace, "s0", "AddressConflict of both addresses", func(s *corev1.Service) bool {
		conflict := condition(s, metav1.ConditionTrue, "AddressConflict") || condition(s, metav1.ConditionFalse, "AddressConflict")
		return conflict && strings.Count(message(s), "a host that is no speaker") == len(ips)
	})
	cluster.Eventually(t, "an event tells of the conflict", func(ctx context.Context) error {
		var all eventsv1.EventList
		if err := l.List(ctx, &all, client.InNamespace(l.namespace)); err != nil {
			return err
		}
		if !slices.ContainsFunc(all.Items, func(e eventsv1.Event) bool { return e.Reason == "AddressConflict" && e.Regarding.Name == "s0" }) {
			return fmt.Errorf("%d events, none of them does", len(all.Items))
		}
		return nil
	})
	cluster.Eventually(t, "a metric tells of the conflict", func(ctx context.Context) error {
		sum := 0.0
		for _, n := range l.names() {
			v, err := probe.Metric(ctx, l.Cluster, n, metricsPort, "porchlight_layer2_disputed_services")
			if err != nil {
				return err
			}
			sum += v
		}
		if sum == 0 {
			return errors.New("no speaker counted one")
		}
		return nil
	})
	capture, err := probe.StartCapture(t.Context(), l.Lab, "client")
	if err != nil {
		t.Fatal(err)
	}
	l.on(t, foreign, insist(ips))
	frames, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range ips {
		ours, theirs := 0, 0
		for _, f := range frames {
			if f.Kind != probe.Announcement || f.IP != ip {
				continue
			}
			if _, ok := l.nodes[f.From]; ok {
				ours++
			} else {
				theirs++
			}
		}
		// RFC 5227 section 2.4: a defence, at most every ten seconds.
		if theirs < insistence || ours > theirs/2 {
			t.Errorf("the host announced %s %d times, speakers %d times", ip, theirs, ours)
		}
	}
	l.on(t, foreign, forget(ips))
	l.Service(t, l.namespace, "s0", "announced, without a conflict", announced)
	l.owners(t, ips...)
	l.warm(t, ips...)
}

// insistence is how often a foreign host says that it has an address.
const insistence = 30

// take gives a host the addresses as a careless person would. The kernel of the
// lab's hosts looks for no duplicates, and tells everybody of an IPv6 address.
func take(ips []netip.Addr) string {
	script := "echo 1 >/proc/sys/net/ipv6/conf/eth0/ndisc_notify\n"
	for _, ip := range ips {
		script += fmt.Sprintf("ip address add %s/%d dev eth0\n", ip, ip.BitLen())
		if ip.Is4() {
			script += fmt.Sprintf("arping -q -U -c 1 -W 0.1 -i eth0 -S %[1]s %[1]s || true\n", ip)
		}
	}
	return script
}

// insist has a host say again and again that it has the addresses.
func insist(ips []netip.Addr) string {
	script := ""
	for _, ip := range ips {
		if ip.Is4() {
			script += fmt.Sprintf("arping -q -U -c %[2]d -W 0.1 -i eth0 -S %[1]s %[1]s || true\n", ip, insistence)
			continue
		}
		// A kernel tells of an address when it gets it.
		script += fmt.Sprintf("for i in $(seq %[2]d); do ip address del %[1]s/128 dev eth0; ip address add %[1]s/128 dev eth0; sleep 0.1; done\n", ip, insistence)
	}
	return script
}

// forget takes the addresses away from a host.
func forget(ips []netip.Addr) string {
	script := ""
	for _, ip := range ips {
		script += fmt.Sprintf("ip address del %s/%d dev eth0 2>/dev/null || true\n", ip, ip.BitLen())
	}
	return script
}

// on runs a shell script on a host, also after the test.
func (l *lan) on(t *testing.T, host, script string) {
	t.Helper()
	if _, err := l.On(context.Background(), host, "sh", "-ec", script); err != nil {
		t.Fatal(err)
	}
}
