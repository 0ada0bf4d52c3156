package session

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// HeaderLength is that of every message.
const HeaderLength = packet.BGP_HEADER_LENGTH

// openWait is how long to wait for the peer's OPEN where no hold time is
// configured (RFC 4271 section 8.2.2, "a large value").
const openWait = 4 * time.Minute

// Session is the state machine of one connection. It is not safe for
// concurrent use.
type Session struct {
	c     Config
	state State
	err   error

	peerAS   uint32
	peerID   netip.Addr
	families [2]bool // that both sides announced
	extended bool    // IPv4 paths may have IPv6 next hops
	wide     bool    // the peer knows numbers of four octets
	restarts bool    // the peer keeps forwarding while this speaker restarts

	hold, keepalive      time.Duration // as agreed; 0: none
	expires, keepaliveAt time.Duration

	pending  map[netip.Prefix]*bgp.Attributes // to announce; nil: to withdraw
	complete bool                             // End-of-RIB is due after pending
	refresh  bool
	out      [][]byte
	counters Counters
}

// Counters of a session.
type Counters struct {
	// UpdatesSent counts UPDATE messages, UpdatesReceived those that the peer
	// sent and that were dropped.
	UpdatesSent, UpdatesReceived uint64
}

// New begins a session on a connection that is up: its OPEN is in the Output.
func New(c Config, now time.Duration) *Session {
	s := &Session{c: c, pending: map[netip.Prefix]*bgp.Attributes{}}
	s.send(s.open())
	wait := c.HoldTime
	if wait == 0 {
		wait = openWait
	}
	s.expires = now + wait
	return s
}

// State returns the state.
func (s *Session) State() State { return s.state }

// Err is why the session is Closed.
func (s *Session) Err() error { return s.err }

// PeerAS is the peer's number, once its OPEN was accepted.
func (s *Session) PeerAS() uint32 { return s.peerAS }

// HoldTime is the hold time agreed upon; 0: none.
func (s *Session) HoldTime() time.Duration { return s.hold }

// Restartable says whether the peer keeps forwarding while this speaker
// restarts.
func (s *Session) Restartable() bool { return s.restarts }

// Announces says whether paths of a family can be announced.
func (s *Session) Announces(f Family) bool {
	switch {
	case !s.families[f]:
		return false
	case f == IPv6:
		return s.c.NextHop.ipv6()
	}
	return s.c.NextHop.IPv4.IsValid() || s.extended && s.c.NextHop.ipv6()
}

// Counters returns the counters.
func (s *Session) Counters() Counters { return s.counters }

// Deadline is when Tick is due at the latest.
func (s *Session) Deadline() time.Duration {
	switch {
	case s.keepalive > 0 && (s.hold == 0 || s.keepaliveAt < s.expires):
		return s.keepaliveAt
	case s.state != OpenSent && s.hold == 0:
		return math.MaxInt64
	}
	return s.expires
}

// Tick lets time pass.
func (s *Session) Tick(now time.Duration) {
	if s.state == Closed {
		return
	}
	if (s.hold > 0 || s.state == OpenSent) && now >= s.expires {
		s.Stop(packet.BGP_ERROR_HOLD_TIMER_EXPIRED, 0, errors.New("the hold time is over: nothing was heard from the peer"))
		return
	}
	if s.keepalive > 0 && now >= s.keepaliveAt {
		s.send(packet.NewBGPKeepAliveMessage())
		s.keepaliveAt = now + s.keepalive
	}
}

// HeaderError is why a message's header is refused.
type HeaderError struct {
	subcode byte
	data    []byte
}

func (e *HeaderError) Error() string {
	return notification(packet.BGP_ERROR_MESSAGE_HEADER_ERROR, e.subcode, nil)
}

// ReadHeader reads a message's header: how many bytes follow it, and the kind
// to Receive them with. An error is a *HeaderError, and for Malformed.
func ReadHeader(h [HeaderLength]byte) (rest int, kind byte, err error) {
	for _, b := range h[:16] {
		if b != 0xff {
			return 0, 0, &HeaderError{subcode: packet.BGP_ERROR_SUB_CONNECTION_NOT_SYNCHRONIZED}
		}
	}
	length := int(binary.BigEndian.Uint16(h[16:]))
	kind = h[18]
	least, most := HeaderLength, packet.BGP_MAX_MESSAGE_LENGTH
	switch kind { // RFC 4271 section 6.1, RFC 2918 section 3
	case packet.BGP_MSG_OPEN:
		least = HeaderLength + 10
	case packet.BGP_MSG_UPDATE, packet.BGP_MSG_ROUTE_REFRESH:
		least = HeaderLength + 4
	case packet.BGP_MSG_NOTIFICATION:
		least = HeaderLength + 2
	case packet.BGP_MSG_KEEPALIVE:
		most = HeaderLength
	default:
		return 0, 0, &HeaderError{packet.BGP_ERROR_SUB_BAD_MESSAGE_TYPE, []byte{kind}}
	}
	if length < least || length > most {
		return 0, 0, &HeaderError{packet.BGP_ERROR_SUB_BAD_MESSAGE_LENGTH, h[16:18]}
	}
	return length - HeaderLength, kind, nil
}

// Malformed ends the session because of a header that was refused.
func (s *Session) Malformed(e *HeaderError) {
	if s.state != Closed {
		s.refuse(packet.BGP_ERROR_MESSAGE_HEADER_ERROR, e.subcode, e.data)
	}
}

// Receive takes a message whose Header was read. The body of an UPDATE is not
// looked at and may be nil.
func (s *Session) Receive(now time.Duration, kind byte, body []byte) {
	switch {
	case s.state == Closed:
	case kind == packet.BGP_MSG_NOTIFICATION:
		s.close(fmt.Errorf("the peer closed the session: %s", notification(body[0], body[1], body[2:])))
	case s.state == OpenSent && kind == packet.BGP_MSG_OPEN:
		s.receiveOpen(now, body)
	case s.state == OpenConfirm && kind == packet.BGP_MSG_KEEPALIVE:
		s.state = Established
		s.heard(now)
	case s.state == Established && kind == packet.BGP_MSG_KEEPALIVE:
		s.heard(now)
	case s.state == Established && kind == packet.BGP_MSG_UPDATE:
		s.counters.UpdatesReceived++
		s.heard(now)
	case s.state == Established && kind == packet.BGP_MSG_ROUTE_REFRESH:
		s.heard(now)
		s.receiveRefresh(body)
	default:
		// RFC 6608: the subcode says in which state the message was unexpected.
		s.refuse(packet.BGP_ERROR_FSM_ERROR, byte(s.state)+1, []byte{kind})
	}
}

func (s *Session) heard(now time.Duration) { s.expires = now + s.hold }

// receiveRefresh notes that the peer wants a family again (RFC 2918). Other
// families, and the demarcations of RFC 7313, are ignored.
func (s *Session) receiveRefresh(body []byte) {
	afi := binary.BigEndian.Uint16(body)
	if body[2] == 0 && body[3] == packet.SAFI_UNICAST && (afi == packet.AFI_IP || afi == packet.AFI_IP6) {
		s.refresh = true
	}
}

// Refresh says whether the peer asked to be told everything again; once.
func (s *Session) Refresh() bool {
	asked := s.refresh
	s.refresh = false
	return asked
}

// Announce sets what the peer shall know of a prefix, or has it withdrawn
// where attributes are nil.
func (s *Session) Announce(p netip.Prefix, attributes *bgp.Attributes) {
	s.pending[p] = attributes
}

// Complete says that everything there is was announced: End-of-RIB follows
// (RFC 4724 section 2).
func (s *Session) Complete() { s.complete = true }

// Stop ends the session with a NOTIFICATION.
func (s *Session) Stop(code, subcode byte, why error) {
	if s.state == Closed {
		return
	}
	s.send(packet.NewBGPNotificationMessage(code, subcode, nil))
	s.close(why)
}

// refuse ends the session because of what the peer sent.
func (s *Session) refuse(code, subcode byte, data []byte) {
	s.send(packet.NewBGPNotificationMessage(code, subcode, data))
	s.close(fmt.Errorf("refused what the peer sent: %s", notification(code, subcode, nil)))
}

func (s *Session) close(why error) {
	s.state = Closed
	s.err = why
}

// Output returns the messages to write, in order; each once.
func (s *Session) Output() [][]byte {
	if s.state == Established {
		s.flush()
	}
	out := s.out
	s.out = nil
	return out
}

func (s *Session) send(m *packet.BGPMessage) {
	b, err := m.Serialize()
	if err != nil {
		s.close(fmt.Errorf("building a message: %w", err))
		return
	}
	s.out = append(s.out, b)
}

// notification puts a NOTIFICATION into words. The peer's text (RFC 9003) is
// quoted.
func notification(code, subcode byte, data []byte) string {
	var words string
	switch {
	case code == packet.BGP_ERROR_CEASE && subcode == packet.BGP_ERROR_SUB_HARD_RESET:
		words = "cease, hard reset"
	case code == packet.BGP_ERROR_CEASE && subcode == SubBFDDown:
		words = "cease, BFD down"
	default:
		words = packet.NewNotificationErrorCode(code, subcode).String()
	}
	administrative := subcode == packet.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN || subcode == packet.BGP_ERROR_SUB_ADMINISTRATIVE_RESET
	if code == packet.BGP_ERROR_CEASE && administrative && len(data) > 1 && len(data) > int(data[0]) {
		words += fmt.Sprintf(" %q", data[1:1+data[0]])
	}
	return words
}

// SubBFDDown is the Cease subcode of RFC 9384.
const SubBFDDown = 10
