package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// world is what the API says in the end, from which a plan can be made anew.
type world map[string]Event

func (w world) apply(key string, ev Event, gone bool) {
	if delete(w, key); !gone {
		w[key] = ev
	}
}

// genEvent draws an event and the object that it is about.
func genEvent(t *rapid.T) (key string, ev Event, gone bool) {
	pick := func(names ...string) string { return rapid.SampledFrom(names).Draw(t, "name") }
	some := func(names ...string) []string {
		return slices.DeleteFunc(names, func(string) bool { return rapid.Bool().Draw(t, "without") })
	}
	nodes := func() map[string]bool {
		if rapid.Bool().Draw(t, "every node") {
			return nil
		}
		out := map[string]bool{}
		for _, n := range some("n1", "n2", "n3") {
			out[n] = true
		}
		return out
	}
	gone = rapid.IntRange(0, 3).Draw(t, "gone") == 0
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case kind == 0:
		n := pick("n1", "n2", "n3")
		ev = SetNode{n, rapid.SampledFrom([]reason.Reason{"", "", reason.NodeNotReady, reason.NodeExcluded, reason.NetworkUnavailable}).Draw(t, "reason")}
		if gone {
			ev = DeleteNode{n}
		}
		return "node " + n, ev, gone
	case kind == 1:
		n := pick("a", "b", "c")
		ev = SetPeer{Peer{
			Name: n, Nodes: nodes(), Address: netip.MustParseAddr(pick("10.0.0.1", "10.0.0.2", "fd00::1")), DualStack: rapid.Bool().Draw(t, "dual"),
			Secret: pick("", "", "s"), Profile: pick("", "", "p"),
		}}
		if gone {
			ev = DeletePeer{n}
		}
		return "peer " + n, ev, gone
	case kind == 2:
		n := pick("x", "y", "z")
		a := Advertisement{
			Name: n, Nodes: nodes(), Peers: some("a", "b"), Length: rapid.SampledFrom([]int{32, 32, 30, 24}).Draw(t, "length"),
			LengthV6: rapid.SampledFrom([]int{128, 64}).Draw(t, "length6"), LocalPref: rapid.Uint32Range(0, 2).Draw(t, "pref"),
			Prepend: rapid.IntRange(0, 2).Draw(t, "prepend"), Communities: some("1:1", "1:2", "alias", "large:1:2:3"),
		}
		if rapid.Bool().Draw(t, "med") {
			med := rapid.Uint32Range(0, 2).Draw(t, "med")
			a.MED = &med
		}
		ev = SetAdvertisement{a}
		if gone {
			ev = DeleteAdvertisement{n}
		}
		return "advertisement " + n, ev, gone
	case kind == 3:
		n := pick("c1", "c2")
		ev = SetCommunities{n, map[string]string{"alias": pick("2:1", "2:2")}}
		if gone {
			ev = DeleteCommunities{n}
		}
		return "communities " + n, ev, gone
	case kind == 4:
		switch pick("secret", "profile", "proxy") {
		case "secret":
			ev = SetSecret{Name: "s", Password: "w", Invalid: rapid.Bool().Draw(t, "invalid")}
			if gone {
				ev = DeleteSecret{"s"}
			}
			return "secret", ev, gone
		case "profile":
			ev = SetProfile{Name: "p"}
			if gone {
				ev = DeleteProfile{"p"}
			}
			return "profile", ev, gone
		}
		return "proxy", SetProxy{!gone}, gone
	}
	ip := netip.MustParseAddr(pick("192.0.2.1", "192.0.2.2", "192.0.2.5", "192.0.2.130", "2001:db8::1", "2001:db8::2"))
	a := Address{
		IP: ip, Advertisements: some("x", "y", "z"), NoEndpoints: rapid.IntRange(0, 5).Draw(t, "no endpoints") == 0,
		Behind: rapid.IntRange(0, 3).Draw(t, "behind") == 0,
	}
	if rapid.IntRange(0, 2).Draw(t, "local") == 0 {
		a.Local = map[string]bool{}
		for _, n := range some("n1", "n2", "n3") {
			a.Local[n] = true
		}
	}
	ev = SetAddress{a}
	if gone {
		ev = DeleteAddress{ip}
	}
	return "address " + ip.String(), ev, gone
}

// snapshot is all that a Planner says.
func snapshot(p *Planner) string {
	var out []string
	for _, s := range p.States() {
		out = append(out, fmt.Sprintf("peer %s %s", s.Name, format(s.Refused)))
		p.Paths(s.Name, func(prefix netip.Prefix, a *Attributes) {
			out = append(out, fmt.Sprintf("path %s %s %s", s.Name, prefix, a))
		})
	}
	for ip := range p.addresses {
		v, _ := p.Explain(ip)
		out = append(out, fmt.Sprintf("address %s %v %v", ip, v, p.Peers(ip)))
	}
	for _, a := range p.Advertisements() {
		out = append(out, fmt.Sprintf("advertisement %s %s", a.Name, format(a.Refused)))
	}
	slices.Sort(out)
	text := ""
	for _, line := range out {
		text += line + "\n"
	}
	return text
}

// What was told event by event is what a plan of the final state tells.
func TestIncrementalIsFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New("n1")
		final := world{}
		told := map[string]map[netip.Prefix]string{} // as the peers heard it
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			key, ev, gone := genEvent(t)
			final.apply(key, ev, gone)
			p.Step(ev)
			usable := map[string]bool{}
			for _, s := range p.States() {
				usable[s.Name] = s.Refused.Reason == ""
			}
			for name := range told { // a session that ends is forgotten
				if !usable[name] {
					delete(told, name)
				}
			}
			for _, c := range p.Changes() {
				if told[c.Peer] == nil {
					told[c.Peer] = map[netip.Prefix]string{}
				}
				if c.Attributes == nil {
					delete(told[c.Peer], c.Prefix)
				} else {
					told[c.Peer][c.Prefix] = c.Attributes.String()
				}
			}
		}
		full := New("n1")
		for _, key := range slices.Sorted(maps.Keys(final)) {
			full.Step(final[key])
		}
		if got, want := snapshot(p), snapshot(full); got != want {
			t.Fatalf("event by event:\n%s\nat once:\n%s", got, want)
		}
		for _, s := range full.States() {
			want := map[netip.Prefix]string{}
			full.Paths(s.Name, func(prefix netip.Prefix, a *Attributes) { want[prefix] = a.String() })
			if got := told[s.Name]; !maps.Equal(got, want) {
				t.Fatalf("%s was told %v, not %v", s.Name, got, want)
			}
		}
	})
}

// A change of one address changes paths of its own prefixes and of no other.
func TestOneAddressTouchesItsPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New("n1")
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			_, ev, _ := genEvent(t)
			var ip netip.Addr
			switch ev := ev.(type) {
			case SetAddress:
				ip = ev.Address.IP
			case DeleteAddress:
				ip = ev.IP
			}
			p.Step(ev)
			for _, c := range p.Changes() {
				if ip.IsValid() && !c.Prefix.Contains(ip) {
					t.Fatalf("%T of %s changes %s", ev, ip, c.Prefix)
				}
			}
		}
	})
}
