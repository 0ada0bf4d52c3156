package election

import (
	"cmp"
	"slices"
)

// failback offers addresses to a node that their advertisement prefers, once
// after each change and when the change has settled; and again where an offer
// was not taken.
func (e *Election) failback() {
	fresh := e.failedBack != e.changed && e.now-e.changed >= e.cfg.Failback
	if !fresh && e.now < e.retry {
		return
	}
	e.failedBack, e.retry = e.changed, never
	limit := placeBound(len(e.addresses), len(e.ableNodes()))
	for _, a := range e.mineHeld() {
		if !a.failback() {
			continue
		}
		ranked := e.rank(a)
		if len(ranked) == 0 {
			continue
		}
		best, mine := ranked[0], candidate{e.self, false, a.preference(e.self), len(e.held(e.self)) > limit, score(a.hash, e.self), false}
		if best.preference > mine.preference || best.preference == mine.preference && !best.full && best.score > mine.score {
			e.offer(a, best.node, CauseFailback)
		}
	}
}

// rebalance offers one address to another node, where this one owns more than
// its share and nobody owns more: at most one in the cluster at a time.
func (e *Election) rebalance() {
	wait := e.cfg.Rebalance
	mine := len(e.held(e.self))
	if e.now-e.changed < wait || e.now-e.rebalanced <= wait || mine <= Bound(len(e.addresses), len(e.ableNodes())) {
		return
	}
	for node := range e.members {
		if n := len(e.held(node)); n > mine || n == mine && node < e.self {
			return
		}
	}
	held := e.mineHeld()
	// One that was offered in vain comes after the others.
	slices.SortStableFunc(held, func(x, y *address) int { return cmp.Compare(x.offered, y.offered) })
	for _, a := range held {
		to := slices.IndexFunc(e.rank(a), func(c candidate) bool {
			return !c.full && c.preference >= a.preference(e.self)
		})
		if to >= 0 {
			e.offer(a, e.ranked[to].node, CauseRebalance)
			return
		}
	}
	// Nothing can move now. Look again later, not at every tick.
	e.rebalanced = e.now
}

func (e *Election) offer(a *address, to string, cause Cause) {
	a.offered = e.now
	e.claim(a, Offered, to, cause)
}

// retract takes an offer back that was not taken: whom it was made to may not
// know of the address, and would take it long after there was a reason to.
func (e *Election) retract(a *address) {
	if _, live := e.members[a.claim.To]; live && e.now < a.offered+e.cfg.Handover {
		e.wake(a, a.offered+e.cfg.Handover)
		return
	}
	if a.claim.Cause == CauseFailback {
		e.retry = e.now + e.cfg.Rebalance
	}
	e.claim(a, Held, "", a.claim.Cause)
}

// mineHeld are the addresses that this node holds and has offered to nobody,
// in order.
func (e *Election) mineHeld() []*address {
	var out []*address
	for a := range e.held(e.self) {
		if a.claim.Phase == Held {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, byIP)
	return out
}
