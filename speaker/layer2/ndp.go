package layer2

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

const (
	ipv6Header = 40
	icmpv6     = 58
)

var allNodes = netip.MustParseAddr("ff02::1")

// NDP decides about an IPv6 frame that came in on an interface with the
// hardware address mac. The checks are those of RFC 4861 section 7.1.
//
// A solicitation for an owned address is answered to who asked; one from the
// unspecified address (duplicate address detection) to all nodes, unsolicited
// (section 7.2.4). Advertisements announce their target.
func NDP(b []byte, mac net.HardwareAddr, owns Owns) Decision {
	f, drop := frameFor(b, mac)
	if drop != "" {
		return Decision{Drop: drop}
	}
	if f.EtherType != ethernet.EtherTypeIPv6 || len(f.Payload) < ipv6Header {
		return Decision{Drop: Malformed}
	}
	h := f.Payload[:ipv6Header]
	length := int(binary.BigEndian.Uint16(h[4:6]))
	if h[0]>>4 != 6 || h[6] != icmpv6 || h[7] != ndp.HopLimit || length < 24 || length > len(f.Payload)-ipv6Header {
		return Decision{Drop: Malformed}
	}
	body := f.Payload[ipv6Header : ipv6Header+length]
	src, dst := netip.AddrFrom16([16]byte(h[8:24])), netip.AddrFrom16([16]byte(h[24:40]))
	if body[1] != 0 || checksum(src, dst, body) != 0 {
		return Decision{Drop: Malformed}
	}
	message, err := ndp.ParseMessage(body)
	if err != nil {
		return Decision{Drop: Malformed}
	}
	switch m := message.(type) {
	case *ndp.NeighborSolicitation:
		return solicited(m, src, dst, f.Source, mac, owns)
	case *ndp.NeighborAdvertisement:
		return advertised(m, dst, f.Source, mac)
	}
	return Decision{Drop: NotRequest}
}

func solicited(m *ndp.NeighborSolicitation, src, dst netip.Addr, from, mac net.HardwareAddr, owns Owns) Decision {
	d := Decision{IP: m.TargetAddress, From: from}
	group, err := ndp.SolicitedNodeMulticast(m.TargetAddress)
	if err != nil || m.TargetAddress.IsMulticast() {
		d.Drop = Malformed
		return d
	}
	lla := linkLayer(m.Options, ndp.Source)
	if lla != nil {
		d.From = lla
	}
	switch {
	case src.IsMulticast(), src.IsUnspecified() && (dst != group || lla != nil):
		d.Drop = Malformed
	case bytes.Equal(d.From, mac):
		d.Drop = OwnPacket
	case !owns(m.TargetAddress):
		d.Drop = NotOwned
	case src.IsUnspecified():
		d.Reply = unsolicitedAdvertisement(m.TargetAddress, mac)
	default:
		d.Reply = advertisement(m.TargetAddress, src, mac, d.From, true)
	}
	return d
}

func advertised(m *ndp.NeighborAdvertisement, dst netip.Addr, from, mac net.HardwareAddr) Decision {
	d := Decision{IP: m.TargetAddress, From: from, Drop: Announcement}
	if lla := linkLayer(m.Options, ndp.Target); lla != nil {
		d.From = lla
	}
	switch {
	case m.TargetAddress.IsMulticast(), dst.IsMulticast() && m.Solicited:
		d.Drop = Malformed
	case bytes.Equal(d.From, mac):
		d.Drop = OwnPacket
	}
	return d
}

// linkLayer is the six-byte address of an option, if there is one.
func linkLayer(options []ndp.Option, direction ndp.Direction) net.HardwareAddr {
	for _, o := range options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == direction && len(l.Addr) == 6 {
			return l.Addr
		}
	}
	return nil
}

func advertisement(target, to netip.Addr, mac, dst net.HardwareAddr, solicited bool) []byte {
	return ndpFrame(&ndp.NeighborAdvertisement{
		Solicited: solicited, Override: true, TargetAddress: target,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}, target, to, mac, dst)
}

func unsolicitedAdvertisement(ip netip.Addr, mac net.HardwareAddr) []byte {
	return advertisement(ip, allNodes, mac, multicastMAC(allNodes), false)
}

func duplicateDetection(ip netip.Addr, mac net.HardwareAddr) []byte {
	return solicitation(ip, netip.IPv6Unspecified(), mac)
}

func addressResolution(ip, from netip.Addr, mac net.HardwareAddr) []byte {
	return solicitation(ip, from, mac, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
}

func solicitation(ip, from netip.Addr, mac net.HardwareAddr, options ...ndp.Option) []byte {
	group, err := ndp.SolicitedNodeMulticast(ip)
	if err != nil {
		return nil
	}
	return ndpFrame(&ndp.NeighborSolicitation{TargetAddress: ip, Options: options}, from, group, mac, multicastMAC(group))
}

// Group is the solicited-node group of an IPv6 address (RFC 4291 section
// 2.7.1): who does not listen to it hears no solicitation.
func Group(ip netip.Addr) (netip.Addr, bool) {
	group, err := ndp.SolicitedNodeMulticast(ip)
	return group, err == nil && ip.Is6() && !ip.Is4In6()
}

// multicastMAC is the hardware address of an IPv6 group (RFC 2464 section 7).
func multicastMAC(group netip.Addr) net.HardwareAddr {
	b := group.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

func ndpFrame(m ndp.Message, src, dst netip.Addr, mac, dstMAC net.HardwareAddr) []byte {
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		return nil
	}
	h := make([]byte, ipv6Header, ipv6Header+len(body))
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:6], uint16(len(body)))
	h[6], h[7] = icmpv6, ndp.HopLimit
	s, d := src.As16(), dst.As16()
	copy(h[8:24], s[:])
	copy(h[24:40], d[:])
	return frame(dstMAC, mac, ethernet.EtherTypeIPv6, append(h, body...))
}

// checksum is that of ICMPv6 (RFC 4443 section 2.3); it is 0 over a body whose
// checksum is right.
func checksum(src, dst netip.Addr, body []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	s, d := src.As16(), dst.As16()
	add(s[:])
	add(d[:])
	sum += uint32(len(body)) + icmpv6
	add(body)
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
