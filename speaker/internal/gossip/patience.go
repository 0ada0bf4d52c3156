package gossip

import "time"

const (
	// latenessEvery is how often this process looks how late its timers are.
	latenessEvery = 50 * time.Millisecond
	// A machine whose timers are later than tolerable is short of processor
	// time: it may have missed what the others sent, or be late to send. A death
	// is believed latenessFactor times the worst lateness of the last
	// latenessKept later, of the node that hears of it or of the one said to be
	// dead, whichever is worse; but at most mostPatience later.
	tolerable      = 100 * time.Millisecond
	latenessFactor = 4
	latenessKept   = 5 * time.Second
	mostPatience   = 3 * time.Second
	// latenessUnit is that of the byte in which a node tells its lateness.
	latenessUnit = 10 * time.Millisecond
)

// patience says how long to wait before a death that memberlist declares is
// believed: not at all, where both machines have processor time. Lifeguard
// slows down the probes of a node that is late, but not the suspicion, which is
// a fixed half second between few nodes.
type patience struct {
	worst time.Duration
	at    time.Time
	told  byte
}

// ran notes how late a timer was.
func (p *patience) ran(late time.Duration, now time.Time) {
	if late >= p.worst || now.Sub(p.at) > latenessKept {
		p.worst, p.at = late, now
	}
}

// lateness is how late this process is, 0 where that is tolerable.
func (p *patience) lateness(now time.Time) time.Duration {
	if p.worst <= tolerable || now.Sub(p.at) > latenessKept {
		return 0
	}
	return p.worst
}

// tell returns what to tell the others of it, and whether it is worth telling:
// it began, ended, or is twice what they know.
func (p *patience) tell(now time.Time) (byte, bool) {
	b := byte(min(p.lateness(now)/latenessUnit, 255))
	if (b == 0) == (p.told == 0) && int(b) < 2*int(p.told) || b == p.told {
		return p.told, false
	}
	p.told = b
	return b, true
}

// wait returns how long not to believe the death of a node that told so much.
func (p *patience) wait(told byte, now time.Time) time.Duration {
	return min(latenessFactor*max(p.lateness(now), time.Duration(told)*latenessUnit), mostPatience)
}
