package election

import (
	"net/netip"
	"slices"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// address is all that is known of one address.
type address struct {
	Address
	hash    uint64 // of IP, for scores
	changed int    // value of news when Address was set
	claim   Claim
	// vouched: the holder was a live member when the claim came.
	vouched bool
	wrote   time.Duration // when this node wrote a claim last
	// answering are the interfaces answered on.
	answering []string
	began     time.Duration

	// target ranks first for the orphan, since orphaned; due is when this node
	// claims it.
	target   string
	orphaned time.Duration
	due      time.Duration
	// ineligible is since when this node holds it and may not.
	ineligible time.Duration
	// offered is when this node offered it to another.
	offered time.Duration
	// took is the value of news when this node took it from a holder that it
	// believed may not have it; doubt is when it may without news, and patience
	// how long that was.
	took            int
	doubt, patience time.Duration

	fence

	// dirty: it is to be looked at; and at this time, if it has a slot among
	// the timers, counted from 1.
	dirty bool
	at    time.Duration
	slot  int

	// owner and why were told last, by Moves and Changed.
	owner string
	why   reason.Reason
}

func byIP(x, y *address) int { return netip.Addr.Compare(x.IP, y.IP) }

// evaluate decides what this node does about an address.
func (e *Election) evaluate(a *address) {
	e.unwake(a)
	if e.suspended != 0 {
		e.answer(a, false)
		return
	}
	c := a.claim
	live := e.live(c)
	a.vouched = a.vouched || live
	answer, open := false, true
	switch {
	case c.Term == 0 || c.Phase == Released || !live:
		a.ineligible = never
		answer = e.orphan(a)
	case c.Node == e.self:
		e.unplan(a)
		answer, open = e.mine(a)
	default:
		a.ineligible = never
		open = e.theirs(a)
	}
	if open {
		e.open[a] = struct{}{}
	} else {
		delete(e.open, a)
	}
	if a.claim == c {
		e.answer(a, answer)
		e.tell(a)
		e.pressed(a)
	}
}

// orphan is an address that nobody live holds. A node that answered until now,
// and yielded to one that is not there, goes on until it is settled.
func (e *Election) orphan(a *address) bool {
	keep := len(a.answering) > 0 && a.claim.Node != e.self && e.mayStay(a, e.self)
	if e.gathering(a) {
		e.unplan(a)
		e.wake(a, e.since+e.cfg.Gather)
		return keep
	}
	e.plan(a)
	// What nobody ever held is new to all proxies. Else there may be one that knows
	// it.
	if a.due == never || !e.unheard(a) || a.due > e.now || a.Behind && a.claim.Term > 0 {
		return keep
	}
	cause := CauseDied
	switch {
	case a.claim.Term == 0:
		cause = CauseNew
	case a.claim.Phase == Released:
		cause = CauseReleased
	case a.claim.Node == e.self:
		cause = CauseRestart
	}
	e.claim(a, Held, "", cause)
	return true
}

// gathering says whether to wait for the others of a start.
func (e *Election) gathering(a *address) bool {
	if a.claim.Term > 0 || e.now-e.since >= e.cfg.Gather {
		return false
	}
	if e.present < 0 {
		e.present = 0
		for node := range e.members {
			if _, told := e.states[node]; told {
				e.present++
			}
		}
	}
	return e.present <= e.others
}

// mine is an address that this node holds. It is open where the node may not.
func (e *Election) mine(a *address) (answer, open bool) {
	if a.claim.Phase == Deferred {
		a.ineligible = never
		return e.deferred(a), true
	}
	a.watching = false
	if a.foreign {
		_, known := e.nodeOf(a.other)
		if a.foreign = !known && e.now-a.heard < forgetForeign; a.foreign {
			e.wake(a, a.heard+forgetForeign)
		}
	}
	if a.claim.Phase == Offered {
		e.retract(a)
	}
	if e.mayStay(a, e.self) {
		a.ineligible = never
		return true, false
	}
	a.ineligible = min(a.ineligible, e.now)
	if e.now < a.ineligible+e.cfg.Handover && e.replaceable(a) {
		e.wake(a, a.ineligible+e.cfg.Handover)
		return true, true
	}
	e.claim(a, Released, "", CauseIneligible)
	return false, true
}

// theirs is an address that another live member holds. It is open where that
// one may not.
func (e *Election) theirs(a *address) (open bool) {
	a.watching, a.foreign = false, false
	_, told := e.states[a.claim.Node]
	switch {
	case a.claim.To == e.self && e.reason(&a.Address, e.self) == "" && !a.Behind,
		// It does not answer, but this node does. Though it may defer to a third:
		// it may have heard that one long ago, and if not, both hear each other.
		a.claim.Phase == Deferred && len(a.answering) > 0 && e.mayStay(a, e.self):
		e.unplan(a)
		e.claim(a, Held, "", a.claim.Cause)
	case told && e.reason(&a.Address, a.claim.Node) != "":
		e.plan(a)
		if a.due <= e.now && !a.Behind && e.mayDepose(a) {
			e.claim(a, Held, "", CauseIneligible)
		}
		return true
	default:
		e.unplan(a)
	}
	return false
}

// mayDepose says whether to take the address from a holder that this node
// believes may not have it. The API's word reaches nodes at different times, and
// where it is cut off not at all: two nodes that each believe that the other
// may not, each with a word of its own, would take the address from each other
// as fast as messages go. So one word is good for one taking; without news of
// any of the two the next waits, and each further one twice as long.
func (e *Election) mayDepose(a *address) bool {
	switch {
	case max(a.changed, e.stood[a.claim.Node], e.stood[e.self]) > a.took:
		a.patience = firstDoubt
	case e.now < a.doubt:
		e.wake(a, a.doubt)
		return false
	default:
		a.patience *= 2
	}
	a.took, a.doubt = e.news, e.now+a.patience
	return true
}

// answer makes the difference to what was answered before.
func (e *Election) answer(a *address, on bool) {
	var names []string
	if on && !a.Behind {
		a.interfaces(e.self, e.states[e.self].Interfaces, func(name string) bool {
			names = append(names, name)
			return true
		})
		if len(names) == 0 {
			// The advertisement left the node out: until the successor answers, it
			// goes on where it did.
			for _, i := range e.states[e.self].Interfaces {
				if slices.Contains(a.answering, i.Name) {
					names = append(names, i.Name)
				}
			}
		}
	}
	switch {
	case slices.Equal(names, a.answering):
		return
	case len(names) == 0:
		delete(e.answering, a)
		e.ready.Withdraw = append(e.ready.Withdraw, a.IP)
	default:
		if len(a.answering) == 0 {
			a.began, a.contested = e.now, never
		}
		e.answering[a] = struct{}{}
		e.ready.Answer = append(e.ready.Answer, Answer{a.IP, names})
	}
	a.answering = names
}

// ownerOf is who answers, by the claim: also the speaker that the holder
// deferred to.
func (e *Election) ownerOf(c Claim) string {
	switch {
	case !e.live(c):
		return ""
	case c.Phase >= Offered:
		return c.Node
	case c.Phase == Deferred:
		return c.To
	}
	return ""
}

// owner is who answers. What this node holds and does not answer for yet, nobody
// answers for.
func (e *Election) owner(a *address) string {
	owner := e.ownerOf(a.claim)
	if owner == e.self && a.Behind {
		return ""
	}
	return owner
}

// tell notes changes that others than this package want to know.
func (e *Election) tell(a *address) {
	owner := e.owner(a)
	if owner != a.owner && owner != "" {
		e.ready.Moves = append(e.ready.Moves, Move{a.IP, a.owner, owner, a.claim.Cause})
	}
	why := reason.Announced
	if owner == "" {
		why = e.unannounced(a)
	}
	if owner != a.owner || why != a.why {
		e.ready.Changed = append(e.ready.Changed, a.IP)
	}
	a.owner, a.why = owner, why
}
