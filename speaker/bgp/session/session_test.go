package session

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

var config = Config{
	LocalAS: 64600, PeerAS: 64512, RouterID: netip.MustParseAddr("10.0.0.11"), HoldTime: 90 * time.Second,
	Families: []Family{IPv4, IPv6},
	NextHop:  NextHop{IPv4: netip.MustParseAddr("10.0.0.11"), IPv6: netip.MustParseAddr("fd00::11")},
}

func with(change func(*Config)) Config {
	c := config
	change(&c)
	return c
}

// theirs is the peer's OPEN.
func theirs(as uint32, hold uint16, id string, caps ...packet.ParameterCapabilityInterface) []byte {
	caps = append(caps, packet.NewCapFourOctetASNumber(as))
	if as > 0xffff {
		as = packet.AS_TRANS
	}
	m := packet.NewBGPOpenMessage(uint16(as), hold, id, []packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)})
	b, err := m.Body.Serialize()
	if err != nil {
		panic(err)
	}
	return b
}

func families() []packet.ParameterCapabilityInterface {
	return []packet.ParameterCapabilityInterface{packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapMultiProtocol(packet.RF_IPv6_UC)}
}

// established is a session that is up, its messages so far taken.
func established(t *testing.T, c Config, caps ...packet.ParameterCapabilityInterface) *Session {
	t.Helper()
	s := New(c, 0)
	s.Receive(0, packet.BGP_MSG_OPEN, theirs(c.PeerAS, 90, "10.0.0.1", append(families(), caps...)...))
	s.Receive(0, packet.BGP_MSG_KEEPALIVE, nil)
	if s.State() != Established {
		t.Fatalf("state %s: %v", s.State(), s.Err())
	}
	s.Output()
	return s
}

func decode(t *testing.T, messages [][]byte) (out []*packet.BGPMessage) {
	t.Helper()
	for _, b := range messages {
		var h [HeaderLength]byte
		copy(h[:], b)
		if rest, _, err := ReadHeader(h); err != nil || rest != len(b)-HeaderLength {
			t.Fatalf("header of %x: %v", b, err)
		}
		m, err := packet.ParseBGPMessage(b)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		out = append(out, m)
	}
	return out
}

// updates puts UPDATEs into words.
func updates(t *testing.T, messages [][]byte) (out []string) {
	t.Helper()
	for _, m := range decode(t, messages) {
		u, ok := m.Body.(*packet.BGPUpdate)
		if !ok {
			out = append(out, fmt.Sprintf("type %d", m.Header.Type))
			continue
		}
		if end, family := u.IsEndOfRib(); end {
			out = append(out, "end of "+family.String())
			continue
		}
		var words []string
		for _, w := range u.WithdrawnRoutes {
			words = append(words, "withdraw "+w.String())
		}
		for _, n := range u.NLRI {
			words = append(words, n.String())
		}
		for _, a := range u.PathAttributes {
			switch a := a.(type) {
			case *packet.PathAttributeMpReachNLRI:
				for _, n := range a.Value {
					words = append(words, n.String())
				}
				words = append(words, "via "+a.Nexthop.String())
				if a.LinkLocalNexthop != nil {
					words = append(words, "and "+a.LinkLocalNexthop.String())
				}
			case *packet.PathAttributeMpUnreachNLRI:
				for _, n := range a.Value {
					words = append(words, "withdraw "+n.String())
				}
			default:
				words = append(words, a.String())
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOpen(t *testing.T) {
	c := with(func(c *Config) {
		c.LocalAS, c.RestartTime, c.Restarting = 4200000000, time.Minute, true
	})
	s := New(c, 0)
	open := decode(t, s.Output())[0].Body.(*packet.BGPOpen)
	if open.MyAS != packet.AS_TRANS || open.HoldTime != 90 || open.ID.String() != "10.0.0.11" {
		t.Errorf("%+v", open)
	}
	seen := map[packet.BGPCapabilityCode]int{}
	for _, c := range open.OptParams[0].(*packet.OptionParameterCapability).Capability {
		seen[c.Code()]++
		switch c := c.(type) {
		case *packet.CapFourOctetASNumber:
			if c.CapValue != 4200000000 {
				t.Errorf("AS %d", c.CapValue)
			}
		case *packet.CapGracefulRestart:
			if c.Flags&0x8 == 0 || c.Time != 60 || len(c.Tuples) != 2 || c.Tuples[0].Flags != 0x80 {
				t.Errorf("%+v", c)
			}
		}
	}
	for _, code := range []packet.BGPCapabilityCode{packet.BGP_CAP_ROUTE_REFRESH, packet.BGP_CAP_FOUR_OCTET_AS_NUMBER, packet.BGP_CAP_GRACEFUL_RESTART, packet.BGP_CAP_EXTENDED_NEXTHOP} {
		if seen[code] != 1 {
			t.Errorf("capability %s: %d", code, seen[code])
		}
	}
	if seen[packet.BGP_CAP_MULTIPROTOCOL] != 2 {
		t.Errorf("%d families", seen[packet.BGP_CAP_MULTIPROTOCOL])
	}
}

func TestRefusals(t *testing.T) {
	valid := theirs(64512, 90, "10.0.0.1")
	bytes := func(change func([]byte)) []byte {
		b := slices.Clone(valid)
		change(b)
		return b
	}
	for _, tt := range []struct {
		name   string
		config Config
		kind   byte
		body   []byte
		want   string
	}{
		{"another AS", config, packet.BGP_MSG_OPEN, theirs(64999, 90, "10.0.0.1"), "the peer's AS is 64999, not 64512"},
		{"internal wanted", with(func(c *Config) { c.PeerType = Internal }), packet.BGP_MSG_OPEN, valid, "the peer's AS is 64512, not the own 64600"},
		{"external wanted", with(func(c *Config) { c.PeerType = External }), packet.BGP_MSG_OPEN, theirs(64600, 90, "10.0.0.1"), "the peer's AS is the own, 64600"},
		{"version", config, packet.BGP_MSG_OPEN, bytes(func(b []byte) { b[0] = 3 }), "unsupported version number"},
		{"hold time of 2 s", config, packet.BGP_MSG_OPEN, theirs(64512, 2, "10.0.0.1"), "unacceptable hold time"},
		{"no identifier", config, packet.BGP_MSG_OPEN, theirs(64512, 90, "0.0.0.0"), "bad bgp identifier"},
		{"own identifier, internal", with(func(c *Config) { c.PeerAS = 64600 }), packet.BGP_MSG_OPEN, theirs(64600, 90, "10.0.0.11"), "bad bgp identifier"},
		{"parameter that is no capability", config, packet.BGP_MSG_OPEN, bytes(func(b []byte) { b[10] = 1 }), "unsupported optional parameter"},
		{"cut off", config, packet.BGP_MSG_OPEN, valid[:12], "refused what the peer sent"},
		{"UPDATE first", config, packet.BGP_MSG_UPDATE, nil, "unexpected message in opensent"},
		{"NOTIFICATION", config, packet.BGP_MSG_NOTIFICATION, []byte{6, 2, 3, 'b', 'y', 'e'}, `subcode 2(administrative shutdown) "bye"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New(tt.config, 0)
			s.Output()
			s.Receive(0, tt.kind, tt.body)
			if s.State() != Closed || !strings.Contains(s.Err().Error(), tt.want) {
				t.Errorf("%s: %v", s.State(), s.Err())
			}
			out := s.Output()
			if tt.kind == packet.BGP_MSG_NOTIFICATION {
				if len(out) != 0 {
					t.Error("a NOTIFICATION is answered")
				}
			} else if len(out) != 1 || out[0][18] != packet.BGP_MSG_NOTIFICATION {
				t.Errorf("sends %x", out)
			}
		})
	}
}

// RFC 6286 section 2.1: only within one autonomous system must they differ.
func TestSameIdentifierElsewhere(t *testing.T) {
	s := New(config, 0)
	s.Receive(0, packet.BGP_MSG_OPEN, theirs(64512, 90, "10.0.0.11"))
	if s.State() != OpenConfirm {
		t.Error(s.Err())
	}
}

func TestHeaders(t *testing.T) {
	header := func(length uint16, kind byte) (h [HeaderLength]byte) {
		for i := range 16 {
			h[i] = 0xff
		}
		binary.BigEndian.PutUint16(h[16:], length)
		h[18] = kind
		return h
	}
	unsynchronized := header(19, packet.BGP_MSG_KEEPALIVE)
	unsynchronized[3] = 0
	for _, tt := range []struct {
		h    [HeaderLength]byte
		rest int
		bad  string
	}{
		{header(19, packet.BGP_MSG_KEEPALIVE), 0, ""},
		{header(4096, packet.BGP_MSG_UPDATE), 4077, ""},
		{header(20, packet.BGP_MSG_KEEPALIVE), 0, "bad message length"},
		{header(18, packet.BGP_MSG_KEEPALIVE), 0, "bad message length"},
		{header(4097, packet.BGP_MSG_UPDATE), 0, "bad message length"},
		{header(28, packet.BGP_MSG_OPEN), 0, "bad message length"},
		{header(20, packet.BGP_MSG_NOTIFICATION), 0, "bad message length"},
		{header(22, packet.BGP_MSG_ROUTE_REFRESH), 0, "bad message length"},
		{header(19, 9), 0, "bad message type"},
		{unsynchronized, 0, "connection not synchronized"},
	} {
		rest, _, err := ReadHeader(tt.h)
		if tt.bad == "" && (err != nil || rest != tt.rest) || tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad)) {
			t.Errorf("%x: %d, %v", tt.h, rest, err)
		}
	}
}

func TestTimers(t *testing.T) {
	s := New(config, 0)
	s.Output()
	s.Receive(0, packet.BGP_MSG_OPEN, theirs(64512, 30, "10.0.0.1", families()...))
	s.Receive(0, packet.BGP_MSG_KEEPALIVE, nil)
	if s.HoldTime() != 30*time.Second || s.Deadline() != 10*time.Second {
		t.Fatalf("hold time %s, due %s", s.HoldTime(), s.Deadline())
	}
	s.Output()
	s.Tick(9 * time.Second)
	if out := s.Output(); len(out) != 0 {
		t.Errorf("%x before it is due", out)
	}
	s.Tick(10 * time.Second)
	equal(t, updates(t, s.Output()), "type 4")
	s.Receive(25*time.Second, packet.BGP_MSG_UPDATE, nil) // any message of the peer counts
	s.Tick(54 * time.Second)
	if s.State() != Established {
		t.Fatal(s.Err())
	}
	s.Output()
	s.Tick(55 * time.Second)
	if s.State() != Closed {
		t.Error("the hold time is over")
	}
	equal(t, updates(t, s.Output()), "type 3")
}

func TestNoHoldTime(t *testing.T) {
	s := New(config, 0)
	s.Receive(0, packet.BGP_MSG_OPEN, theirs(64512, 0, "10.0.0.1"))
	s.Receive(0, packet.BGP_MSG_KEEPALIVE, nil)
	s.Output()
	s.Tick(s.Deadline() - 1)
	if out := s.Output(); s.State() != Established || len(out) != 0 {
		t.Errorf("%s, sends %x", s.State(), out)
	}
}

// A peer that opens the connection and says nothing is left.
func TestSilentPeer(t *testing.T) {
	s := New(config, 0)
	s.Tick(s.Deadline())
	if s.State() != Closed {
		t.Error("it waits for ever")
	}
}

func TestPaths(t *testing.T) {
	plain := &bgp.Attributes{LocalPref: 200}
	full := &bgp.Attributes{LocalPref: 100, HasMED: true, MED: 7, Prepend: 1, Communities: []bgp.Community{1<<16 + 2}, Large: []bgp.LargeCommunity{{Global: 1, Local1: 2, Local2: 3}}}
	prefix := netip.MustParsePrefix
	extended := packet.NewCapExtendedNexthop([]*packet.CapExtendedNexthopTuple{packet.NewCapExtendedNexthopTuple(packet.RF_IPv4_UC, packet.AFI_IP6)})
	restart := packet.NewCapGracefulRestart(false, false, 60, nil)
	for _, tt := range []struct {
		name   string
		config Config
		caps   []packet.ParameterCapabilityInterface
		say    func(*Session)
		want   []string
	}{
		{"both families, by attributes", config, nil, func(s *Session) {
			s.Announce(prefix("192.0.2.2/32"), plain)
			s.Announce(prefix("2001:db8::1/128"), plain)
			s.Announce(prefix("192.0.2.1/32"), full)
			s.Announce(prefix("192.0.2.0/24"), plain)
			s.Announce(prefix("192.0.2.9/32"), nil)
			s.Announce(prefix("2001:db8::9/128"), nil)
			s.Complete()
		}, []string{
			"withdraw 192.0.2.9/32",
			"192.0.2.1/32 {Origin: i} {AsPath: 64600 64600} {Nexthop: 10.0.0.11} {Med: 7} {Communities: 1:2} {LargeCommunity: [ 1:2:3]}",
			"192.0.2.0/24 192.0.2.2/32 {Origin: i} {AsPath: 64600} {Nexthop: 10.0.0.11}",
			"withdraw 2001:db8::9/128",
			"{Origin: i} {AsPath: 64600} 2001:db8::1/128 via fd00::11",
		}},
		{"within the own AS", with(func(c *Config) { c.PeerAS = c.LocalAS }), nil, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), full)
		}, []string{
			"192.0.2.1/32 {Origin: i} {AsPath: } {Nexthop: 10.0.0.11} {Med: 7} {LocalPref: 100} {Communities: 1:2} {LargeCommunity: [ 1:2:3]}",
		}},
		{"IPv4 with the IPv4 address of the node, though the peer could take another", with(func(c *Config) {}), []packet.ParameterCapabilityInterface{extended}, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), plain)
		}, []string{"192.0.2.1/32 {Origin: i} {AsPath: 64600} {Nexthop: 10.0.0.11}"}},
		{"IPv4 over an IPv6 next hop", with(func(c *Config) { c.NextHop.IPv4 = netip.Addr{} }), []packet.ParameterCapabilityInterface{extended}, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), plain)
			s.Announce(prefix("192.0.2.2/32"), nil)
		}, []string{"withdraw 192.0.2.2/32", "{Origin: i} {AsPath: 64600} 192.0.2.1/32 via fd00::11"}},
		{"no IPv4 next hop for a peer that needs one", with(func(c *Config) { c.NextHop.IPv4 = netip.Addr{} }), nil, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), plain)
		}, nil},
		{"unnumbered", with(func(c *Config) {
			c.NextHop = NextHop{IPv4: netip.MustParseAddr("10.0.0.11"), LinkLocal: netip.MustParseAddr("fe80::11")}
		}), []packet.ParameterCapabilityInterface{extended}, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), plain)
			s.Announce(prefix("2001:db8::1/128"), plain)
		}, []string{"{Origin: i} {AsPath: 64600} 192.0.2.1/32 via fe80::11 and fe80::11", "{Origin: i} {AsPath: 64600} 2001:db8::1/128 via fe80::11 and fe80::11"}},
		{"the end of what there is, to a peer that helps with a restart", with(func(c *Config) { c.RestartTime = time.Minute }), []packet.ParameterCapabilityInterface{restart}, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), plain)
			s.Complete()
		}, []string{"192.0.2.1/32 {Origin: i} {AsPath: 64600} {Nexthop: 10.0.0.11}", "end of ipv4-unicast", "end of ipv6-unicast"}},
		{"the last word counts", config, nil, func(s *Session) {
			s.Announce(prefix("192.0.2.1/32"), plain)
			s.Announce(prefix("192.0.2.1/32"), nil)
			s.Announce(prefix("192.0.2.1/32"), plain)
		}, []string{"192.0.2.1/32 {Origin: i} {AsPath: 64600} {Nexthop: 10.0.0.11}"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := established(t, tt.config, tt.caps...)
			tt.say(s)
			equal(t, updates(t, s.Output()), tt.want...)
			if out := s.Output(); len(out) != 0 {
				t.Errorf("says it twice: %x", out)
			}
		})
	}
}

// A peer without capabilities knows IPv4, and numbers of two octets.
func TestOldPeer(t *testing.T) {
	c := with(func(c *Config) { c.LocalAS = 4200000000 })
	s := New(c, 0)
	m, err := packet.NewBGPOpenMessage(64512, 90, "10.0.0.1", nil).Body.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(0, packet.BGP_MSG_OPEN, m)
	s.Receive(0, packet.BGP_MSG_KEEPALIVE, nil)
	s.Output()
	s.Announce(netip.MustParsePrefix("192.0.2.1/32"), &bgp.Attributes{LocalPref: 100})
	s.Announce(netip.MustParsePrefix("2001:db8::1/128"), &bgp.Attributes{LocalPref: 100})
	out := updates(t, s.Output())
	if len(out) != 1 || !strings.Contains(out[0], "23456") || !strings.Contains(out[0], "4200000000") {
		t.Errorf("%q", out)
	}
}

func TestPacking(t *testing.T) {
	for _, tt := range []struct {
		first string
		most  int // messages
	}{{"10.0.0.0", 13}, {"2001:db8::", 43}} {
		s := established(t, config)
		a := &bgp.Attributes{LocalPref: 100, Communities: []bgp.Community{1, 2, 3}}
		ip := netip.MustParseAddr(tt.first)
		for range 10000 {
			ip = ip.Next()
			s.Announce(netip.PrefixFrom(ip, ip.BitLen()), a)
		}
		out := s.Output()
		seen := 0
		for _, u := range updates(t, out) {
			seen += strings.Count(u, "/32") + strings.Count(u, "/128")
		}
		if seen != 10000 || len(out) > tt.most {
			t.Errorf("%s: %d prefixes in %d messages", tt.first, seen, len(out))
		}
	}
}

func TestRouteRefresh(t *testing.T) {
	s := established(t, config)
	s.Receive(0, packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 0, 128}) // of a VPN
	s.Receive(0, packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 1, 1, 1})   // RFC 7313
	if s.Refresh() {
		t.Error("it was not asked for")
	}
	s.Receive(0, packet.BGP_MSG_ROUTE_REFRESH, []byte{0, 2, 0, 1})
	if !s.Refresh() || s.Refresh() {
		t.Error("it was asked for once")
	}
}

// Whatever a peer sends, the session stands or closes, and says why.
func FuzzReceive(f *testing.F) {
	f.Add(byte(0), byte(packet.BGP_MSG_OPEN), theirs(64512, 90, "10.0.0.1", families()...))
	f.Add(byte(1), byte(packet.BGP_MSG_NOTIFICATION), []byte{6, 2, 200, 'x'})
	f.Add(byte(2), byte(packet.BGP_MSG_ROUTE_REFRESH), []byte{0, 1, 0, 1})
	f.Add(byte(0), byte(packet.BGP_MSG_OPEN), append(theirs(64512, 90, "10.0.0.1")[:9], 6, 2, 4, 64, 2, 0, 1))
	f.Fuzz(func(t *testing.T, state, kind byte, body []byte) {
		s := New(with(func(c *Config) { c.RestartTime = time.Minute }), 0)
		if state > 0 {
			s.Receive(0, packet.BGP_MSG_OPEN, theirs(64512, 90, "10.0.0.1", families()...))
		}
		if state > 1 {
			s.Receive(0, packet.BGP_MSG_KEEPALIVE, nil)
		}
		var h [HeaderLength]byte
		for i := range 16 {
			h[i] = 0xff
		}
		binary.BigEndian.PutUint16(h[16:], uint16(HeaderLength+len(body)))
		h[18] = kind
		rest, kind, err := ReadHeader(h)
		if err != nil || rest != len(body) {
			return
		}
		s.Receive(time.Second, kind, body)
		s.Announce(netip.MustParsePrefix("192.0.2.1/32"), &bgp.Attributes{LocalPref: 100})
		s.Tick(s.Deadline())
		s.Output()
		if (s.State() == Closed) != (s.Err() != nil) {
			t.Errorf("%s: %v", s.State(), s.Err())
		}
	})
}
