package bfd

import (
	"math/rand/v2"
	"time"
)

// poll is where a Poll Sequence stands (RFC 5880 section 6.5).
type poll uint8

const (
	pollIdle poll = iota
	// polling: packets carry the Poll bit until one with Final comes.
	polling
	// pollSettling: the Final came. The next sequence waits for a packet
	// without it, so that it is known which of the two a Final answers
	// (section 6.8.3, the third choice).
	pollSettling
)

// session is one session's state, named as in RFC 5880 section 6.8.1 where it
// is there.
type session struct {
	path  Path
	cfg   Config
	rng   *rand.Rand
	ready *Ready

	discr       uint32 // bfd.LocalDiscr
	state       State  // bfd.SessionState
	diag        Diag   // bfd.LocalDiag
	since       time.Duration
	leaving     bool
	leaves      time.Duration // when it is gone, where it is leaving
	at          int           // its place in the heap of timers
	due         time.Duration
	flaps       uint64
	sent        uint64
	received    uint64
	echo        echo
	remote      remote
	remoteHeard time.Duration // when the last packet was received

	// minTx and minRx are bfd.DesiredMinTxInterval and
	// bfd.RequiredMinRxInterval: what packets say. usedTx and usedRx are what
	// is gone by, until a Poll Sequence ends.
	minTx, minRx   time.Duration
	usedTx, usedRx time.Duration
	poll           poll

	last   Packet        // as sent last, without Poll and Final
	sentAt time.Duration // when the last periodic packet was sent
	jitter float64       // of the interval after it
	final  bool          // a Final is owed
}

// remote is what the peer said last.
type remote struct {
	discr       uint32 // bfd.RemoteDiscr
	state       State  // bfd.RemoteSessionState
	diag        Diag
	minRx       time.Duration // bfd.RemoteMinRxInterval
	minTx       time.Duration
	minEchoRx   time.Duration
	mult        uint8 // zero: nothing is known of the peer
	demand      bool  // bfd.RemoteDemandMode
	independent bool  // the C bit
}

// nobody is what is known at first (section 6.8.1).
var nobody = remote{state: Down, minRx: time.Microsecond}

func newSession(now time.Duration, path Path, cfg Config, discr uint32, rng *rand.Rand, ready *Ready) *session {
	s := &session{path: path, cfg: cfg, rng: rng, ready: ready, discr: discr, state: Down, since: now, remote: nobody}
	s.echo.cookie = rng.Uint64()
	s.minTx, s.minRx = s.wanted()
	s.usedTx, s.usedRx = s.minTx, s.minRx
	s.sentAt = now
	return s
}

// wanted are the intervals that packets should say.
func (s *session) wanted() (tx, rx time.Duration) {
	tx, rx = s.cfg.TransmitInterval, s.cfg.ReceiveInterval
	if s.state != Up {
		tx = max(tx, slow)
	}
	if s.echoLeads() {
		rx = max(rx, slow)
	}
	return tx, rx
}

// adjust brings the intervals to what is wanted (section 6.8.3). While the
// session is Up, a change waits for the Poll Sequence of the one before it;
// atOnce makes it not wait.
func (s *session) adjust(atOnce bool) {
	tx, rx := s.wanted()
	if tx == s.minTx && rx == s.minRx || s.poll != pollIdle && s.state == Up && !atOnce {
		return
	}
	s.minTx, s.minRx = tx, rx
	s.poll = polling
	if s.state != Up || tx < s.usedTx {
		s.usedTx = tx
	}
	if s.state != Up || rx > s.usedRx {
		s.usedRx = rx
	}
}

func (s *session) setState(now time.Duration, to State, diag Diag) {
	if s.state == to {
		return
	}
	from := s.state
	s.state, s.diag, s.since = to, diag, now
	if from == Up {
		s.flaps++
		s.echo.stop()
	}
	s.adjust(true)
	s.ready.Changes = append(s.ready.Changes, Change{Path: s.path, At: now, From: from, To: to, Diag: diag, Remote: s.remote.state})
}

// txInterval is the negotiated interval to send at, before jitter (section
// 6.8.2).
func (s *session) txInterval() time.Duration { return max(s.usedTx, s.remote.minRx) }

// detectionTime is how long the peer may be silent (section 6.8.4); zero where
// nothing is known of it.
func (s *session) detectionTime() time.Duration {
	return time.Duration(s.remote.mult) * max(s.usedRx, s.remote.minTx)
}

// periodic says whether control packets are sent periodically (section 6.8.7).
func (s *session) periodic() bool {
	switch {
	case s.remote.minRx == 0:
		return false
	case s.cfg.Passive && s.remote.discr == 0:
		return false
	case s.remote.demand && s.state == Up && s.remote.state == Up && s.poll != polling:
		return false
	}
	return true
}

// nextSend is when the next periodic packet is due. It derives from the
// interval as it is now, so that a shorter one is honoured immediately.
func (s *session) nextSend() time.Duration {
	return s.sentAt + time.Duration(s.jitter*float64(s.txInterval()))
}

// packet is what there is to say.
func (s *session) packet() Packet {
	p := Packet{
		Diag: s.diag, State: s.state, DetectMult: s.cfg.DetectMultiplier,
		MyDiscriminator: s.discr, YourDiscriminator: s.remote.discr,
		DesiredMinTx: s.minTx, RequiredMinRx: s.minRx,
	}
	if s.cfg.Echo && s.path.canEcho() {
		p.RequiredMinEchoRx = s.cfg.EchoInterval
	}
	return p
}

func (s *session) send(p Packet) {
	s.sent++
	s.ready.Send = append(s.ready.Send, Transmission{Path: s.path, Packet: p})
	p.Poll, p.Final = false, false
	s.last = p
}

func (s *session) sendPeriodic(now time.Duration) {
	p := s.packet()
	p.Poll = s.poll == polling
	s.send(p)
	s.sentAt = now
	// Section 6.8.7: up to a quarter less than the interval, and with a
	// multiplier of 1 a tenth less at the least.
	longest := 1.0
	if s.cfg.DetectMultiplier == 1 {
		longest = 0.9
	}
	s.jitter = longest - (longest-0.75)*s.rng.Float64()
}

// receive acts on a packet that was found to be this session's, in the order
// of section 6.8.6.
func (s *session) receive(now time.Duration, p Packet) Drop {
	s.remote = remote{
		discr: p.MyDiscriminator, state: p.State, diag: p.Diag, minRx: p.RequiredMinRx, minTx: p.DesiredMinTx,
		minEchoRx: p.RequiredMinEchoRx, mult: p.DetectMult, demand: p.Demand, independent: p.ControlPlaneIndependent,
	}
	if s.remote.minEchoRx == 0 {
		s.echo.stop()
	}
	switch {
	case s.poll == polling && p.Final:
		s.poll = pollSettling
		s.usedTx, s.usedRx = s.minTx, s.minRx
	case s.poll == pollSettling && !p.Final:
		s.poll = pollIdle
	}
	if s.state == AdminDown {
		return SessionAdminDown
	}
	switch {
	case p.State == AdminDown:
		if s.state != Down {
			s.setState(now, Down, NeighborSignaledSessionDown)
		}
	case s.state == Down && p.State == Down:
		s.setState(now, Init, s.diag)
	case s.state == Down && p.State == Init, s.state == Init && (p.State == Init || p.State == Up):
		s.setState(now, Up, NoDiagnostic)
	case s.state == Up && p.State == Down:
		s.setState(now, Down, NeighborSignaledSessionDown)
	}
	s.final = s.final || p.Poll
	s.received++
	s.remoteHeard = now
	return ""
}

// change takes a new Config.
func (s *session) change(cfg Config) {
	s.cfg = cfg
	if !cfg.Echo {
		s.echo.stop()
	}
}

// leave begins to tell the peer that the session is administratively down,
// for a detection time (section 6.8.16). A peer that was never heard is not
// told.
func (s *session) leave(now time.Duration) {
	s.leaving = true
	s.leaves = now
	known := s.remote.mult != 0
	s.setState(now, AdminDown, AdministrativelyDown)
	if known {
		s.leaves += time.Duration(s.cfg.DetectMultiplier) * s.txInterval()
	}
}

// enable takes back leave.
func (s *session) enable(now time.Duration, cfg Config) {
	s.leaving = false
	s.cfg = cfg
	s.setState(now, Down, s.diag)
}

// advance does what became due.
func (s *session) advance(now time.Duration) {
	if t := s.detectionTime(); t > 0 && now >= s.remoteHeard+t {
		s.remote = nobody
		if s.state == Init || s.state == Up {
			s.setState(now, Down, ControlDetectionTimeExpired)
		}
	}
	if s.echoFailed(now) {
		s.setState(now, Down, EchoFunctionFailed)
	}
	if s.sent > 0 && s.periodic() && now >= s.nextSend() {
		s.sendPeriodic(now)
	}
	s.sendEcho(now)
}

// finish ends every step: it answers a Poll, and says at once what differs
// from what was said last (section 6.8.7).
func (s *session) finish(now time.Duration) {
	s.adjust(false)
	if s.final {
		s.final = false
		p := s.packet()
		p.Final = true
		s.send(p)
	}
	if s.packet() != s.last && s.periodic() {
		s.sendPeriodic(now)
	}
	s.due = s.next()
}

// next is when advance has something to do.
func (s *session) next() time.Duration {
	at := never
	if s.leaving {
		at = s.leaves
	}
	if t := s.detectionTime(); t > 0 {
		at = min(at, s.remoteHeard+t)
	}
	if s.periodic() && s.sent > 0 {
		at = min(at, s.nextSend())
	}
	return min(at, s.nextEcho())
}
