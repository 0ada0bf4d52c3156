// Package layer2 decides about ARP and NDP packets: what to answer, what to
// note, what to drop and why. It also builds the packets by which addresses
// are announced and asked for. Packets are whole Ethernet frames.
//
// ARP is by RFC 826 and RFC 5227, NDP by RFC 4861. The package has no sockets.
package layer2

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/mdlayher/ethernet"
)

// Drop is why a packet was not answered. It is a metric label.
type Drop string

// The reasons to drop a packet.
const (
	// Malformed: not a packet that the RFC allows.
	Malformed Drop = "Malformed"
	// NotForUs: the frame is addressed to another host.
	NotForUs Drop = "NotForUs"
	// OwnPacket: it is from this interface.
	OwnPacket Drop = "OwnPacket"
	// NotRequest: it asks nothing.
	NotRequest Drop = "NotRequest"
	// NotOwned: it asks for an address that this node does not answer for.
	NotOwned Drop = "NotOwned"
	// Announcement: it says that another host has the address. The Decision's
	// Seen names it.
	Announcement Drop = "Announcement"
	// Frozen: the process did not run for a while, and what it answers for is in
	// doubt. Whoever answers packets decides that, not this package.
	Frozen Drop = "Frozen"
)

// Drops are all reasons, in order.
var Drops = [...]Drop{Malformed, NotForUs, OwnPacket, NotRequest, NotOwned, Announcement, Frozen}

// Decision is the outcome of one packet: a Reply, or else a Drop.
type Decision struct {
	// Reply is the frame to send back on the same interface.
	Reply []byte
	Drop  Drop
	// IP is the address that the packet asks for or announces.
	IP netip.Addr
	// From is the hardware address that announces IP, or asks for it.
	From net.HardwareAddr
}

// Owns says whether this node answers for an address on an interface.
type Owns func(netip.Addr) bool

// frameFor checks the destination and source of a frame.
func frameFor(b []byte, mac net.HardwareAddr) (ethernet.Frame, Drop) {
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil || f.VLAN != nil {
		return f, Malformed
	}
	switch {
	case bytes.Equal(f.Source, mac):
		return f, OwnPacket
	case f.Destination[0]&1 == 0 && !bytes.Equal(f.Destination, mac):
		return f, NotForUs
	}
	return f, ""
}

func frame(dst, src net.HardwareAddr, kind ethernet.EtherType, payload []byte) []byte {
	b, err := (&ethernet.Frame{Destination: dst, Source: src, EtherType: kind, Payload: payload}).MarshalBinary()
	if err != nil {
		return nil
	}
	return b
}

// Announce builds the frames that tell a segment where an address lives.
func Announce(ip netip.Addr, mac net.HardwareAddr) [][]byte {
	if ip.Is4() {
		return gratuitousARP(ip, mac)
	}
	return [][]byte{unsolicitedAdvertisement(ip, mac)}
}

// Probe builds the frame that asks a segment who has an address, without
// claiming it: an ARP probe (RFC 5227 section 2.1.1), or the solicitation of
// duplicate address detection (RFC 4862 section 5.4.2).
func Probe(ip netip.Addr, mac net.HardwareAddr) []byte {
	if ip.Is4() {
		return arpProbe(ip, mac)
	}
	return duplicateDetection(ip, mac)
}

// Request builds the frame that asks a segment, in the name of an address of
// this host, where another host's address lives, as a kernel does (RFC 826, RFC
// 4861 section 7.2.2): both hosts know each other's hardware address then.
func Request(ip, from netip.Addr, mac net.HardwareAddr) []byte {
	if ip.Is4() {
		return arpRequest(ip, from, mac)
	}
	return addressResolution(ip, from, mac)
}
