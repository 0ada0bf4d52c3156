package infra

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "ns", Name: s} }

func TestPortsAreAdoptedAndGivenOnce(t *testing.T) {
	p := NewPorts(Range{100, 103})
	for range 2 {
		if !p.Adopt(name("f"), name("a"), 80, 101) {
			t.Error("what a Service records is not adopted")
		}
	}
	if p.Adopt(name("f"), name("b"), 80, 101) {
		t.Error("a port is adopted for two")
	}
	if p.Adopt(name("f"), name("c"), 80, 99) {
		t.Error("a port outside of the range is adopted")
	}
	if n, ok := p.Give(name("f"), name("a"), 80); n != 101 || !ok {
		t.Errorf("the adopted port is now %d, %v", n, ok)
	}
	if n, ok := p.Give(name("other"), name("x"), 80); n != 100 || !ok {
		t.Errorf("another fleet starts at %d, %v", n, ok)
	}
	// The port that was given back comes last.
	b, _ := p.Give(name("f"), name("b"), 80)
	p.Keep(func(_, gateway types.NamespacedName, _ int32) bool { return gateway != name("b") })
	c, _ := p.Give(name("f"), name("c"), 80)
	d, _ := p.Give(name("f"), name("d"), 80)
	e, _ := p.Give(name("f"), name("e"), 80)
	if b != 102 || c != 103 || d != 100 || e != 102 {
		t.Errorf("given %d, %d, %d, %d", b, c, d, e)
	}
	if _, ok := p.Give(name("f"), name("g"), 80); ok {
		t.Error("a port is given although none is left")
	}
}

// TestPortsAgainstOracle: whatever is given and given back, nobody shares and
// nobody's port changes.
func TestPortsAgainstOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	p := NewPorts(Range{1, 20})
	held := map[string]int32{}
	for range 5000 {
		g := fmt.Sprint(rnd.IntN(25))
		if rnd.IntN(3) == 0 {
			delete(held, g)
			p.Keep(func(_, gateway types.NamespacedName, _ int32) bool { return gateway.Name != g })
			continue
		}
		n, ok := p.Give(name("f"), name(g), 80)
		was, had := held[g]
		switch {
		case !ok && (had || len(held) < 20):
			t.Fatalf("%s gets none, %d are held", g, len(held))
		case ok && had && was != n:
			t.Fatalf("%s had %d and has %d", g, was, n)
		case ok && !had:
			for other, m := range held {
				if m == n {
					t.Fatalf("%s and %s both have %d", g, other, n)
				}
			}
			held[g] = n
		}
	}
}
