package bfd

import (
	"encoding/binary"
	"time"
)

// echo is the echo function of a session (RFC 5880 sections 6.4, 6.8.5, 6.8.8
// and 6.8.9).
type echo struct {
	cookie   uint64 // no one else can make this session's echo packets
	sent     uint64
	received uint64

	proven   bool          // one came back in this Up
	started  bool          // one was sent in this Up
	sentAt   time.Duration // when the last one was sent
	jitter   float64       // of the interval after it
	arrived  time.Duration // when the last one came back
	newest   time.Duration // when that one had been sent
	awaiting bool          // one is under way that none sent later overtook
	deadline time.Duration // when the detection fails, where awaiting
}

func (e *echo) stop() {
	*e = echo{cookie: e.cookie, sent: e.sent, received: e.received}
}

// Echo payloads are this node's own business (RFC 5880 section 5): the
// discriminator, when it was sent, and the cookie.
const echoSize = 20

func (s *session) echoPayload(now time.Duration) []byte {
	b := make([]byte, echoSize)
	binary.BigEndian.PutUint32(b, s.discr)
	binary.BigEndian.PutUint64(b[4:], uint64(now))
	binary.BigEndian.PutUint64(b[12:], s.echo.cookie)
	return b
}

// echoes says whether echo packets may be sent (section 6.8.9).
func (s *session) echoes() bool {
	return s.cfg.Echo && s.path.canEcho() && s.state == Up && s.remote.minEchoRx > 0
}

// echoLeads says whether echo packets do the detection.
func (s *session) echoLeads() bool { return s.echoes() && s.echo.proven }

func (s *session) echoInterval() time.Duration {
	return max(s.cfg.EchoInterval, s.remote.minEchoRx)
}

func (s *session) echoDetectionTime() time.Duration {
	return time.Duration(s.cfg.DetectMultiplier) * s.echoInterval()
}

func (s *session) sendEcho(now time.Duration) {
	if now < s.nextEcho() {
		return
	}
	e := &s.echo
	if !e.awaiting {
		// The detection time runs from the last packet that came back, but not
		// through a time in which this node sent none.
		e.awaiting = true
		e.deadline = max(e.arrived, now-s.echoInterval()) + s.echoDetectionTime()
	}
	e.started, e.sentAt, e.jitter = true, now, 1-0.25*s.rng.Float64()
	e.sent++
	s.ready.Echo = append(s.ready.Echo, EchoTransmission{Path: s.path, Payload: s.echoPayload(now)})
}

func (s *session) nextEcho() time.Duration {
	switch {
	case !s.echoes():
		return never
	case !s.echo.started:
		return s.since
	}
	at := s.echo.sentAt + time.Duration(s.echo.jitter*float64(s.echoInterval()))
	if s.echoLeads() && s.echo.awaiting {
		at = min(at, s.echo.deadline)
	}
	return at
}

func (s *session) echoFailed(now time.Duration) bool {
	return s.echoLeads() && s.echo.awaiting && now >= s.echo.deadline
}

// receiveEcho takes an echo packet of this session that came back.
func (s *session) receiveEcho(now time.Duration, b []byte) Drop {
	at := time.Duration(binary.BigEndian.Uint64(b[4:]))
	e := &s.echo
	switch {
	case binary.BigEndian.Uint64(b[12:]) != e.cookie || at < 0 || at > now:
		return BadEcho
	case !s.echoes() || !e.started || at < s.since || e.proven && at <= e.newest || now-at >= s.echoDetectionTime():
		return StaleEcho
	}
	e.received++
	e.proven = true
	e.arrived, e.newest = now, at
	e.awaiting = at < e.sentAt
	e.deadline = now + s.echoDetectionTime()
	return ""
}
