package election

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var anyClaim = rapid.Custom(func(t *rapid.T) Claim {
	node := rapid.SampledFrom([]string{"a", "b", "c"})
	return Claim{
		Address: netip.MustParseAddr("10.0.0.1"), Term: rapid.Uint64Range(1, 3).Draw(t, "term"), Node: node.Draw(t, "node"),
		Phase: Phase(rapid.IntRange(0, int(Held)).Draw(t, "phase")), To: node.Draw(t, "to"),
		Weight: rapid.IntRange(1, 3).Draw(t, "weight"), Cause: rapid.SampledFrom(Causes[:]).Draw(t, "cause"),
	}
})

// Claims are a join semilattice: order and repetition do not matter.
func TestMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyClaim.Draw(t, "a"), anyClaim.Draw(t, "b"), anyClaim.Draw(t, "c")
		if Merge(a, b) != Merge(b, a) {
			t.Error("not commutative")
		}
		if Merge(a, Merge(b, c)) != Merge(Merge(a, b), c) {
			t.Error("not associative")
		}
		if Merge(a, a) != a || a.Beats(a) {
			t.Error("not idempotent")
		}
	})
}

func sample(claims int) Message {
	m := Message{States: []NodeState{{Node: "n1", Version: 7, Draining: true, Interfaces: []Interface{{
		Name: "eth0", MAC: MAC{2, 0, 0, 0, 0, 1},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64")},
	}}}}}
	for i := range claims {
		m.Claims = append(m.Claims, Claim{
			Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Term: uint64(i + 1), Node: fmt.Sprintf("node-with-a-name-%d", i%200),
			Phase: Held, Weight: 200, Cause: CauseDied,
		})
	}
	return m
}

func TestCodec(t *testing.T) {
	want := sample(1000)
	got, err := Unmarshal(want.Marshal())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatal(err)
	}
	var again Message
	for _, piece := range want.Split() {
		if len(piece) > 1300 {
			t.Errorf("a piece of %d bytes does not fit a packet", len(piece))
		}
		m, err := Unmarshal(piece)
		if err != nil {
			t.Fatal(err)
		}
		again.States = append(again.States, m.States...)
		again.Claims = append(again.Claims, m.Claims...)
	}
	if !reflect.DeepEqual(again, want) {
		t.Error("the pieces are not the whole")
	}
	// 4,000 addresses that arrive at once are few packets, whoever takes them.
	if n := len(sample(4000).Split()); n > 150 {
		t.Errorf("4,000 claims take %d packets", n)
	}
	if n := len(sample(5000).Marshal()); n > 100_000 {
		t.Errorf("5,000 claims take %d bytes", n)
	}
}

func TestUnmarshalBounds(t *testing.T) {
	claim := sample(1).Claims[0]
	for name, b := range map[string][]byte{
		"empty":             nil,
		"too large":         append([]byte{wireVersion}, make([]byte, maxMessage)...),
		"many strings":      {wireVersion, 0xff, 0xff, 0xff, 0xff, 0x0f, 0},
		"long name":         Message{States: []NodeState{{Node: strings.Repeat("n", maxText+1)}}}.Marshal(),
		"last version":      Message{States: []NodeState{{Node: "n", Version: maxCount + 1}}}.Marshal(),
		"last term":         Message{Claims: []Claim{{Address: claim.Address, Term: maxCount + 1, Node: "n", Cause: CauseNew}}}.Marshal(),
		"no term":           Message{Claims: []Claim{{Address: claim.Address, Node: "n", Cause: CauseNew}}}.Marshal(),
		"nobody":            Message{Claims: []Claim{{Address: claim.Address, Term: 1, Cause: CauseNew}}}.Marshal(),
		"something follows": append(sample(1).Marshal(), 0),
	} {
		if m, err := Unmarshal(b); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
	whole := sample(3).Marshal()
	for n := range whole {
		if _, err := Unmarshal(whole[:n]); err == nil {
			t.Errorf("%d of %d bytes decode", n, len(whole))
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(sample(3).Marshal())
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Unmarshal(b)
		if err != nil {
			return
		}
		// What is kept has been sent: a small packet does not make much of it.
		size := 5*len(m.States) + 10*len(m.Claims)
		for _, s := range m.States {
			size += 8 * len(s.Interfaces)
			for _, i := range s.Interfaces {
				size += 6 * len(i.Prefixes)
			}
		}
		if size > len(b) {
			t.Errorf("%d bytes became %+v", len(b), m)
		}
		for _, piece := range m.Split() {
			if _, err := Unmarshal(piece); err != nil {
				t.Errorf("a piece of %+v: %v", m, err)
			}
		}
		again, err := Unmarshal(m.Marshal())
		if err != nil || !bytes.Equal(again.Marshal(), m.Marshal()) {
			t.Errorf("%+v: %v", m, err)
		}
	})
}
