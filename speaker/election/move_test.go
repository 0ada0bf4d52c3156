package election

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// An offer that is not taken is taken back: whom it was made to may not know of
// the address yet, and would take it long after there was a reason to.
func TestOfferIsTakenBack(t *testing.T) {
	e := large(2, 0)
	e.Step(0, SetAddress{Address{IP: nth(1), Advertisements: []*Advertisement{{Nodes: map[string]int{"n0": 0}}}}})
	now := time.Duration(0)
	until(e, &now, 6*time.Second)
	if len(e.Answering(nth(1))) == 0 {
		t.Fatal("it does not answer")
	}
	e.Step(now, SetAddress{Address{IP: nth(1), Advertisements: []*Advertisement{{Nodes: map[string]int{"n0": 0, "n1": 5}, Failback: true}}}})
	e.Step(now, SetNode{"n1", "NodeNotReady"})
	e.Step(now, SetNode{"n1", ""}) // it is back, and preferred
	claim := func() Claim { return e.addresses[nth(1)].claim }
	for end := now + 10*time.Second; claim().Phase != Offered && now < end; {
		until(e, &now, now+50*time.Millisecond)
	}
	offered := now
	if claim().Phase != Offered || claim().To != "n1" {
		t.Fatalf("it is not offered: %+v", claim())
	}
	until(e, &now, offered+2*time.Second)
	if claim().Phase != Offered {
		t.Errorf("taken back too soon: %+v", claim())
	}
	until(e, &now, offered+4*time.Second)
	if claim().Phase != Held || claim().Node != "n0" || len(e.Answering(nth(1))) == 0 {
		t.Errorf("not taken back: %+v", claim())
	}
}

// Candidates for an orphan wait for those before them, each a stagger more.
func TestCandidatesTakeTurns(t *testing.T) {
	turns := map[int]bool{}
	for i := range 8 {
		e := large(9, 8)
		dead := fmt.Sprintf("n%d", i+1)
		e.Step(time.Second, MemberDown{dead})
		for a := range e.held(dead) {
			turn := int((a.due - a.orphaned) / (500 * time.Millisecond))
			turns[turn] = true
			e.unplan(a)
			if want := slices.IndexFunc(e.rank(a), func(c candidate) bool { return c.node == "n0" }); turn != want {
				t.Errorf("%s: this node is candidate %d, and waits %d times", a.IP, want, turn)
			}
		}
	}
	if len(turns) < 3 {
		t.Errorf("turns %v", turns)
	}
}
