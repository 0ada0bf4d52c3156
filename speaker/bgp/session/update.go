package session

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// Internal says whether the peer is of the own autonomous system.
func (s *Session) Internal() bool { return s.peerAS == s.c.LocalAS }

// flush turns the pending differences into UPDATEs: withdrawals first, then by
// attributes, each in the order of the prefixes.
func (s *Session) flush() {
	if len(s.pending) > 0 {
		type change struct {
			prefix     netip.Prefix
			attributes *bgp.Attributes
			key        string
		}
		keys := map[*bgp.Attributes]string{nil: ""}
		changes := make([]change, 0, len(s.pending))
		for p, a := range s.pending {
			if !s.Announces(FamilyOf(p)) {
				continue
			}
			key, known := keys[a]
			if !known {
				key = a.String()
				keys[a] = key
			}
			changes = append(changes, change{p, a, key})
		}
		slices.SortFunc(changes, func(a, b change) int {
			return cmp.Or(cmp.Compare(FamilyOf(a.prefix), FamilyOf(b.prefix)), cmp.Compare(a.key, b.key), a.prefix.Compare(b.prefix))
		})
		for len(changes) > 0 {
			first := changes[0]
			n := 1
			for n < len(changes) && changes[n].key == first.key && FamilyOf(changes[n].prefix) == FamilyOf(first.prefix) {
				n++
			}
			prefixes := make([]netip.Prefix, 0, n)
			for _, c := range changes[:n] {
				prefixes = append(prefixes, c.prefix)
			}
			changes = changes[n:]
			if first.attributes == nil {
				s.withdraw(prefixes)
			} else {
				s.announce(prefixes, first.attributes)
			}
		}
		clear(s.pending)
	}
	if s.complete {
		s.complete = false
		if s.restarts {
			s.endOfRIB()
		}
	}
}

// An UPDATE has room for so many bytes of prefixes and attributes.
const room = packet.BGP_MAX_MESSAGE_LENGTH - HeaderLength - 4

// mpOverhead is what MP_REACH_NLRI and MP_UNREACH_NLRI need beside prefixes:
// the attribute's header, family, two next hops of 16 bytes, a reserved byte.
const mpOverhead = 4 + 3 + 1 + 32 + 1

// chunks calls f with as many prefixes at a time as fit into size bytes.
func chunks(prefixes []netip.Prefix, size int, f func([]netip.Prefix)) {
	used, from := 0, 0
	for i, p := range prefixes {
		n := 1 + (p.Bits()+7)/8
		if used+n > size {
			f(prefixes[from:i])
			used, from = 0, i
		}
		used += n
	}
	f(prefixes[from:])
}

func (s *Session) update(withdrawn []*packet.IPAddrPrefix, attributes []packet.PathAttributeInterface, nlri []*packet.IPAddrPrefix) {
	s.counters.UpdatesSent++
	s.send(packet.NewBGPUpdateMessage(withdrawn, attributes, nlri))
}

// plainIPv4 says whether IPv4 paths go in the UPDATE's own fields, and not in
// MP_REACH_NLRI with an IPv6 next hop. Where both would do, a peer on the link
// gets the latter: the node's IPv4 address may not be of that link.
func (s *Session) plainIPv4() bool {
	return s.c.NextHop.IPv4.IsValid() && !(s.extended && s.c.NextHop.LinkLocal.IsValid())
}

func (s *Session) withdraw(prefixes []netip.Prefix) {
	if FamilyOf(prefixes[0]) == IPv4 && s.plainIPv4() {
		chunks(prefixes, room, func(p []netip.Prefix) { s.update(ipv4(p), nil, nil) })
		return
	}
	chunks(prefixes, room-mpOverhead, func(p []netip.Prefix) {
		s.update(nil, []packet.PathAttributeInterface{packet.NewPathAttributeMpUnreachNLRI(nlri(p))}, nil)
	})
}

func (s *Session) announce(prefixes []netip.Prefix, a *bgp.Attributes) {
	attributes := s.attributes(a)
	size := room
	for _, attribute := range attributes {
		size -= attribute.Len()
	}
	if FamilyOf(prefixes[0]) == IPv4 && s.plainIPv4() {
		hop := packet.NewPathAttributeNextHop(s.c.NextHop.IPv4.String())
		attributes = slices.Insert(attributes, 2, packet.PathAttributeInterface(hop)) // in order of the types
		chunks(prefixes, size-hop.Len(), func(p []netip.Prefix) { s.update(nil, attributes, ipv4(p)) })
		return
	}
	chunks(prefixes, size-mpOverhead, func(p []netip.Prefix) {
		s.update(nil, append(slices.Clip(attributes), s.reach(nlri(p))), nil)
	})
}

// reach is MP_REACH_NLRI with an IPv6 next hop. Where there is a link-local
// one only, it stands for both (as FRR and BIRD do; RFC 2545 is silent).
func (s *Session) reach(nlri []packet.AddrPrefixInterface) packet.PathAttributeInterface {
	global, local := s.c.NextHop.IPv6, s.c.NextHop.LinkLocal
	if !global.IsValid() {
		global = local
	}
	a := packet.NewPathAttributeMpReachNLRI(global.WithZone("").String(), nlri)
	if local.IsValid() {
		a.LinkLocalNexthop = net.IP(local.WithZone("").AsSlice())
	}
	return a
}

// attributes are those of the paths without the next hop, in the order of
// their types. ORIGIN and AS_PATH are the first two.
func (s *Session) attributes(a *bgp.Attributes) []packet.PathAttributeInterface {
	out := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP)}
	out = append(out, s.asPath(a.Prepend)...)
	if a.HasMED {
		out = append(out, packet.NewPathAttributeMultiExitDisc(a.MED))
	}
	if s.Internal() {
		out = append(out, packet.NewPathAttributeLocalPref(a.LocalPref))
	}
	if len(a.Communities) > 0 {
		var values []uint32
		for _, c := range a.Communities {
			values = append(values, uint32(c))
		}
		out = append(out, packet.NewPathAttributeCommunities(values))
	}
	if len(a.Large) > 0 {
		var values []*packet.LargeCommunity
		for _, c := range a.Large {
			values = append(values, packet.NewLargeCommunity(c.Global, c.Local1, c.Local2))
		}
		out = append(out, packet.NewPathAttributeLargeCommunities(values))
	}
	slices.SortStableFunc(out, func(a, b packet.PathAttributeInterface) int { return cmp.Compare(a.GetType(), b.GetType()) })
	return out
}

// asPath is empty within the own autonomous system. A peer that knows numbers
// of two octets only gets the others beside it (RFC 6793 section 4.2.2).
func (s *Session) asPath(prepend int) []packet.PathAttributeInterface {
	if s.Internal() {
		return []packet.PathAttributeInterface{packet.NewPathAttributeAsPath(nil)}
	}
	prepend++
	four := packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, slices.Repeat([]uint32{s.c.LocalAS}, prepend))
	if s.wide {
		return []packet.PathAttributeInterface{packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{four})}
	}
	as := uint16(packet.AS_TRANS)
	if s.c.LocalAS <= 0xffff {
		as = uint16(s.c.LocalAS)
	}
	two := packet.NewAsPathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, slices.Repeat([]uint16{as}, prepend))
	out := []packet.PathAttributeInterface{packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{two})}
	if s.c.LocalAS > 0xffff {
		out = append(out, packet.NewPathAttributeAs4Path([]*packet.As4PathParam{four}))
	}
	return out
}

// endOfRIB marks the end of each family (RFC 4724 section 2).
func (s *Session) endOfRIB() {
	for _, f := range []Family{IPv4, IPv6} {
		switch {
		case !s.families[f]:
		case f == IPv4:
			s.update(nil, nil, nil)
		default:
			m := packet.NewPathAttributeMpUnreachNLRI(nil)
			m.AFI, m.SAFI = packet.AFI_IP6, packet.SAFI_UNICAST
			s.update(nil, []packet.PathAttributeInterface{m}, nil)
		}
	}
}

func ipv4(prefixes []netip.Prefix) []*packet.IPAddrPrefix {
	out := make([]*packet.IPAddrPrefix, 0, len(prefixes))
	for _, p := range prefixes {
		out = append(out, packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String()))
	}
	return out
}

func nlri(prefixes []netip.Prefix) []packet.AddrPrefixInterface {
	out := make([]packet.AddrPrefixInterface, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4() {
			out = append(out, packet.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String()))
		} else {
			out = append(out, packet.NewIPv6AddrPrefix(uint8(p.Bits()), p.Addr().String()))
		}
	}
	return out
}
