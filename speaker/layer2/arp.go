package layer2

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

var noMAC = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// ARP decides about an ARP frame that came in on an interface with the
// hardware address mac.
//
// A request for an owned address is answered to who asked, a probe (sender
// address 0.0.0.0) too. Gratuitous packets, and replies, announce their
// sender's address; an ordinary request does not, since a node may send it
// with a service address as its source.
func ARP(b []byte, mac net.HardwareAddr, owns Owns) Decision {
	f, drop := frameFor(b, mac)
	if drop != "" {
		return Decision{Drop: drop}
	}
	var p arp.Packet
	if f.EtherType != ethernet.EtherTypeARP || p.UnmarshalBinary(f.Payload) != nil ||
		p.HardwareType != 1 || p.ProtocolType != uint16(ethernet.EtherTypeIPv4) || p.HardwareAddrLength != 6 || p.IPLength != 4 {
		return Decision{Drop: Malformed}
	}
	d := Decision{IP: p.TargetIP, From: p.SenderHardwareAddr}
	switch {
	case bytes.Equal(p.SenderHardwareAddr, mac):
		d.Drop = OwnPacket
	case p.SenderHardwareAddr[0]&1 != 0:
		d.Drop = Malformed
	case p.SenderIP.IsUnspecified() && p.Operation == arp.OperationReply:
		d.Drop = Malformed
	case p.SenderIP == p.TargetIP || p.Operation == arp.OperationReply:
		d.IP, d.Drop = p.SenderIP, Announcement
	case p.Operation != arp.OperationRequest:
		d.Drop = NotRequest
	case !owns(p.TargetIP):
		d.Drop = NotOwned
	default:
		d.Reply = arpFrame(arp.OperationReply, mac, p.TargetIP, p.SenderHardwareAddr, p.SenderIP, p.SenderHardwareAddr)
	}
	return d
}

func arpFrame(op arp.Operation, mac net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr, dst net.HardwareAddr) []byte {
	p, err := arp.NewPacket(op, mac, sender, targetMAC, target)
	if err != nil {
		return nil
	}
	b, err := p.MarshalBinary()
	if err != nil {
		return nil
	}
	return frame(dst, mac, ethernet.EtherTypeARP, b)
}

// gratuitousARP is both forms: some equipment heeds only requests (RFC 5227
// section 2.3), some only replies.
func gratuitousARP(ip netip.Addr, mac net.HardwareAddr) [][]byte {
	return [][]byte{
		arpFrame(arp.OperationRequest, mac, ip, noMAC, ip, ethernet.Broadcast),
		arpFrame(arp.OperationReply, mac, ip, ethernet.Broadcast, ip, ethernet.Broadcast),
	}
}

func arpRequest(ip, from netip.Addr, mac net.HardwareAddr) []byte {
	return arpFrame(arp.OperationRequest, mac, from, noMAC, ip, ethernet.Broadcast)
}

func arpProbe(ip netip.Addr, mac net.HardwareAddr) []byte {
	return arpRequest(ip, netip.IPv4Unspecified(), mac)
}
