//go:build e2e

package layer2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// lose takes a node away that has addresses of both families, and shows that
// neighbour tables turn to others that answer, that no other address moves, and
// that the Services say why the node is not chosen, where there is a reason that
// lasts. It returns the owners then.
func (l *lan) lose(t *testing.T, reason string, fault func(node string)) (lost string, now owners) {
	t.Helper()
	lost, before := l.victim(t)
	ips := before.of(lost)
	l.warm(t, ips...)
	l.turned(t, before.only(ips))
	began := time.Now()
	fault(lost)
	now = l.left(t, lost, l.ips...)
	t.Logf("the addresses of %s have other owners after at most %v", lost, time.Since(began).Round(time.Millisecond))
	l.turned(t, now.only(ips))
	l.warm(t, ips...)
	for ip, node := range before {
		if node != lost && now[ip] != node {
			t.Errorf("%s moved from %s to %s, though %s was lost", ip, node, now[ip], lost)
		}
	}
	for i := range services {
		name := fmt.Sprintf("s%d", i)
		moved := func(ip netip.Addr) bool { return before[ip] == lost }
		if reason != "" && slices.ContainsFunc(addresses(l.Service(t, l.namespace, name, "announced", announced)), moved) {
			l.tells(t, l.namespace, name, lost, reason)
		}
	}
	return lost, now
}

func TestLinkCut(t *testing.T) {
	l := scenario(t)
	_, now := l.lose(t, "SpeakerDown", func(node string) { l.fault(t, lab.LinkDown, node) })
	l.heal(t)
	l.unmoved(t, now)
}

// Nothing says good-bye when a node is powered off.
func TestPowerOff(t *testing.T) {
	l := scenario(t)
	_, now := l.lose(t, "SpeakerDown", func(node string) { l.fault(t, lab.PowerOff, node) })
	l.heal(t)
	l.unmoved(t, now)
}

// A node that nobody knows takes nothing by force.
func TestNewNode(t *testing.T) {
	l := scenario(t)
	lost, now := l.lose(t, "SpeakerDown", func(node string) { l.fault(t, lab.PowerOff, node) })
	if err := l.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: lost}}); err != nil {
		t.Fatal(err)
	}
	l.heal(t)
	l.unmoved(t, now)
}

// A speaker that is told to stop hands over what it has; the one that comes in
// its place takes nothing back.
func TestDrain(t *testing.T) {
	l := scenario(t)
	_, now := l.lose(t, "", func(node string) {
		if _, err := l.Kubectl("delete", "pod", "-n", cluster.System, "-l", "app.kubernetes.io/component=speaker",
			"--field-selector=spec.nodeName="+node); err != nil {
			t.Fatal(err)
		}
	})
	l.heal(t)
	l.unmoved(t, now)
}

// A speaker that is killed is missed, or back before it is: its addresses have
// one owner in either case, and no two for long.
func TestSpeakerKilled(t *testing.T) {
	l := scenario(t)
	lost, before := l.victim(t)
	ips := before.of(lost)
	l.warm(t, ips...)
	w := l.watch(t)
	l.fault(t, lab.KillSpeaker, lost)
	cluster.Eventually(t, "the speaker is missed, or back", func(ctx context.Context) error {
		return l.together(ctx, len(l.names()))
	})
	l.warm(t, ips...)
	w.judge(t)
	now := l.owners(t, l.ips...)
	l.turned(t, now.only(ips))
	for ip, node := range before {
		if node != lost && now[ip] != node {
			t.Errorf("%s moved from %s to %s, though the speaker of %s was killed", ip, node, now[ip], lost)
		}
	}
}

// The speakers need no API server to follow each other.
func TestAPIServerDown(t *testing.T) {
	l := scenario(t)
	_, now := l.lose(t, "", func(node string) {
		l.fault(t, lab.CutAPIServer, lab.HostControlPlane)
		l.fault(t, lab.LinkDown, node)
	})
	l.heal(t)
	l.unmoved(t, now)
}

// An interface goes, and one of the same name comes: what was answered there
// goes to others, and what no other may have is answered there again.
func TestInterfaceRemovedAndAdded(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	node, _ := l.victim(t)
	l.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+pool("pinned", "172.30.0.170-172.30.0.173", "fd00:30::2:0/120")+
		advertisement("pinned", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: "+node+"}}]")+
		service("pinned", "porchlight.dev/address-pool: pinned"))
	pinned := addresses(l.Service(t, ns, "pinned", "announced", announced))
	l.ownedBy(t, node, pinned...)
	l.warm(t, pinned...)

	lost, now := l.lose(t, "SpeakerDown", func(node string) { l.fault(t, lab.Unplug, node) })
	if lost != node {
		t.Fatalf("%s was lost, not %s", lost, node)
	}
	l.silent(t, pinned...)
	l.Service(t, ns, "pinned", "Announced=False, NoEligibleNode", func(s *corev1.Service) bool {
		return condition(s, metav1.ConditionFalse, "NoEligibleNode")
	})
	l.heal(t)
	l.ownedBy(t, node, pinned...)
	l.warm(t, pinned...)
	l.Service(t, ns, "pinned", "announced", announced)
	l.unmoved(t, now)
}
