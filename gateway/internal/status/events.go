package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

const (
	// eventsPerSecond and eventsAtOnce bound the events about conditions. What
	// is beyond that is in the statuses and in the log.
	eventsPerSecond, eventsAtOnce = 10, 50
	// mostNote is what the API server takes, in bytes.
	mostNote = 1024
)

// positive are the types of conditions that are true where all is well. Of
// ours, and of the Gateway API's that we write, the others are false or absent
// then.
var positive = []string{"Accepted", programmed, "ResolvedRefs", "SupportedVersion", ingest.DefaultGateway}

const programmed = string(gwv1.GatewayConditionProgrammed)

// wrong says that a condition tells of something that is not as it should be.
func (d decision) wrong() bool {
	if slices.Contains(positive, d.kind) {
		return d.status == metav1.ConditionFalse
	}
	return d.status == metav1.ConditionTrue
}

// pending says that a condition tells of something that is on its way.
func (d decision) pending() bool { return d.reason == string(gwv1.GatewayReasonPending) }

// tell makes events about what is wrong now, and what is not any more: one for
// all listeners or parents of which the same is said. That something is on its
// way is none; that a new Gateway is served for the first time is.
func (t *Task) tell(about client.Object, turns []turn) {
	type news struct {
		kind string // of event
		decision
	}
	var order []news
	concerned := map[news][]string{}
	for _, turn := range turns {
		n := news{kind: corev1.EventTypeWarning, decision: turn.is}
		switch {
		case turn.is.pending(), turn.is.wrong() && turn.was.wrong() && turn.is.reason == turn.was.reason:
			continue
		case turn.is.kind == programmed && turn.was.status != metav1.ConditionTrue && turn.is.reason != string(reason.ServiceRefused):
			n.kind = corev1.EventTypeNormal
			if turn.about != programmed {
				continue // its listeners are served with it
			}
		case turn.is.wrong():
		case turn.was.wrong() && turn.is.status == metav1.ConditionTrue:
			n.kind = corev1.EventTypeNormal
		default:
			continue
		}
		if concerned[n] == nil {
			order = append(order, n)
		}
		concerned[n] = append(concerned[n], turn.about)
	}
	for _, n := range order {
		if !t.pace.TryAccept() {
			droppedEvents.Inc()
			continue
		}
		note := fmt.Sprintf("%s=%s: %s", excerpt.Names(concerned[n], 3), n.status, n.message)
		if len(note) > mostNote {
			note = strings.ToValidUTF8(note[:mostNote], "")
		}
		t.Events.Eventf(about, nil, n.kind, n.reason, "Translate", "%s", note)
	}
}
