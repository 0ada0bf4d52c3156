package election

import (
	"net/netip"
	"slices"
)

// failback offers addresses to a node that their advertisement prefers, once
// after each change and when the change has settled.
func (e *Election) failback() {
	if e.failedBack == e.changed || e.now-e.changed < e.cfg.Failback {
		return
	}
	e.failedBack = e.changed
	limit := placeBound(len(e.addresses), e.usable())
	for _, a := range e.held(func(a *address) bool { return a.failback() }) {
		ranked := e.rank(a)
		if len(ranked) == 0 {
			continue
		}
		best, mine := ranked[0], candidate{e.self, a.preference(e.self), e.load[e.self] > limit, score(a.IP, e.self)}
		if best.preference > mine.preference || best.preference == mine.preference && !best.full && best.score > mine.score {
			e.claim(a, Offered, best.node, CauseFailback)
		}
	}
}

// rebalance offers one address to another node, where this one owns more than
// its share and nobody owns more: at most one in the cluster at a time.
func (e *Election) rebalance() {
	wait := e.cfg.Rebalance
	mine := e.load[e.self]
	if e.now-e.changed < wait || e.now-e.rebalanced <= wait || mine <= Bound(len(e.addresses), e.usable()) {
		return
	}
	for node := range e.members {
		if e.load[node] > mine || e.load[node] == mine && node < e.self {
			return
		}
	}
	for _, a := range e.held(func(*address) bool { return true }) {
		to := slices.IndexFunc(e.rank(a), func(c candidate) bool {
			return !c.full && c.preference >= a.preference(e.self)
		})
		if to >= 0 {
			e.claim(a, Offered, e.ranked[to].node, CauseRebalance)
			return
		}
	}
	// Nothing can move now. Look again later, not at every tick.
	e.rebalanced = e.now
}

// held are the addresses that this node holds and has offered to nobody, in
// order.
func (e *Election) held(which func(*address) bool) []*address {
	var out []*address
	for _, a := range e.addresses {
		if a.claim.Node == e.self && a.claim.Phase == Held && which(a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(x, y *address) int { return netip.Addr.Compare(x.IP, y.IP) })
	return out
}
