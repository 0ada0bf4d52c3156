package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/ethernet"
	"github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// BGPMessage is a message of a BGP session on the wire.
type BGPMessage struct {
	// At is when its last octet passed.
	At       time.Time
	From, To netip.AddrPort
	// Kind is the type of RFC 4271 section 4.1.
	Kind uint8
	// Announced and Withdrawn prefixes of an UPDATE, with the communities of
	// those announced.
	Announced, Withdrawn []netip.Prefix
	Communities          []uint32
	// Code and Subcode of a NOTIFICATION.
	Code, Subcode uint8
}

// BGPCapture is the BGP messages that a host sees.
type BGPCapture struct {
	*dump

	mu       sync.Mutex
	messages []BGPMessage
	flows    flows // the reading goroutine's alone
	broken   error
}

// StartBGPCapture returns when all BGP messages from and to the host's first
// interface are seen. Sessions that are up are followed from their next message
// on. Stop ends it.
func StartBGPCapture(ctx context.Context, l *lab.Lab, hostName string) (*BGPCapture, error) {
	c := &BGPCapture{flows: flows{}}
	var err error
	c.dump, err = startDump(ctx, l, hostName, "tcp port 179", func(at time.Time, frame []byte) {
		s, ok := readSegment(frame)
		if !ok {
			return
		}
		messages, err := c.flows.take(at, s)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.messages = append(c.messages, messages...)
		if err != nil && c.broken == nil {
			c.broken = err
		}
	})
	return c, err
}

// Messages are those seen up to now, by time, and an error where some could not
// be read.
func (c *BGPCapture) Messages() ([]BGPMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages), c.broken
}

// Stop ends the capture, and returns all that it saw.
func (c *BGPCapture) Stop() ([]BGPMessage, error) {
	if err := c.stop(); err != nil {
		return nil, err
	}
	return c.Messages()
}

// tcpSegment is what is read of a TCP segment.
type tcpSegment struct {
	from, to netip.AddrPort
	sequence uint32
	syn      bool
	payload  []byte
}

// readSegment reads an Ethernet frame, and says whether it is a TCP segment.
func readSegment(frame []byte) (tcpSegment, bool) {
	var e ethernet.Frame
	if err := e.UnmarshalBinary(frame); err != nil {
		return tcpSegment{}, false
	}
	var s tcpSegment
	var from, to netip.Addr
	p := e.Payload
	const tcp = 6
	switch {
	case e.EtherType == ethernet.EtherTypeIPv4 && len(p) >= 20 && p[9] == tcp:
		length, header := int(binary.BigEndian.Uint16(p[2:])), int(p[0]&15)*4
		if length > len(p) || header > length {
			return tcpSegment{}, false
		}
		from, to = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
		p = p[header:length] // not the padding of a short frame
	case e.EtherType == ethernet.EtherTypeIPv6 && len(p) >= ipv6Header && p[6] == tcp:
		length := ipv6Header + int(binary.BigEndian.Uint16(p[4:]))
		if length > len(p) {
			return tcpSegment{}, false
		}
		from, to = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
		p = p[ipv6Header:length]
	default:
		return tcpSegment{}, false
	}
	if len(p) < 20 || len(p) < int(p[12]>>4)*4 {
		return tcpSegment{}, false
	}
	s.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(p))
	s.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(p[2:]))
	s.sequence, s.syn = binary.BigEndian.Uint32(p[4:]), p[13]&2 != 0
	s.payload = p[int(p[12]>>4)*4:]
	return s, true
}

// flows puts together the segments of each direction of each connection.
type flows map[[2]netip.AddrPort]*flow

type flow struct {
	next    uint32 // sequence number
	pending []byte // what is no whole message yet
}

// take returns the messages that a segment completes.
func (f flows) take(at time.Time, s tcpSegment) ([]BGPMessage, error) {
	key := [2]netip.AddrPort{s.from, s.to}
	if s.syn {
		f[key] = &flow{next: s.sequence + 1}
		return nil, nil
	}
	if len(s.payload) == 0 {
		return nil, nil
	}
	l := f[key]
	if l == nil { // it was there before: a message begins somewhere
		i := bytes.Index(s.payload, bytes.Repeat([]byte{0xff}, 16))
		if i < 0 {
			return nil, nil
		}
		s.sequence, s.payload = s.sequence+uint32(i), s.payload[i:]
		l = &flow{next: s.sequence}
		f[key] = l
	}
	switch ahead := int32(s.sequence - l.next); {
	case ahead > 0:
		return nil, fmt.Errorf("%d octets from %s to %s were not seen", ahead, s.from, s.to)
	case int(-ahead) >= len(s.payload): // sent once more
		return nil, nil
	default:
		s.payload = s.payload[-ahead:]
	}
	l.next += uint32(len(s.payload))
	l.pending = append(l.pending, s.payload...)
	var out []BGPMessage
	for len(l.pending) >= bgp.BGP_HEADER_LENGTH {
		length := int(binary.BigEndian.Uint16(l.pending[16:]))
		if length < bgp.BGP_HEADER_LENGTH {
			return out, fmt.Errorf("a message of %d octets from %s to %s", length, s.from, s.to)
		}
		if len(l.pending) < length {
			break
		}
		m, err := readMessage(l.pending[:length])
		if err != nil {
			return out, fmt.Errorf("a message from %s to %s: %w", s.from, s.to, err)
		}
		l.pending = l.pending[length:]
		m.At, m.From, m.To = at, s.from, s.to
		out = append(out, m)
	}
	return out, nil
}

func readMessage(b []byte) (BGPMessage, error) {
	parsed, err := bgp.ParseBGPMessage(b)
	if err != nil {
		return BGPMessage{}, err
	}
	m := BGPMessage{Kind: parsed.Header.Type}
	switch body := parsed.Body.(type) {
	case *bgp.BGPNotification:
		m.Code, m.Subcode = body.ErrorCode, body.ErrorSubcode
	case *bgp.BGPUpdate:
		for _, p := range body.WithdrawnRoutes {
			m.Withdrawn = append(m.Withdrawn, prefix(p))
		}
		for _, p := range body.NLRI {
			m.Announced = append(m.Announced, prefix(p))
		}
		for _, a := range body.PathAttributes {
			switch a := a.(type) {
			case *bgp.PathAttributeMpReachNLRI:
				for _, p := range a.Value {
					m.Announced = append(m.Announced, prefix(p))
				}
			case *bgp.PathAttributeMpUnreachNLRI:
				for _, p := range a.Value {
					m.Withdrawn = append(m.Withdrawn, prefix(p))
				}
			case *bgp.PathAttributeCommunities:
				m.Communities = a.Value
			}
		}
	}
	return m, nil
}

func prefix(p bgp.AddrPrefixInterface) netip.Prefix {
	parsed, err := netip.ParsePrefix(p.String())
	if err != nil {
		return netip.Prefix{} // of another family than ours
	}
	return parsed
}
