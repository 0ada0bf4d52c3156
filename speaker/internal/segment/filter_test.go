package segment

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/speaker/layer2"
)

// frame is a packet, and what the kernel knows of it besides.
type frame struct {
	b     []byte
	vlan  uint32
	index uint32
	kind  uint32 // PACKET_*
}

// passes runs a filter on a frame. The extensions are the kernel's: the VM gets
// constants in their place.
func passes(t *testing.T, raw []bpf.RawInstruction, f frame) bool {
	t.Helper()
	program, whole := bpf.Disassemble(raw)
	if !whole {
		t.Fatal("the filter does not disassemble")
	}
	for i, is := range program {
		if load, ok := is.(bpf.LoadExtension); ok {
			value, known := map[bpf.Extension]uint32{
				bpf.ExtVLANTagPresent: f.vlan, bpf.ExtInterfaceIndex: f.index, bpf.ExtType: f.kind,
			}[load.Num]
			if !known {
				t.Fatalf("the filter reads %+v", load)
			}
			program[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: value}
		}
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(f.b)
	if err != nil {
		t.Fatal(err)
	}
	if n > 0 && n < len(f.b) {
		t.Errorf("%d of %d bytes pass", n, len(f.b))
	}
	return n > 0
}

// What matters to the speaker wakes it, and nothing else.
func TestFilters(t *testing.T) {
	const index = 7
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 2}
	with := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	ip4, ip6 := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
	request, solicitation := layer2.Probe(ip4, mac), layer2.Probe(ip6, mac)
	reply, advertisement := layer2.Announce(ip4, mac)[1], layer2.Announce(ip6, mac)[0]
	const operation, next, kind = 14 + 7, 14 + 6, 14 + 40
	for _, tt := range []struct {
		name     string
		frame    frame
		arp, ndp bool
	}{
		{"ARP request", frame{b: request, index: index, kind: unix.PACKET_BROADCAST}, true, false},
		{"ARP reply, to us", frame{b: reply, index: index, kind: unix.PACKET_HOST}, true, false},
		{"reverse ARP", frame{b: with(request, operation, 3), index: index}, false, false},
		{"solicitation", frame{b: solicitation, index: index, kind: unix.PACKET_MULTICAST}, false, true},
		{"advertisement", frame{b: advertisement, index: index, kind: unix.PACKET_MULTICAST}, false, true},
		{"router advertisement", frame{b: with(solicitation, kind, 134), index: index}, false, false},
		{"redirect", frame{b: with(solicitation, kind, 137), index: index}, false, false},
		{"UDP over IPv6", frame{b: with(solicitation, next, 17), index: index}, false, false},
		{"ARP request in a VLAN", frame{b: request, index: index, vlan: 1}, false, false},
		{"solicitation in a VLAN", frame{b: solicitation, index: index, vlan: 1}, false, false},
		{"ARP request for an interface above", frame{b: request, index: index + 1}, false, false},
		{"solicitation for an interface above", frame{b: solicitation, index: index + 1}, false, false},
		{"ARP request for another host", frame{b: request, index: index, kind: unix.PACKET_OTHERHOST}, false, false},
		{"our own ARP request", frame{b: request, index: index, kind: unix.PACKET_OUTGOING}, false, false},
		{"our own solicitation", frame{b: solicitation, index: index, kind: unix.PACKET_OUTGOING}, false, false},
		{"cut short", frame{b: request[:20], index: index}, false, false},
	} {
		// The sockets are each of one EtherType, which the filters do not look at.
		if tt.frame.b[12] == 8 {
			if got := passes(t, arpFilter(index), tt.frame); got != tt.arp {
				t.Errorf("%s: passes %v", tt.name, got)
			}
		} else if got := passes(t, ndpFilter(index), tt.frame); got != tt.ndp {
			t.Errorf("%s: passes %v", tt.name, got)
		}
	}
}
