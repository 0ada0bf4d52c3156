package session

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

var routeFamily = [...]packet.RouteFamily{IPv4: packet.RF_IPv4_UC, IPv6: packet.RF_IPv6_UC}

func (s *Session) open() *packet.BGPMessage {
	caps := []packet.ParameterCapabilityInterface{packet.NewCapRouteRefresh()}
	for _, f := range s.c.Families {
		caps = append(caps, packet.NewCapMultiProtocol(routeFamily[f]))
	}
	caps = append(caps, packet.NewCapFourOctetASNumber(s.c.LocalAS))
	if slices.Contains(s.c.Families, IPv4) && s.c.NextHop.ipv6() {
		caps = append(caps, packet.NewCapExtendedNexthop([]*packet.CapExtendedNexthopTuple{
			packet.NewCapExtendedNexthopTuple(packet.RF_IPv4_UC, packet.AFI_IP6),
		}))
	}
	if s.c.RestartTime > 0 {
		// Forwarding is the kernel's, and goes on while the speaker is away:
		// the F bits are always set (RFC 4724 section 3).
		var tuples []*packet.CapGracefulRestartTuple
		for _, f := range s.c.Families {
			tuples = append(tuples, packet.NewCapGracefulRestartTuple(routeFamily[f], true))
		}
		seconds := min(s.c.RestartTime/time.Second, 0xfff)
		caps = append(caps, packet.NewCapGracefulRestart(s.c.Restarting, false, uint16(seconds), tuples))
	}
	as := uint16(packet.AS_TRANS)
	if s.c.LocalAS <= 0xffff {
		as = uint16(s.c.LocalAS)
	}
	return packet.NewBGPOpenMessage(as, uint16(s.c.HoldTime/time.Second), s.c.RouterID.String(),
		[]packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)})
}

// receiveOpen checks the peer's OPEN (RFC 4271 section 6.2) and answers it.
func (s *Session) receiveOpen(now time.Duration, body []byte) {
	refuse := func(subcode byte) { s.refuse(packet.BGP_ERROR_OPEN_MESSAGE_ERROR, subcode, nil) }
	var open packet.BGPOpen
	if err := open.DecodeFromBytes(body); err != nil {
		refuse(0)
		return
	}
	if open.Version != 4 {
		s.refuse(packet.BGP_ERROR_OPEN_MESSAGE_ERROR, packet.BGP_ERROR_SUB_UNSUPPORTED_VERSION_NUMBER, []byte{0, 4})
		return
	}
	s.peerAS = uint32(open.MyAS)
	multiprotocol := false
	for _, option := range open.OptParams {
		capability, ok := option.(*packet.OptionParameterCapability)
		if !ok {
			refuse(packet.BGP_ERROR_SUB_UNSUPPORTED_OPTIONAL_PARAMETER)
			return
		}
		for _, c := range capability.Capability {
			switch c := c.(type) {
			case *packet.CapMultiProtocol:
				multiprotocol = true
				if f := slices.Index(routeFamily[:], c.CapValue); f >= 0 {
					s.families[f] = slices.Contains(s.c.Families, Family(f))
				}
			case *packet.CapFourOctetASNumber:
				s.peerAS, s.wide = c.CapValue, true
			case *packet.CapExtendedNexthop:
				s.extended = slices.ContainsFunc(c.Tuples, func(t *packet.CapExtendedNexthopTuple) bool {
					return t.NLRIAFI == packet.AFI_IP && t.NLRISAFI == packet.SAFI_UNICAST && t.NexthopAFI == packet.AFI_IP6
				})
			case *packet.CapGracefulRestart:
				s.restarts = s.c.RestartTime > 0
			}
		}
	}
	if !multiprotocol { // RFC 4760 section 8: the peer knows IPv4 unicast alone
		s.families[IPv4] = slices.Contains(s.c.Families, IPv4)
	}
	if !s.acceptable(s.peerAS) {
		refuse(packet.BGP_ERROR_SUB_BAD_PEER_AS)
		s.err = wrongAS(s.c, s.peerAS)
		return
	}
	id, _ := netip.AddrFromSlice(open.ID.To4())
	s.peerID = id
	if id.IsUnspecified() || s.peerAS == s.c.LocalAS && id == s.c.RouterID { // RFC 6286
		refuse(packet.BGP_ERROR_SUB_BAD_BGP_IDENTIFIER)
		return
	}
	offered := time.Duration(open.HoldTime) * time.Second
	if offered > 0 && offered < 3*time.Second {
		refuse(packet.BGP_ERROR_SUB_UNACCEPTABLE_HOLD_TIME)
		return
	}
	s.hold = min(s.c.HoldTime, offered)
	if s.hold > 0 {
		s.keepalive = s.c.Keepalive
		if s.keepalive == 0 || s.keepalive > s.hold/3 {
			s.keepalive = s.hold / 3
		}
	}
	s.send(packet.NewBGPKeepAliveMessage())
	s.keepaliveAt = now + s.keepalive
	s.heard(now)
	s.state = OpenConfirm
}

func (s *Session) acceptable(as uint32) bool {
	switch s.c.PeerType {
	case Internal:
		return as == s.c.LocalAS
	case External:
		return as != s.c.LocalAS && as != 0
	}
	return as == s.c.PeerAS
}

// wrongAS says what is wrong with the peer's number.
func wrongAS(c Config, as uint32) error {
	switch c.PeerType {
	case Internal:
		return fmt.Errorf("the peer's AS is %d, not the own %d", as, c.LocalAS)
	case External:
		return fmt.Errorf("the peer's AS is the own, %d", as)
	}
	return fmt.Errorf("the peer's AS is %d, not %d", as, c.PeerAS)
}
