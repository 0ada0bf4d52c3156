package peering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/bgp/session"
)

// State is what there is to say of a session.
type State struct {
	Peer     string
	UID      string // of the BGPPeer
	State    v1beta1.SessionState
	BFD      v1beta1.BFDState
	Since    time.Time // it came up, or went down
	Prefixes int       // that the peer is told
	Err      string    // why it last ended or did not come up
	// Refused says why there is no session at all.
	Refused bgp.Refusal
}

// ending is why a session is ended from this side.
type ending struct {
	code, subcode byte // 0: the connection just ends
	why           string
}

var (
	deconfigured = ending{packet.BGP_ERROR_CEASE, packet.BGP_ERROR_SUB_PEER_DECONFIGURED, "the peer was removed"}
	reconfigured = ending{packet.BGP_ERROR_CEASE, packet.BGP_ERROR_SUB_OTHER_CONFIGURATION_CHANGE, "the peer's configuration changed"}
	shutdown     = ending{packet.BGP_ERROR_CEASE, packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, "the speaker stops"}
	restarting   = ending{why: "the speaker restarts"}
	bfdDown      = ending{packet.BGP_ERROR_CEASE, session.SubBFDDown, "BFD is down"}
)

// neighbor is one peer of this node. Its exported face is used by the
// goroutine of the plan; run is a goroutine of its own.
type neighbor struct {
	log     *slog.Logger
	p       *Peering
	peer    bgp.PeerState
	before  *neighbor // of the same peer, to be over first
	over    chan struct{}
	cancel  context.CancelCauseFunc
	resumes bool // the session is the first one after a restart of the speaker

	mu      sync.Mutex
	inbox   map[netip.Prefix]*bgp.Attributes
	full    bool // inbox has all paths
	live    bool // changes are wanted: a session is up and asked for all
	current *live
	wake    chan struct{}
	state   State
	restart bool // the peer keeps forwarding while this speaker restarts
	watched bfd.Path
	profile *bfd.Config // of BFD, which may change; nil: no BFD
}

// start begins a neighbor, after the one before it for the same peer ended.
func (p *Peering) start(ctx context.Context, peer bgp.PeerState, before *neighbor) *neighbor {
	ctx, cancel := context.WithCancelCause(ctx)
	n := &neighbor{
		log: p.log.With("peer", peer.Name), p: p, peer: peer, before: before, over: make(chan struct{}), cancel: cancel,
		resumes: p.first, profile: peer.Profile, inbox: map[netip.Prefix]*bgp.Attributes{}, wake: make(chan struct{}, 1),
		state: State{Peer: peer.Name, UID: peer.UID, State: v1beta1.SessionIdle, BFD: v1beta1.BFDDisabled, Since: time.Now(), Refused: peer.Refused},
	}
	if peer.Profile != nil {
		n.state.BFD = v1beta1.BFDDown
	}
	if peer.Refused.Reason != "" {
		n.state.Err = fmt.Sprintf("%s: %s", peer.Refused.Reason, peer.Refused.Message)
		n.log.Warn("no session to a peer", "reason", peer.Refused.Reason, "message", peer.Refused.Message)
	}
	p.running.Go(func() { n.run(ctx) })
	return n
}

// same says whether the neighbor can go on as it is with other parameters, be
// they of another peer that took the name and all else of its own. It cannot
// where BFD ends: BIRD takes the end of BFD for that of the path.
func (n *neighbor) same(peer bgp.PeerState) bool {
	a, b := n.peer, peer
	a.Nodes, b.Nodes = nil, nil
	a.UID, b.UID = "", ""
	a.Profile, b.Profile = nil, nil
	a.Peer.Profile, b.Peer.Profile = "", ""
	n.mu.Lock()
	defer n.mu.Unlock()
	return reflect.DeepEqual(a, b) && (n.profile == nil || peer.Profile != nil)
}

// configure takes what may change without a session's end: whose it is, and
// BFD's profile. anew says that the plan forgot what the peer was told; it did,
// too, where this is another peer.
func (n *neighbor) configure(peer bgp.PeerState, anew bool) {
	n.mu.Lock()
	before := n.profile
	n.profile = peer.Profile
	path := n.watched
	anew = anew || n.state.UID != peer.UID
	current := n.current
	var up ends
	if current != nil {
		up = current.ends
	}
	n.mu.Unlock()
	n.set(func(s *State) { s.UID = peer.UID })
	if anew && up != (ends{}) {
		current.askForAll()
	}
	switch {
	case peer.Profile == nil || before != nil && *before == *peer.Profile:
	case before == nil:
		n.set(func(s *State) { s.BFD = v1beta1.BFDDown })
		if up != (ends{}) {
			n.watch(up)
		}
	case path != (bfd.Path{}):
		if err := n.p.BFD.Set(path, *peer.Profile); err != nil {
			n.log.Error("BFD cannot take the new profile", "error", err)
		}
	}
}

// announce hands over changes of the peer's paths.
func (n *neighbor) announce(changes []bgp.Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.live {
		return
	}
	for _, c := range changes {
		n.inbox[c.Prefix] = c.Attributes
	}
	n.poke()
}

func (n *neighbor) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// stop ends the neighbor; what it does last goes on by itself.
func (n *neighbor) stop(e ending) {
	n.mu.Lock()
	var up ends
	if n.current != nil {
		up = n.current.ends
	}
	n.mu.Unlock()
	n.p.ended(up)
	n.cancel(endingError(e))
}

type endingError ending

func (e endingError) Error() string { return e.why }

func (n *neighbor) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.State == v1beta1.SessionEstablished
}

func (n *neighbor) restartable() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.State == v1beta1.SessionEstablished && n.restart
}

// set changes what is said of the session.
func (n *neighbor) set(change func(*State)) {
	n.mu.Lock()
	old := n.state
	change(&n.state)
	if (old.State == v1beta1.SessionEstablished) != (n.state.State == v1beta1.SessionEstablished) {
		n.state.Since = time.Now()
	}
	state := n.state
	n.mu.Unlock()
	if state != old {
		measure(old, state)
		n.p.Changed(state, false)
	}
}

// run keeps a session up until ctx ends.
func (n *neighbor) run(ctx context.Context) {
	defer close(n.over)
	if n.before != nil {
		<-n.before.over
		n.before = nil
	}
	n.mu.Lock()
	began := n.state
	n.mu.Unlock()
	n.p.Changed(began, false)
	defer func() {
		var e endingError
		if errors.As(context.Cause(ctx), &e) && ending(e) == deconfigured {
			forget(n.peer.Name)
			n.p.Changed(n.state, true)
		}
	}()
	if n.peer.Refused.Reason != "" {
		<-ctx.Done()
		return
	}
	defer n.unwatch()
	finder := newFinder(n)
	defer finder.close()
	var said error // why the last session ended, of those that ended with a reason
	for failures := 0; ctx.Err() == nil; failures++ {
		established, err := n.attempt(ctx, finder)
		if established {
			failures, said = 0, nil
		}
		if reasoned := (*reasonedError)(nil); errors.As(err, &reasoned) {
			said = err
		} else if said != nil {
			// A router that was told off, or did so, may refuse connections for
			// a while.
			err = fmt.Errorf("%w; before that: %w", err, said)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		n.set(func(s *State) {
			s.State, s.Prefixes = v1beta1.SessionActive, 0
			if err != nil {
				s.Err = err.Error()
			}
			var r refusedError
			s.Refused = bgp.Refusal{}
			if errors.As(err, &r) {
				s.State, s.Refused = v1beta1.SessionIdle, bgp.Refusal(r)
			}
		})
		if established || failures == 0 {
			n.log.Info("no session", "because", err)
		} else {
			n.log.Debug("no session", "because", err)
		}
		select {
		case <-ctx.Done():
		case <-finder.changed():
		case <-time.After(retryAfter(failures, n.peer.Connect)):
		}
	}
	n.set(func(s *State) { s.State = v1beta1.SessionIdle })
}

// reasonedError is why a session ended, as one of its ends told the other.
type reasonedError struct{ error }

func (e *reasonedError) Unwrap() error { return e.error }

// refusedError is a refusal that may pass by itself.
type refusedError bgp.Refusal

func (e refusedError) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }

func refused(r reason.Reason, format string, args ...any) error {
	return refusedError{r, fmt.Sprintf(format, args...)}
}

// retryAfter is how long to wait before the next attempt: twice as long after
// each failure, at most as long as the peer says, and not in step with the
// other nodes.
func retryAfter(failures int, most time.Duration) time.Duration {
	wait := min(500*time.Millisecond<<min(failures, 10), most)
	return wait/2 + rand.N(wait/2+1)
}

// attempt connects and keeps the session until it ends.
func (n *neighbor) attempt(ctx context.Context, f *finder) (established bool, err error) {
	n.set(func(s *State) { s.State = v1beta1.SessionConnect })
	target, err := f.find(ctx)
	if err != nil {
		return false, err
	}
	if err := n.p.rested(ctx, target.address); err != nil {
		return false, err
	}
	conn, err := dial(ctx, n.peer, target)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	c, err := n.config(conn, target)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &live{neighbor: n, conn: conn, start: time.Now(), session: session.New(c, 0), end: func(e ending) { cancel(endingError(e)) }}
	n.mu.Lock()
	n.current = s
	n.mu.Unlock()
	err = s.run(ctx)
	n.p.ended(s.ends)
	n.mu.Lock()
	n.current, n.live, n.full = nil, false, false
	clear(n.inbox)
	n.mu.Unlock()
	return s.established, err
}
