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
