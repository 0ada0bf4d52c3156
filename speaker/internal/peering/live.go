package peering

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/bgp/session"
)

// writeWithin is how long the peer may leave what is written unread, where
// there is no hold time.
const writeWithin = 90 * time.Second

// live is a session on its connection.
type live struct {
	*neighbor
	conn        *net.TCPConn
	session     *session.Session
	start       time.Time
	established bool
	ends        ends         // once it is up; guarded by the neighbor's mu
	end         func(ending) // ends this session alone
	told        map[netip.Prefix]bool
	counted     session.Counters
}

type message struct {
	kind byte
	body []byte
}

// run drives the session until it is over, and says why.
func (l *live) run(ctx context.Context) error {
	// A peer that does not read must not keep this side from ending.
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Now().Add(time.Second)) })
	defer stop()
	in := make(chan message)
	failed := make(chan error, 1)
	over := make(chan struct{})
	defer close(over)
	go func() { failed <- l.read(in, over) }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := l.write(); err != nil {
			return l.ended(err)
		}
		l.report()
		if l.session.State() == session.Closed {
			return &reasonedError{l.session.Err()}
		}
		timer.Reset(min(l.session.Deadline()-l.now(), time.Hour))
		select {
		case <-ctx.Done():
			var e endingError
			if errors.As(context.Cause(ctx), &e) && e.code != 0 {
				l.take() // what is withdrawn last
				if err := l.write(); err != nil {
					return l.ended(err)
				}
				l.session.Stop(e.code, e.subcode, e)
				_ = l.write()
			}
			if ending(e) != bfdDown { // else nothing comes by this path
				l.part(in, failed)
			}
			return context.Cause(ctx)
		case err := <-failed:
			var malformed *session.HeaderError
			if errors.As(err, &malformed) {
				l.session.Malformed(malformed)
				continue
			}
			return fmt.Errorf("the connection ended: %w", err)
		case m := <-in:
			l.session.Receive(l.now(), m.kind, m.body)
			if l.session.Refresh() {
				l.askForAll()
			}
		case <-l.wake:
			l.take()
		case <-timer.C:
			l.session.Tick(l.now())
		}
	}
}

// part waits until the peer closed the connection, too, for as long as its
// deadline allows: it has then understood what it was told last, and how the
// session ended, before anything else ends.
func (l *live) part(in <-chan message, failed <-chan error) {
	_ = l.conn.CloseWrite() // fails where the peer closed before
	for {
		select {
		case <-failed:
			return
		case <-in:
		}
	}
}

// ended prefers what the session knows over what the connection says.
func (l *live) ended(err error) error {
	if known := l.session.Err(); known != nil {
		return &reasonedError{known}
	}
	return fmt.Errorf("writing to the peer: %w", err)
}

func (l *live) now() time.Duration { return time.Since(l.start) }

// read passes messages on. UPDATEs are not kept.
func (l *live) read(in chan<- message, over <-chan struct{}) error {
	r := bufio.NewReaderSize(l.conn, packet.BGP_MAX_MESSAGE_LENGTH)
	for {
		var header [session.HeaderLength]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return err
		}
		length, kind, err := session.ReadHeader(header)
		if err != nil {
			return err
		}
		m := message{kind: kind}
		if kind == packet.BGP_MSG_UPDATE {
			_, err = r.Discard(length)
		} else {
			m.body = make([]byte, length)
			_, err = io.ReadFull(r, m.body)
		}
		if err != nil {
			return err
		}
		select {
		case in <- m:
		case <-over:
			return nil
		}
	}
}

// write writes what the session has to say.
func (l *live) write() error {
	out := l.session.Output()
	if len(out) == 0 {
		return nil
	}
	within := writeWithin
	if hold := l.session.HoldTime(); hold > 0 {
		within = hold
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	buffers := net.Buffers(out)
	_, err := buffers.WriteTo(l.conn)
	return err
}

// report tells of the session's state.
func (l *live) report() {
	state := map[session.State]v1beta1.SessionState{
		session.OpenSent: v1beta1.SessionOpenSent, session.OpenConfirm: v1beta1.SessionOpenConfirm, session.Established: v1beta1.SessionEstablished,
	}[l.session.State()]
	if state == "" {
		return
	}
	if state == v1beta1.SessionEstablished && !l.established {
		l.established = true
		l.told = map[netip.Prefix]bool{}
		l.log.Info("session is up", "as", l.session.PeerAS(), "hold", l.session.HoldTime())
		l.resumes = false
		l.mu.Lock()
		l.restart = l.session.Restartable()
		l.ends = endsOf(l.conn)
		l.mu.Unlock()
		l.askForAll()
		l.watch(l.ends)
	}
	counters := l.session.Counters()
	updatesSent.WithLabelValues(l.peer.Name).Add(float64(counters.UpdatesSent - l.counted.UpdatesSent))
	updatesDropped.WithLabelValues(l.peer.Name).Add(float64(counters.UpdatesReceived - l.counted.UpdatesReceived))
	l.counted = counters
	l.set(func(s *State) {
		s.State, s.Prefixes = state, len(l.told)
		s.Refused = bgp.Refusal{}
	})
}

// askForAll has the plan hand over every path, and every change from then on.
func (l *live) askForAll() {
	n := l.neighbor
	n.p.enqueue(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.current != l {
			return // over in the meantime
		}
		clear(n.inbox)
		n.p.plan.Paths(n.peer.Name, func(p netip.Prefix, a *bgp.Attributes) { n.inbox[p] = a })
		n.live, n.full = true, true
		n.poke()
	})
}

// take gives the session what the plan handed over.
func (l *live) take() {
	l.mu.Lock()
	inbox, full := l.inbox, l.full
	l.inbox, l.full = map[netip.Prefix]*bgp.Attributes{}, false
	l.mu.Unlock()
	if l.session.State() != session.Established {
		return
	}
	if full {
		for p := range l.told {
			if inbox[p] == nil {
				l.session.Announce(p, nil)
			}
		}
		clear(l.told)
	}
	for p, a := range inbox {
		l.session.Announce(p, a)
		if a == nil {
			delete(l.told, p)
		} else if l.session.Announces(session.FamilyOf(p)) {
			l.told[p] = true
		}
	}
	if full {
		l.session.Complete()
	}
}
