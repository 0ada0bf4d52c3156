package election

import (
	"net/netip"
	"slices"
	"time"
)

// Fencing: speakers that cannot talk to each other still hear each other's
// announcements where they share a segment. Where two answer for an address, they
// call each other by gossip; if that does not settle it soon, both announce it
// once more, both see the same pair of hardware addresses, and the same one of
// them stops: it defers to the other, asks the segment for the address from time
// to time, and takes it when nobody answers any more. A foreign host that answers
// is treated alike, but not waited for, and reported; so nothing is fought over
// for ever (RFC 5227 section 2.4).
//
// They may have announced while they could not hear each other. So while speakers
// are missing, each announces every second some of the addresses that it took
// since; and who hears one that is missing announce what it answers for itself
// announces all that it answers for, so that both hear all at once.

const (
	// probeEvery is how long after an answer an address that is deferred is probed
	// for again, and probeAgain how long after a probe that nobody answered.
	probeEvery = time.Second
	probeAgain = 250 * time.Millisecond
	// probeSoon is the latter when it has just been deferred.
	probeSoon = 100 * time.Millisecond
	// probesOfCaution go out before a lone node takes an address.
	probesOfCaution = 3
	// defendEvery limits what a winner says to another speaker, and
	// defendForeign to a foreign host (RFC 5227 DEFEND_INTERVAL).
	defendEvery   = 200 * time.Millisecond
	defendForeign = 10 * time.Second
	// suspicion is how long after an interface is back others are missed because
	// it was away.
	suspicion = time.Second
	// callEvery is the time between announcements of some addresses while
	// speakers are missing, and callMost how many those are: they are repeated,
	// and a speaker may be missing for weeks.
	callEvery = time.Second
	callMost  = 8
	// forgetForeign is how long a conflict is reported after the last sign.
	forgetForeign = 30 * time.Second
)

// fencing is what a node knows of speakers that are missing.
type fencing struct {
	absent      int
	absentSince time.Duration // what was taken before, nobody else has taken
	// blind is when this node lost an interface last, and sighted when it had one
	// more last; never: it lost none.
	blind, sighted time.Duration
	called         time.Duration
	last           netip.Addr // called for
	calledAll      time.Duration
}

// call announces some of the addresses that a missing speaker may answer for,
// too: next time those that follow on them.
func (e *Election) call() {
	if e.absent == 0 || e.now-e.called < callEvery {
		return
	}
	e.called = e.now
	all := e.inOrder()
	first, _ := slices.BinarySearchFunc(all, e.last, func(a *address, ip netip.Addr) int { return a.IP.Compare(ip) })
	called := 0
	for i := range all {
		a := all[(first+1+i)%len(all)]
		if len(a.answering) == 0 || a.began < e.absentSince {
			continue
		}
		e.ready.Defend = append(e.ready.Defend, a.IP)
		e.last = a.IP
		if called++; called == callMost {
			break
		}
	}
}

// callAll answers a missing speaker that announces what this node answers for.
func (e *Election) callAll() {
	if e.calledAll != 0 && e.now-e.calledAll < callEvery {
		return
	}
	e.calledAll = e.now
	for _, a := range e.inOrder() {
		if len(a.answering) > 0 {
			e.ready.Defend = append(e.ready.Defend, a.IP)
		}
	}
}

// fence is what a node knows of others that answer for an address.
type fence struct {
	// watching until: the address is not taken before, and probed for.
	watching bool
	until    time.Duration
	probe    time.Duration
	every    time.Duration
	// contested since: another speaker was heard to answer, too, since this one
	// began; never: none was. press is when this one announces once more, so that
	// both hear each other.
	contested time.Duration
	press     time.Duration
	defended  time.Duration
	// foreign: the other is no speaker; heard last.
	foreign bool
	other   MAC
	heard   time.Duration
}

func (f *fence) watch(now, hold, every time.Duration) {
	f.watching, f.until, f.probe, f.every = true, now+hold, now, every
}

// pressed announces a contested address when gossip had its time.
func (e *Election) pressed(a *address) {
	switch {
	case a.press == 0:
	case len(a.answering) == 0:
		a.press = 0
	case e.now < a.press:
		e.wake(a, a.press)
	default:
		a.press = 0
		e.ready.Defend = append(e.ready.Defend, a.IP)
	}
}

// exchange asks for all that a peer knows, and tells it all that this node
// knows, as far as that has not just been done.
func (e *Election) exchange(peer string) {
	if e.now >= e.resync[peer] {
		e.ready.Resync = append(e.ready.Resync, peer)
		e.resync[peer] = e.now + e.cfg.Contest/2
	}
}

// outranks says which of two hardware addresses goes on answering for ip.
func outranks(ev SawAnnouncement) bool {
	ip := hashOf(ev.IP)
	return score(ip, string(ev.Mine[:])) > score(ip, string(ev.From[:]))
}

func (e *Election) sawAnnouncement(ev SawAnnouncement) {
	a := e.addresses[ev.IP]
	if a == nil || !e.joined {
		return
	}
	peer, known := e.nodeOf(ev.From)
	if peer == e.self {
		return
	}
	a.heard, a.other = e.now, ev.From
	if len(a.answering) == 0 {
		if a.watching {
			a.until, a.probe, a.every = e.now+e.yielding(a), e.now+probeEvery, probeAgain
			a.foreign = !known
			e.touch(a)
		}
		return
	}
	if known {
		if _, live := e.members[peer]; !live {
			e.callAll()
		}
		// Gossip settles it, unless it does not: then the next announcement does.
		if a.contested == never || e.now-a.contested > 4*e.cfg.Contest {
			a.contested = e.now
			a.press = e.now + e.cfg.Contest
			e.touch(a)
		}
		// One exchange is about all addresses at once.
		e.exchange(peer)
		if e.now-a.contested < e.cfg.Contest {
			return
		}
	}
	if outranks(ev) {
		if a.claim.Node != e.self {
			// It went on answering for a holder that was not there. That one is, but
			// yields to this: its claim must not have both stop.
			e.claim(a, Held, "", CauseFenced)
		}
		every := defendEvery
		if !known {
			every = defendForeign
		}
		if a.foreign = !known; a.defended == 0 || e.now-a.defended >= every {
			a.defended = e.now
			e.ready.Defend = append(e.ready.Defend, ev.IP)
		}
		e.touch(a)
		return
	}
	a.foreign = !known
	// The other may stop at this very moment: it is to answer soon.
	a.watch(e.now, e.yielding(a)/6, probeSoon)
	e.claim(a, Deferred, peer, CauseFenced)
}

// yielding is how long a node that yielded waits for the next sign of the
// other. It differs between nodes: two that share two segments may each win in
// one, both stop, and must not both come back at once.
func (e *Election) yielding(a *address) time.Duration {
	return e.cfg.Fence + e.cfg.Fence/8*time.Duration(score(a.hash, e.self)%8)
}

// learnMACs notes the hardware addresses of a node. They stay with it while its
// interfaces are away: the first that is heard of one that is back may be an
// announcement.
func (e *Election) learnMACs(s NodeState) {
	for _, i := range s.Interfaces {
		e.macs[i.MAC] = s.Node
	}
}

// nodeOf names the node that has, or had, the hardware address.
func (e *Election) nodeOf(mac MAC) (string, bool) {
	node, known := e.macs[mac]
	return node, known
}

// unheard says whether nobody was heard to answer for an orphan. A node that
// is alone though there should be others asks the segment first, and so does one
// of whose own interfaces was away when it missed the holder: it may be that it was
// cut off from them, not they from it.
func (e *Election) unheard(a *address) bool {
	alone := len(e.members) == 1 && (e.others > 0 || len(e.states) > 1)
	missed, was := e.left[a.claim.Node]
	unsure := was && missed >= e.blind && missed < e.sighted+suspicion && e.now-e.sighted < e.cfg.Merge
	if !a.watching {
		if !alone && !unsure {
			return true
		}
		a.watch(e.now, e.cfg.Caution, e.cfg.Caution/probesOfCaution)
	}
	return e.waited(a)
}

// deferred says whether the host deferred to is gone, and takes over from it.
func (e *Election) deferred(a *address) bool {
	if !a.watching {
		a.watch(e.now, e.yielding(a), probeAgain)
	}
	if !e.mayStay(a, e.self) {
		e.claim(a, Released, "", CauseIneligible)
		return false
	}
	if !e.waited(a) {
		return false
	}
	a.foreign = false
	e.claim(a, Held, "", CauseReleased)
	return true
}

// waited probes while there is time, and says whether it is over.
func (e *Election) waited(a *address) bool {
	if e.now >= a.until {
		return true
	}
	if e.now >= a.probe {
		a.probe = e.now + a.every
		var names []string
		a.interfaces(e.self, e.states[e.self].Interfaces, func(name string) bool { names = append(names, name); return true })
		e.ready.Probe = append(e.ready.Probe, Answer{a.IP, names})
	}
	e.wake(a, min(a.probe, a.until))
	return false
}
