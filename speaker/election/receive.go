package election

// This file is what a speaker makes of what others say: their states, and
// their claims beside its own.

func (e *Election) receive(m Message) {
	for _, s := range m.States {
		old, known := e.states[s.Node]
		switch {
		case s.Node == e.self:
			if s.newerThan(old) {
				// An earlier run of this node said so, by a clock that was ahead.
				e.renew(s.Run + 1)
			}
		case !known || s.newerThan(old):
			e.states[s.Node] = s
			if !known || s.Run != old.Run || !s.sameAs(old) {
				e.learnMACs(s)
				e.standing(s.Node)
			}
		}
	}
	for _, c := range m.Claims {
		if c.Node == e.self && c.Run > e.states[e.self].Run {
			e.renew(c.Run + 1)
		}
		a := e.addresses[c.Address]
		if a == nil {
			if s, ok := e.strangers[c.Address]; !ok || c.Beats(s.claim) {
				e.strangers[c.Address] = stranger{c, e.now}
			}
			continue
		}
		mine := a.claim
		if !c.Beats(mine) {
			if mine != c && mine.Node == e.self && e.joined {
				// Somebody missed the claim that stands.
				e.outClaims[c.Address] = struct{}{}
			}
			continue
		}
		e.adopt(a, c)
		if e.live(mine) && !e.live(c) && mine.Node != e.self {
			// It comes late, and nobody answers because of it: whom it is to displace
			// does, and takes the address back as soon as it hears of it.
			e.exchange(mine.Node)
		}
		if mine.Node != e.self || mine.Phase < Offered || c.Node == e.self || !e.joined {
			continue
		}
		switch {
		case e.mayReassert(a, c):
			e.claim(a, Held, "", CauseReassert)
		case c.Term != mine.Term+1:
			// Its holder may have forgotten it, as it did not follow on ours.
			e.outClaims[c.Address] = struct{}{}
		}
	}
}

// renew begins a new run of this node for the others: what is known of it is of
// another one. Its claims are void with that, and it writes them anew.
func (e *Election) renew(run uint64) {
	s := e.states[e.self]
	s.Run = run
	e.states[e.self] = s
	e.sendState()
	e.standing(e.self)
}

// void says whether a claim is of an earlier run of its holder.
func (e *Election) void(c Claim) bool { return c.Run < e.states[c.Node].Run }

// live says whether the holder of a claim may be there to act on it.
func (e *Election) live(c Claim) bool {
	_, member := e.members[c.Node]
	return member && !e.void(c)
}

// mayReassert says whether to take back what another took although it should
// not have. Either the claim is void, and nobody answers because of it. Or the
// other has just heard on the segment that it is to yield to this node: both
// would stop. Or it believed this node dead, when it was the other that was cut
// off: it was away, is only just back, and its part of the cluster was no larger
// than ours. A node that noticed nobody's absence was itself the one that was away,
// and so was one that did not answer when it did.
func (e *Election) mayReassert(a *address, c Claim) bool {
	if e.suspended != 0 || e.reason(&a.Address, e.self) != "" {
		return false
	}
	if e.void(c) {
		return true
	}
	if peer, _ := e.nodeOf(a.other); peer == c.Node && a.defended != 0 && e.now-a.defended < e.cfg.Contest {
		return true
	}
	if c.Cause != CauseDied || c.Weight > e.leastWeight() {
		return false
	}
	since, live := e.members[c.Node]
	missed, was := e.left[c.Node]
	return (!live || e.now-since < e.cfg.Merge) && (!was || a.began < missed)
}

// adopt takes a claim over the present one.
func (e *Election) adopt(a *address, c Claim) {
	e.unplan(a)
	e.unhold(a)
	a.claim = c
	e.hold(a)
	_, a.vouched = e.members[c.Node]
	if c.Cause == CauseRebalance {
		e.rebalanced = e.now
	}
	e.touch(a)
}

// hold enters the address with its holder, and unhold takes it out.
func (e *Election) hold(a *address) {
	if a.claim.Term == 0 || a.claim.Phase == Released {
		return
	}
	e.loadOf(a.claim.Node).held[a] = struct{}{}
}

func (e *Election) unhold(a *address) { delete(e.held(a.claim.Node), a) }

// claim writes a claim of this node, and tells the others.
func (e *Election) claim(a *address, phase Phase, to string, cause Cause) {
	e.adopt(a, Claim{
		Address: a.IP, Term: a.claim.Term + 1, Node: e.self, Run: e.states[e.self].Run,
		Phase: phase, To: to, Weight: len(e.members), Cause: cause,
	})
	a.wrote = e.now
	e.outClaims[a.IP] = struct{}{}
}
