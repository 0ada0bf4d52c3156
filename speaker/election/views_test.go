package election

import (
	"fmt"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Two nodes of which each was told that the other is not ready, and nothing
// since, settle: the next taking without news is ever later.
func TestNodesThatDiffer(t *testing.T) {
	c := newCluster(1, 2)
	c.setAddress(Address{IP: nth(1), Advertisements: []*Advertisement{c.everyNode()}})
	c.runFor(5 * time.Second)
	clear(c.movesOf)
	c.nodes[0].away = true // what follows is of its own making
	for i, h := range c.nodes {
		c.step(h, SetNode{c.nodes[1-i].name, reason.NodeNotReady})
	}
	c.runFor(time.Minute)
	if n := c.movesOf[nth(1)]; c.failure != "" || n < 2 || n > mostMoves {
		t.Errorf("%d moves in a minute %s", n, c.failure)
	}
}

// A claim of a run that ended moves nothing, however high its term is: its
// node has forgotten it, and would not answer.
func TestClaimOfEarlierRun(t *testing.T) {
	e := large(3, 0)
	e.Step(0, SetAddress{Address{IP: nth(1), Advertisements: []*Advertisement{everyOf(3)}}})
	for now := time.Duration(0); now < 5*time.Second; now += 50 * time.Millisecond {
		e.Step(now, Tick{})
	}
	now := 5 * time.Second
	if len(e.Answering(nth(1))) == 0 {
		t.Fatal("nobody claims, and this node does not either")
	}
	e.Ready()
	on := []Interface{{Name: "eth0", Prefixes: everyPrefix}}
	e.Step(now, Receive{Message{States: []NodeState{{Node: "n1", Run: 8, Version: 1, Interfaces: on}}}})
	late := Claim{Address: nth(1), Term: 50, Node: "n1", Run: 7, Phase: Held, Weight: 3, Cause: CauseDied}
	e.Step(now, Receive{Message{Claims: []Claim{late}}})
	r := e.Ready()
	if len(e.Answering(nth(1))) == 0 || len(r.Withdraw) > 0 {
		t.Errorf("it stopped: %+v", r)
	}
	if len(r.Send.Claims) != 1 || r.Send.Claims[0].Term != 51 || r.Send.Claims[0].Node != "n0" {
		t.Errorf("it told %+v", r.Send.Claims)
	}
	// One of the present run stands.
	late.Term, late.Run = 60, 8
	e.Step(now, Receive{Message{Claims: []Claim{late}}})
	if len(e.Answering(nth(1))) > 0 {
		t.Error("it did not yield to a claim that stands")
	}
}

// A state that is more than a packet does not go along with every claim.
func TestLargeState(t *testing.T) {
	e := large(3, 0)
	var on []Interface
	for i := range 100 {
		on = append(on, Interface{Name: fmt.Sprintf("vlan%d", i), Prefixes: everyPrefix})
	}
	e.Step(batch, SetInterfaces{on})
	if r := e.Ready().Send; len(r.States) != 1 || len(r.States[0].Interfaces) != 100 {
		t.Errorf("told %+v", r.States)
	}
	e.Step(time.Second, SetAddress{Address{IP: nth(1), Advertisements: []*Advertisement{{Nodes: map[string]int{"n0": 0}}}}})
	e.Step(10*time.Second, Tick{})
	e.Step(10*time.Second+time.Second/2, Tick{})
	e.Step(12*time.Second, Tick{})
	if r := e.Ready().Send; len(r.States) != 0 || len(r.Claims) != 1 {
		t.Errorf("told %d states and %+v", len(r.States), r.Claims)
	}
}

// A node whose clock went back learns of a later run of its own, and goes
// beyond it.
func TestRunGoesOn(t *testing.T) {
	e := large(2, 0)
	e.Step(batch, Receive{Message{States: []NodeState{{Node: "n0", Run: 700, Version: 3}}}})
	if r := e.Ready().Send; len(r.States) != 1 || r.States[0].Run != 701 {
		t.Errorf("told %+v", r.States)
	}
}
