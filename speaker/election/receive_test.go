package election

import (
	"slices"
	"testing"
	"time"
)

// A claim of a run that ended comes late, and displaces that of one who answers:
// that one is told at once, and takes the address back.
func TestLateClaim(t *testing.T) {
	now := time.Second
	e := New(Config{Node: "a"}, 0)
	e.Step(now, SetNode{Name: "a"})
	e.Step(now, SetAddress{Address{IP: nth(0)}})
	e.Step(now, MemberUp{"b"})
	e.Step(now, MemberUp{"c"})
	e.Step(now, Join{})
	states := []NodeState{{Node: "b", Run: 7}, {Node: "c", Run: 7}}
	held := Claim{Address: nth(0), Term: 1, Node: "b", Run: 7, Phase: Held, Weight: 3, Cause: CauseNew}
	e.Step(now, Receive{Message{States: states, Claims: []Claim{held}}})
	e.Ready()

	late := Claim{Address: nth(0), Term: 2, Node: "c", Run: 6, Phase: Held, Weight: 3, Cause: CauseDied}
	e.Step(now, Receive{Message{Claims: []Claim{late}}})
	if r := e.Ready(); !slices.Contains(r.Resync, "b") {
		t.Errorf("b, who answers, is not told of a claim that is void: %s", r.Resync)
	}

	now += time.Second
	late.Term, late.Run = 3, 7
	e.Step(now, Receive{Message{Claims: []Claim{late}}})
	if r := e.Ready(); len(r.Resync) > 0 {
		t.Errorf("%s told of a claim that stands", r.Resync)
	}
}

// A node meets one that took its address while they missed each other: who was
// cut off yields.
func TestWhoWasCutOffYields(t *testing.T) {
	mac := MAC{2, 0, 0, 0, 0, 1}
	for name, tt := range map[string]struct {
		others []string // beside this node
		missed []string // by this node
		weight int      // of the other's part
		gone   bool     // this node had no interface meanwhile
		keeps  bool
	}{
		"the other, of two":                       {[]string{"b"}, []string{"b"}, 1, false, true},
		"this node, of two, by its own interface": {[]string{"b"}, []string{"b"}, 1, true, false},
		"the other, of three":                     {[]string{"b", "c"}, []string{"b"}, 1, false, true},
		"this node, of three":                     {[]string{"b", "c"}, []string{"b", "c"}, 2, false, false},
		"this node, by its own interface, back before it missed both of three": {[]string{"b", "c"}, []string{"b"}, 2, true, false},
		"this node, of four, by its own interface":                             {[]string{"b", "c", "d"}, []string{"b", "c"}, 2, true, false},
		"both, of four": {[]string{"b", "c", "d"}, []string{"b", "c"}, 2, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := 10 * time.Second
			e := New(Config{Node: "a", Run: 1}, now)
			e.Step(now, SetNode{Name: "a"})
			v := &Advertisement{Nodes: map[string]int{"a": 0}}
			e.Step(now, SetAddress{Address{IP: nth(0), Advertisements: []*Advertisement{v}}})
			up := SetInterfaces{[]Interface{{Name: "eth0", MAC: mac, Prefixes: everyPrefix}}}
			e.Step(now, up)
			var states []NodeState
			for _, o := range tt.others {
				v.Nodes[o] = 0
				e.Step(now, SetNode{Name: o})
				e.Step(now, MemberUp{o})
				states = append(states, NodeState{Node: o, Run: 1, Interfaces: []Interface{{Name: "eth0", Prefixes: everyPrefix}}})
			}
			e.Step(now, Receive{Message{States: states}})
			e.Step(now, Join{len(tt.others)})
			e.Step(now, Receive{Message{Claims: []Claim{{
				Address: nth(0), Term: 8, Node: "a", Run: 1, Phase: Held, Weight: 1 + len(tt.others), Cause: CauseNew,
			}}}})
			until(e, &now, 20*time.Second)
			if e.Owned() != 1 {
				t.Fatal("it does not answer before the cut")
			}
			if tt.gone {
				e.Step(now, SetInterfaces{})
			}
			until(e, &now, 21*time.Second)
			for _, o := range tt.missed {
				e.Step(now, MemberDown{o})
			}
			until(e, &now, 22*time.Second)
			e.Step(now, up)
			until(e, &now, 22*time.Second+100*time.Millisecond)
			for _, o := range tt.missed {
				e.Step(now, MemberUp{o})
			}
			e.Step(now, Receive{Message{Claims: []Claim{{
				Address: nth(0), Term: 9, Node: "b", Run: 1, Phase: Held, Weight: tt.weight, Cause: CauseDied,
			}}}})
			until(e, &now, 23*time.Second)
			if keeps := e.Owned() == 1; keeps != tt.keeps {
				t.Errorf("it keeps the address: %v, want %v", keeps, tt.keeps)
			}
		})
	}
}

// A node whose own interfaces were away does not know whether those that it
// missed since are: it asks the segment before it takes what they held.
func TestOwnCutIsNoDeathOfOthers(t *testing.T) {
	for name, tt := range map[string]struct {
		missed time.Duration // after this node's interface went, which was back after a second
		there  bool          // the holder still answers
		asks   bool
	}{
		"missed while this node was cut off, and there":            {500 * time.Millisecond, true, true},
		"missed while this node was cut off, and gone":             {500 * time.Millisecond, false, true},
		"missed when it was just back, and there":                  {1500 * time.Millisecond, true, true},
		"missed when it had long been back: it is the other's end": {2500 * time.Millisecond, false, false},
	} {
		now := 10 * time.Second
		e := New(Config{Node: "a", Run: 1}, now)
		e.Step(now, SetNode{Name: "a"})
		e.Step(now, SetAddress{Address{IP: nth(0), Advertisements: []*Advertisement{{Nodes: map[string]int{"a": 0, "b": 0}}}}})
		mine, theirs := MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
		up := SetInterfaces{[]Interface{{Name: "eth0", MAC: mine, Prefixes: everyPrefix}}}
		e.Step(now, up)
		var states []NodeState
		for i, o := range []string{"b", "c"} {
			e.Step(now, SetNode{Name: o})
			e.Step(now, MemberUp{o})
			states = append(states, NodeState{Node: o, Run: 1, Interfaces: []Interface{{Name: "eth0", MAC: MAC{2, 0, 0, 0, 0, byte(2 + i)}, Prefixes: everyPrefix}}})
		}
		e.Step(now, Receive{Message{States: states, Claims: []Claim{{
			Address: nth(0), Term: 8, Node: "b", Run: 1, Phase: Held, Weight: 3, Cause: CauseNew,
		}}}})
		e.Step(now, Join{2})
		until(e, &now, 20*time.Second)
		e.Step(now, SetInterfaces{})
		back := false
		for end := now + tt.missed; now < end; now += 50 * time.Millisecond {
			if !back && now >= 21*time.Second {
				e.Step(now, up)
				back = true
			}
			e.Step(now, Tick{})
		}
		e.Ready()
		e.Step(now, MemberDown{"b"})
		until(e, &now, max(now, 21*time.Second))
		e.Step(now, up)
		until(e, &now, now+100*time.Millisecond)
		if asks := len(e.Ready().Probe) > 0; asks != tt.asks || asks == (e.Owned() == 1) {
			t.Errorf("%s: it asks %v, and answers for %d addresses", name, asks, e.Owned())
		}
		if tt.there {
			e.Step(now, SawAnnouncement{IP: nth(0), Mine: mine, From: theirs})
		}
		until(e, &now, now+time.Second)
		if takes := e.Owned() == 1; takes == tt.there {
			t.Errorf("%s: it took the address: %v", name, takes)
		}
	}
}
