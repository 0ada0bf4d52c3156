package layer2

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
)

var (
	mine   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	theirs = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	third  = net.HardwareAddr{2, 0, 0, 0, 0, 3}

	owned4  = netip.MustParseAddr("192.0.2.10")
	other4  = netip.MustParseAddr("192.0.2.11")
	client4 = netip.MustParseAddr("192.0.2.100")
	owned6  = netip.MustParseAddr("2001:db8::10")
	other6  = netip.MustParseAddr("2001:db8::11")
	client6 = netip.MustParseAddr("fe80::2")
)

func owns(ip netip.Addr) bool { return ip == owned4 || ip == owned6 }

func TestARP(t *testing.T) {
	request := func(target netip.Addr) []byte {
		return arpFrame(arp.OperationRequest, theirs, client4, noMAC, target, ethernet.Broadcast)
	}
	with := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	for _, tt := range []struct {
		name  string
		frame []byte
		drop  Drop
		reply []byte
		ip    netip.Addr
	}{
		{"request for an owned address", request(owned4), "",
			arpFrame(arp.OperationReply, mine, owned4, theirs, client4, theirs), owned4},
		{"unicast request, by which a neighbour is confirmed", arpFrame(arp.OperationRequest, theirs, client4, noMAC, owned4, mine), "",
			arpFrame(arp.OperationReply, mine, owned4, theirs, client4, theirs), owned4},
		{"probe", arpProbe(owned4, theirs), "",
			arpFrame(arp.OperationReply, mine, owned4, theirs, netip.IPv4Unspecified(), theirs), owned4},
		{"request for another address", request(other4), NotOwned, nil, other4},
		{"unicast request to another host", arpFrame(arp.OperationRequest, theirs, client4, noMAC, owned4, third), NotForUs, nil, netip.Addr{}},
		{"own request", arpFrame(arp.OperationRequest, mine, client4, noMAC, owned4, ethernet.Broadcast), OwnPacket, nil, netip.Addr{}},
		{"own request through a bridge that changed the frame's source", with(arpFrame(arp.OperationRequest, mine, client4, noMAC, owned4, ethernet.Broadcast), 11, 9), OwnPacket, nil, owned4},
		{"gratuitous request", gratuitousARP(owned4, theirs)[0], Announcement, nil, owned4},
		{"gratuitous reply", gratuitousARP(owned4, theirs)[1], Announcement, nil, owned4},
		{"reply to our probe", arpFrame(arp.OperationReply, theirs, owned4, mine, netip.IPv4Unspecified(), mine), Announcement, nil, owned4},
		{"request whose source is an owned address", arpFrame(arp.OperationRequest, theirs, owned4, noMAC, other4, ethernet.Broadcast), NotOwned, nil, other4},
		{"reverse ARP", with(request(owned4), 21, 3), NotRequest, nil, owned4},
		{"token ring", with(request(owned4), 15, 6), Malformed, nil, netip.Addr{}},
		{"sender of a multicast address", with(request(owned4), 22, 3), Malformed, nil, owned4},
		{"short", request(owned4)[:30], Malformed, nil, netip.Addr{}},
		{"empty", nil, Malformed, nil, netip.Addr{}},
	} {
		t.Run(tt.name, func(t *testing.T) { check(t, ARP(tt.frame, mine, owns), tt.drop, tt.reply, tt.ip) })
	}
}

func TestNDP(t *testing.T) {
	group, _ := Group(owned6)
	options := []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: theirs}}
	solicit := func(target, src, dst netip.Addr, o []ndp.Option) []byte {
		return ndpFrame(&ndp.NeighborSolicitation{TargetAddress: target, Options: o}, src, dst, theirs, multicastMAC(dst))
	}
	with := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	good := solicit(owned6, client6, group, options)
	for _, tt := range []struct {
		name  string
		frame []byte
		drop  Drop
		reply []byte
		ip    netip.Addr
	}{
		{"solicitation", good, "", advertisement(owned6, client6, mine, theirs, true), owned6},
		{"solicitation of an owned address, sent to it", ndpFrame(&ndp.NeighborSolicitation{TargetAddress: owned6}, client6, owned6, theirs, mine), "",
			advertisement(owned6, client6, mine, theirs, true), owned6},
		{"duplicate address detection", duplicateDetection(owned6, theirs), "", unsolicitedAdvertisement(owned6, mine), owned6},
		{"duplicate address detection to another group", solicit(owned6, netip.IPv6Unspecified(), allNodes, nil), Malformed, nil, owned6},
		{"duplicate address detection with a source option", solicit(owned6, netip.IPv6Unspecified(), group, options), Malformed, nil, owned6},
		{"another address", solicit(other6, client6, group, options), NotOwned, nil, other6},
		{"from a router's far side (hop limit)", with(good, 14+7, 254), Malformed, nil, netip.Addr{}},
		{"wrong checksum", with(good, 14+42, good[14+42]+1), Malformed, nil, netip.Addr{}},
		{"extension header", with(good, 14+6, 0), Malformed, nil, netip.Addr{}},
		{"own solicitation", ndpFrame(&ndp.NeighborSolicitation{TargetAddress: owned6}, client6, group, mine, multicastMAC(group)), OwnPacket, nil, netip.Addr{}},
		{"unsolicited advertisement", unsolicitedAdvertisement(owned6, theirs), Announcement, nil, owned6},
		{"answer to our probe", advertisement(owned6, client6, theirs, mine, true), Announcement, nil, owned6},
		{"solicited advertisement to all nodes", ndpFrame(&ndp.NeighborAdvertisement{Solicited: true, TargetAddress: owned6}, owned6, allNodes, theirs, multicastMAC(allNodes)), Malformed, nil, owned6},
		{"router solicitation", ndpFrame(&ndp.RouterSolicitation{Options: []ndp.Option{ndp.NewMTU(1500), ndp.NewMTU(1500)}}, client6, allNodes, theirs, multicastMAC(allNodes)), NotRequest, nil, netip.Addr{}},
		{"short", good[:50], Malformed, nil, netip.Addr{}},
	} {
		t.Run(tt.name, func(t *testing.T) { check(t, NDP(tt.frame, mine, owns), tt.drop, tt.reply, tt.ip) })
	}
}

func check(t *testing.T, d Decision, drop Drop, reply []byte, ip netip.Addr) {
	t.Helper()
	if d.Drop != drop || !bytes.Equal(d.Reply, reply) || d.IP != ip {
		t.Errorf("got %+v, want drop %q, reply %x, ip %s", d, drop, reply, ip)
	}
}

// The two ends agree: what Announce, Probe and Request build, another node's ARP and
// NDP understand.
func TestRoundTrip(t *testing.T) {
	for _, ip := range []netip.Addr{owned4, owned6} {
		decide := ARP
		if ip.Is6() {
			decide = NDP
		}
		for _, f := range Announce(ip, theirs) {
			if d := decide(f, mine, owns); d.Drop != Announcement || d.IP != ip || !bytes.Equal(d.From, theirs) {
				t.Errorf("announcement of %s: %+v", ip, d)
			}
		}
		from := client4
		if ip.Is6() {
			from = client6
		}
		if d := decide(Request(ip, from, theirs), mine, owns); d.Reply == nil {
			t.Errorf("request for %s: %+v", ip, d)
		}
		d := decide(Probe(ip, theirs), mine, owns)
		if d.Reply == nil {
			t.Fatalf("probe of %s: %+v", ip, d)
		}
		if d := decide(d.Reply, theirs, func(netip.Addr) bool { return false }); d.Drop != Announcement || d.IP != ip {
			t.Errorf("answer to a probe of %s: %+v", ip, d)
		}
	}
}

func FuzzARP(f *testing.F) {
	f.Add(arpProbe(owned4, theirs))
	f.Add(gratuitousARP(owned4, theirs)[1])
	f.Fuzz(func(t *testing.T, b []byte) { sane(t, ARP(b, mine, owns)) })
}

func FuzzNDP(f *testing.F) {
	group, _ := Group(owned6)
	f.Add(duplicateDetection(owned6, theirs))
	f.Add(unsolicitedAdvertisement(owned6, theirs))
	f.Add(ndpFrame(&ndp.NeighborSolicitation{TargetAddress: owned6}, client6, group, theirs, multicastMAC(group)))
	f.Fuzz(func(t *testing.T, b []byte) { sane(t, NDP(b, mine, owns)) })
}

// sane: either a reply for an owned address, or a reason.
func sane(t *testing.T, d Decision) {
	if (d.Reply == nil) == (d.Drop == "") || d.Reply != nil && !owns(d.IP) {
		t.Errorf("%+v", d)
	}
}
