package election

// This file is what a speaker makes of what others say: their states, and
// their claims beside its own.

// count keeps the load of the holder of a claim.
func (e *Election) count(c Claim, by int) {
	if c.Term > 0 && c.Phase != Released {
		e.load[c.Node] += by
	}
}

func (e *Election) receive(m Message) {
	for _, s := range m.States {
		old, known := e.states[s.Node]
		switch {
		case s.Node == e.self:
			// An earlier run of this node said so: say what is so now.
			if s.Version >= old.Version && !s.sameAs(old) || s.Version > old.Version {
				old.Version = s.Version + 1
				e.states[e.self] = old
				e.sendState()
			}
		case !known || s.Version > old.Version:
			e.states[s.Node] = s
			if !known || !s.sameAs(old) {
				e.standing()
			}
		}
	}
	for _, c := range m.Claims {
		a := e.addresses[c.Address]
		if a == nil {
			if s, ok := e.strangers[c.Address]; !ok || c.Beats(s.claim) {
				e.strangers[c.Address] = stranger{c, e.now}
			}
			continue
		}
		if !c.Beats(a.claim) {
			if a.claim.Beats(c) && a.claim.Node == e.self && e.joined {
				// Somebody missed the claim that stands.
				e.ready.Send.Claims = append(e.ready.Send.Claims, a.claim)
			}
			continue
		}
		deposed := a.claim.Node == e.self && a.claim.Phase >= Offered && e.joined
		e.adopt(a, c)
		if deposed && c.Node != e.self && e.mayReassert(a, c) {
			e.claim(a, Held, "", CauseReassert)
		}
	}
}

// mayReassert says whether to take back what another took because it believed
// this node dead, when it was the other that was cut off: the other was away,
// is only just back, and its part of the cluster was no larger than ours. A
// node that noticed nobody's absence was itself the one that was away.
func (e *Election) mayReassert(a *address, c Claim) bool {
	if c.Cause != CauseDied || c.Weight > e.leastWeight() || e.reason(&a.Address, e.self) != "" {
		return false
	}
	since, live := e.members[c.Node]
	return !live || e.now-since < e.cfg.Merge
}

// adopt takes a claim over the present one.
func (e *Election) adopt(a *address, c Claim) {
	e.unplan(a)
	e.count(a.claim, -1)
	a.claim = c
	e.count(c, 1)
	_, a.vouched = e.members[c.Node]
	if c.Cause == CauseRebalance {
		e.rebalanced = e.now
	}
	e.dirty[c.Address] = struct{}{}
}

// claim writes a claim of this node, and tells the others.
func (e *Election) claim(a *address, phase Phase, to string, cause Cause) {
	e.adopt(a, Claim{
		Address: a.IP, Term: a.claim.Term + 1, Node: e.self, Phase: phase, To: to, Weight: len(e.members), Cause: cause,
	})
	e.ready.Send.Claims = append(e.ready.Send.Claims, a.claim)
}
