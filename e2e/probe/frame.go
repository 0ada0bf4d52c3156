package probe

import (
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

// Kind is what a frame of ARP or NDP is for.
type Kind string

// The kinds of frames.
const (
	// Question asks who has an address.
	Question Kind = "question"
	// Answer says so to the one who asked.
	Answer Kind = "answer"
	// Announcement says so to everybody, unasked or not.
	Announcement Kind = "announcement"
)

// Frame is a frame of ARP or NDP.
type Frame struct {
	At   time.Time
	Kind Kind
	// IP is the address that the frame is about.
	IP netip.Addr
	// From is the hardware address of the sender.
	From string
}

// decode reads an Ethernet frame, and says whether it is one of ARP or NDP
// about an address.
func decode(b []byte) (Frame, bool) {
	var e ethernet.Frame
	if err := e.UnmarshalBinary(b); err != nil {
		return Frame{}, false
	}
	f := Frame{From: e.Source.String()}
	switch e.EtherType {
	case ethernet.EtherTypeARP:
		var p arp.Packet
		if err := p.UnmarshalBinary(e.Payload); err != nil {
			return Frame{}, false
		}
		f.IP = p.SenderIP
		switch {
		case p.SenderIP == p.TargetIP || p.Operation == arp.OperationReply && e.Destination[0]&1 != 0:
			f.Kind = Announcement
		case p.Operation == arp.OperationReply:
			f.Kind = Answer
		default:
			f.Kind, f.IP = Question, p.TargetIP
		}
		return f, true
	case ethernet.EtherTypeIPv6:
		if len(e.Payload) < ipv6Header || e.Payload[6] != icmpv6 {
			return Frame{}, false
		}
		m, err := ndp.ParseMessage(e.Payload[ipv6Header:])
		if err != nil {
			return Frame{}, false
		}
		switch m := m.(type) {
		case *ndp.NeighborSolicitation:
			f.Kind, f.IP = Question, m.TargetAddress
		case *ndp.NeighborAdvertisement:
			f.Kind, f.IP = Answer, m.TargetAddress
			if !m.Solicited {
				f.Kind = Announcement
			}
		default:
			return Frame{}, false
		}
		return f, true
	}
	return Frame{}, false
}

const (
	ipv6Header = 40
	icmpv6     = 58
	hopLimit   = 255 // RFC 4861 section 4.3
)

// question is the frame by which a host asks everybody who has an address.
func question(mac net.HardwareAddr, own, ip netip.Addr) ([]byte, error) {
	if ip.Is4() {
		p, err := arp.NewPacket(arp.OperationRequest, mac, own, make(net.HardwareAddr, 6), ip)
		if err != nil {
			return nil, err
		}
		b, err := p.MarshalBinary()
		if err != nil {
			return nil, err
		}
		return (&ethernet.Frame{Destination: ethernet.Broadcast, Source: mac, EtherType: ethernet.EtherTypeARP, Payload: b}).MarshalBinary()
	}
	group, err := ndp.SolicitedNodeMulticast(ip)
	if err != nil {
		return nil, err
	}
	m, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{
		TargetAddress: ip, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}},
	}, own, group)
	if err != nil {
		return nil, err
	}
	to := group.As16()
	header := append([]byte{6 << 4, 0, 0, 0, 0, byte(len(m)), icmpv6, hopLimit}, own.AsSlice()...)
	header = append(header, to[:]...)
	destination := net.HardwareAddr{0x33, 0x33, to[12], to[13], to[14], to[15]} // RFC 2464 section 7
	return (&ethernet.Frame{Destination: destination, Source: mac, EtherType: ethernet.EtherTypeIPv6, Payload: append(header, m...)}).MarshalBinary()
}
