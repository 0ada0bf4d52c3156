package bfd

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

const never = time.Duration(math.MaxInt64)

// Table holds the sessions of a node.
type Table struct {
	rng      *rand.Rand
	sessions map[Path]*session
	byDiscr  map[uint32]*session
	byRemote map[route][]*session
	timers   timers
	ready    Ready
}

// route is what packets that name no session are told apart by first.
type route struct {
	remote   netip.Addr
	vrf      string
	multihop bool
}

func (p Path) route() route { return route{p.Remote, p.VRF, p.Multihop} }

// Ready is what is to be done, in order.
type Ready struct {
	// Send are control packets, each with TTL 255.
	Send []Transmission
	// Echo are echo packets: the peer is to forward each back to this node
	// (RFC 5881 section 4).
	Echo []EchoTransmission
	// Changes are changes of state, in the order in which they happened.
	Changes []Change
	// Gone are removed sessions that have nothing to say any more.
	Gone []Path
}

// Transmission is a control packet to send.
type Transmission struct {
	Path   Path
	Packet Packet
}

// EchoTransmission is an echo packet to send.
type EchoTransmission struct {
	Path    Path
	Payload []byte
}

// Change is a change of a session's state.
type Change struct {
	Path     Path
	At       time.Duration
	From, To State
	// Diag is why, where To is Down or AdminDown.
	Diag Diag
	// Remote is the state that the peer reported last. AdminDown says that the
	// peer took its side down on purpose: no failure of the path (RFC 5882
	// section 3.2).
	Remote State
}

// Arrival is what is known of a packet besides its payload.
type Arrival struct {
	Remote, Local netip.Addr // without zone
	Interface     string
	VRF           string
	TTL           int
	Multihop      bool // it came to the port of RFC 5883
}

// Status is what is to be told of a session. Times are those of the calls.
type Status struct {
	Path               Path
	State, RemoteState State
	Diag, RemoteDiag   Diag
	Since              time.Duration
	Local, Remote      uint32 // discriminators; zero: none known
	// Transmit is the negotiated interval, before jitter; Detection is the
	// detection time, zero while nothing is known of the peer.
	Transmit, Detection time.Duration
	// EchoDetection is zero while echo packets do not do the detection.
	EchoDetection time.Duration
	// Independent says that the peer's BFD does not share the fate of its
	// control plane (the C bit).
	Independent                              bool
	Flaps                                    uint64
	Sent, Received, EchoSent, EchoesReceived uint64
}

// New returns an empty Table. rng decides discriminators, which must not
// repeat those of an earlier run, and jitter.
func New(rng *rand.Rand) *Table {
	return &Table{rng: rng, sessions: map[Path]*session{}, byDiscr: map[uint32]*session{}, byRemote: map[route][]*session{}}
}

// Add adds a session; one that was removed and is not gone goes on. The error
// is a Refusal.
func (t *Table) Add(now time.Duration, path Path, cfg Config) error {
	if err := path.check(); err != nil {
		return err
	}
	if err := cfg.check(); err != nil {
		return err
	}
	s := t.sessions[path]
	switch {
	case s != nil && !s.leaving:
		return fmt.Errorf("%w: %s", SessionExists, path)
	case s != nil:
		s.enable(now, cfg)
	default:
		s = newSession(now, path, cfg, t.discriminator(), t.rng, &t.ready)
		t.sessions[path] = s
		t.byDiscr[s.discr] = s
		t.byRemote[path.route()] = append(t.byRemote[path.route()], s)
		heap.Push(&t.timers, s)
	}
	t.finish(now, s)
	return nil
}

func (t *Table) discriminator() uint32 {
	for {
		if d := t.rng.Uint32(); d != 0 && t.byDiscr[d] == nil {
			return d
		}
	}
}

// Change gives a session another Config, without touching its state (RFC 5880
// section 6.8.3). The error is a Refusal.
func (t *Table) Change(now time.Duration, path Path, cfg Config) error {
	if err := cfg.check(); err != nil {
		return err
	}
	s := t.sessions[path]
	if s == nil || s.leaving {
		return fmt.Errorf("%w: %s", UnknownSession, path)
	}
	s.change(cfg)
	t.finish(now, s)
	return nil
}

// Remove takes a session down administratively. Once the peer had the time to
// learn of it, the session is gone.
func (t *Table) Remove(now time.Duration, path Path) {
	if s := t.sessions[path]; s != nil && !s.leaving {
		s.leave(now)
		t.finish(now, s)
	}
}

// Receive takes a control packet. It reports why the packet was dropped, or
// whose it was.
func (t *Table) Receive(now time.Duration, from Arrival, payload []byte) (Path, Drop) {
	p, drop := Unmarshal(payload)
	if drop != "" {
		return Path{}, drop
	}
	s := t.find(from, p)
	switch {
	case s == nil:
		return Path{}, NoSession
	case !s.path.Multihop && from.TTL != TTL, s.path.Multihop && from.TTL < int(s.cfg.MinimumTTL):
		return s.path, BadTTL
	}
	drop = s.receive(now, p)
	t.finish(now, s)
	return s.path, drop
}

// find demultiplexes (RFC 5880 sections 6.3 and 6.8.6, RFC 5881 section 3,
// RFC 5883 section 4): by the discriminator where the peer knows it, and else
// by the addresses and the interface, the session that names more of them
// first.
func (t *Table) find(from Arrival, p Packet) *session {
	if p.YourDiscriminator != 0 {
		if s := t.byDiscr[p.YourDiscriminator]; s != nil && s.path.Multihop == from.Multihop && s.path.VRF == from.VRF {
			return s
		}
		return nil
	}
	var found *session
	best := -1
	for _, s := range t.byRemote[route{from.Remote, from.VRF, from.Multihop}] {
		names := 0
		if s.path.Interface != "" {
			if s.path.Interface != from.Interface {
				continue
			}
			names++
		}
		if s.path.Local.IsValid() {
			if s.path.Local != from.Local {
				continue
			}
			names++
		}
		if names > best {
			found, best = s, names
		}
	}
	return found
}

// ReceiveEcho takes an echo packet that came back, and reports why it was
// dropped, empty where it was not.
func (t *Table) ReceiveEcho(now time.Duration, payload []byte) Drop {
	if len(payload) != echoSize {
		return BadEcho
	}
	s := t.byDiscr[binary.BigEndian.Uint32(payload)]
	if s == nil {
		return BadEcho
	}
	drop := s.receiveEcho(now, payload)
	t.finish(now, s)
	return drop
}

// Advance does what became due by now. Packets that arrived before now are to
// be received first: a process that was held up would else take its own delay
// for its peers' silence.
func (t *Table) Advance(now time.Duration) {
	for len(t.timers) > 0 && t.timers[0].due <= now {
		s := t.timers[0]
		if s.leaving && now >= s.leaves {
			t.drop(s)
			continue
		}
		s.advance(now)
		t.finish(now, s)
	}
}

func (t *Table) drop(s *session) {
	heap.Remove(&t.timers, s.at)
	delete(t.sessions, s.path)
	delete(t.byDiscr, s.discr)
	r := s.path.route()
	t.byRemote[r] = slices.DeleteFunc(t.byRemote[r], func(o *session) bool { return o == s })
	if len(t.byRemote[r]) == 0 {
		delete(t.byRemote, r)
	}
	t.ready.Gone = append(t.ready.Gone, s.path)
}

func (t *Table) finish(now time.Duration, s *session) {
	s.finish(now)
	heap.Fix(&t.timers, s.at)
}

// Next is when Advance is due, false where it never is.
func (t *Table) Next() (time.Duration, bool) {
	if len(t.timers) == 0 || t.timers[0].due == never {
		return 0, false
	}
	return t.timers[0].due, true
}

// Ready returns what is to be done since the last call.
func (t *Table) Ready() Ready {
	r := t.ready
	t.ready = Ready{}
	return r
}

// Statuses are those of all sessions that were not removed, in the order of
// their remote addresses.
func (t *Table) Statuses() []Status {
	var out []Status
	for _, s := range t.sessions {
		if !s.leaving {
			out = append(out, s.status())
		}
	}
	slices.SortFunc(out, func(a, b Status) int { return a.Path.compare(b.Path) })
	return out
}

func (p Path) compare(q Path) int {
	return cmp.Or(p.Remote.Compare(q.Remote), cmp.Compare(p.String(), q.String()))
}

func (s *session) status() Status {
	st := Status{
		Path: s.path, State: s.state, RemoteState: s.remote.state, Diag: s.diag, RemoteDiag: s.remote.diag,
		Since: s.since, Local: s.discr, Remote: s.remote.discr, Transmit: s.txInterval(), Detection: s.detectionTime(),
		Independent: s.remote.independent, Flaps: s.flaps,
		Sent: s.sent, Received: s.received, EchoSent: s.echo.sent, EchoesReceived: s.echo.received,
	}
	if s.echoLeads() {
		st.EchoDetection = s.echoDetectionTime()
	}
	return st
}

// timers is a heap of sessions, the one that is due first at its root.
type timers []*session

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(t[i].due, t[j].due), cmp.Compare(t[i].discr, t[j].discr)) < 0
}
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].at, t[j].at = i, j
}
func (t *timers) Push(x any) {
	s := x.(*session)
	s.at = len(*t)
	*t = append(*t, s)
}
func (t *timers) Pop() any {
	old := *t
	s := old[len(old)-1]
	*t = old[:len(old)-1]
	return s
}
