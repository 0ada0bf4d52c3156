package ingest

import (
	"fmt"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// findConflicts marks the listeners that cannot be told apart. The groups are
// those of the Gateway and of each of its ListenerSets, in order of precedence.
// Within a group none of them is accepted: there is no winner
// (GatewaySpec.Listeners); from one group to the next, the earlier one is left
// alone (ListenerSetSpec), and the later one is nobody's rival any more. Listeners of protocols that we do not support take
// no part.
func findConflicts(groups [][]*listener) {
	var before []*listener
	for _, group := range groups {
		var rest []*listener
		for _, a := range group {
			for _, b := range before {
				a.conflict(b)
			}
			if !a.conflicted.ok {
				rest = append(rest, a)
			}
		}
		for i, a := range rest {
			for j, b := range rest {
				if i != j {
					a.conflict(b)
				}
			}
		}
		for _, l := range group {
			if l.conflicted.ok {
				l.accepted = verdict{false, l.conflicted.reason, l.conflicted.message}
			} else {
				before = append(before, l)
			}
		}
	}
}

// conflict marks a where b claims the same traffic.
func (l *listener) conflict(b *listener) {
	_, ours := supportedKinds[l.spec.Protocol]
	_, theirs := supportedKinds[b.spec.Protocol]
	if !ours || !theirs || l.spec.Port != b.spec.Port || (l.protocol() == ir.UDP) != (b.protocol() == ir.UDP) {
		return
	}
	switch p := l.protocol(); {
	case p != b.protocol():
		l.conflicted = yes(gwv1.ListenerReasonProtocolConflict,
			fmt.Sprintf("Listener %s has another protocol on port %d.", b.spec.Name, l.spec.Port))
	case l.conflicted.ok:
	case p == ir.TCP || p == ir.UDP:
		l.conflicted = yes(gwv1.ListenerReasonProtocolConflict,
			fmt.Sprintf("Listener %s has port %d too; nothing tells their clients apart.", b.spec.Name, l.spec.Port))
	case l.hostname == b.hostname:
		l.conflicted = yes(gwv1.ListenerReasonHostnameConflict,
			fmt.Sprintf("Listener %s has the same hostname on port %d.", b.spec.Name, l.spec.Port))
	}
}
