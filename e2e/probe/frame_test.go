package probe

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
)

// The frames are as tcpdump shows them on a segment.
func TestDecode(t *testing.T) {
	for name, c := range map[string]struct {
		frame string
		want  Frame
	}{
		"ARP request": {
			"ffffffffffff02706c001e64" + "0806" + "0001080006040001" + "02706c001e64ac1e0064" + "000000000000ac1e00c8",
			Frame{Kind: Question, IP: netip.MustParseAddr("172.30.0.200"), From: "02:70:6c:00:1e:64"},
		},
		"ARP reply": {
			"02706c001e6402706c001e0b" + "0806" + "0001080006040002" + "02706c001e0bac1e00c8" + "02706c001e64ac1e0064",
			Frame{Kind: Answer, IP: netip.MustParseAddr("172.30.0.200"), From: "02:70:6c:00:1e:0b"},
		},
		"gratuitous ARP request": {
			"ffffffffffff02706c001e0b" + "0806" + "0001080006040001" + "02706c001e0bac1e00c8" + "000000000000ac1e00c8",
			Frame{Kind: Announcement, IP: netip.MustParseAddr("172.30.0.200"), From: "02:70:6c:00:1e:0b"},
		},
		"solicited neighbour advertisement": {
			"02706c001e6402706c001e0b" + "86dd" + "6000000000203aff" + "fd000030000000000000000000000200" + "fd000030000000000000000000000100" +
				"8800000060000000" + "fd000030000000000000000000000200" + "020102706c001e0b",
			Frame{Kind: Answer, IP: netip.MustParseAddr("fd00:30::200"), From: "02:70:6c:00:1e:0b"},
		},
		"unsolicited neighbour advertisement": {
			"33330000000102706c001e0b" + "86dd" + "6000000000203aff" + "fd000030000000000000000000000200" + "ff020000000000000000000000000001" +
				"8800000020000000" + "fd000030000000000000000000000200" + "020102706c001e0b",
			Frame{Kind: Announcement, IP: netip.MustParseAddr("fd00:30::200"), From: "02:70:6c:00:1e:0b"},
		},
	} {
		b, err := hex.DecodeString(c.frame)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := decode(b); !ok || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, ok, c.want)
		}
	}
	for name, frame := range map[string]string{
		"empty":     "",
		"short ARP": "ffffffffffff02706c001e640806000108000604",
		"TCP":       "02706c001e6402706c001e0b0800450000280000400040060000ac1e0064ac1e00c8",
		"MLD": "33330000001602706c001e0b86dd60000000001c3aff" + "fd000030000000000000000000000200" + "ff020000000000000000000000000016" +
			"8f00000000000000",
	} {
		b, err := hex.DecodeString(frame)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := decode(b); ok {
			t.Errorf("%s: got %+v, want nothing", name, got)
		}
	}
}

func TestQuestion(t *testing.T) {
	mac := net.HardwareAddr{2, 0x70, 0x6c, 0, 0x1e, 0x64}
	for _, c := range []struct{ own, ip, destination string }{
		{"172.30.0.100", "172.30.0.200", "ff:ff:ff:ff:ff:ff"},
		{"fd00:30::100", "fd00:30::200", "33:33:ff:00:02:00"},
	} {
		ip := netip.MustParseAddr(c.ip)
		b, err := question(mac, netip.MustParseAddr(c.own), ip)
		if err != nil {
			t.Fatal(err)
		}
		if got := net.HardwareAddr(b[:6]).String(); got != c.destination {
			t.Errorf("asking for %s goes to %s, want %s", ip, got, c.destination)
		}
		if got, ok := decode(b); !ok || got != (Frame{Kind: Question, IP: ip, From: mac.String()}) {
			t.Errorf("asking for %s is %+v, %v", ip, got, ok)
		}
	}
}
