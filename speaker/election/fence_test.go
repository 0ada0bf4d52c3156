package election

import (
	"testing"
	"time"
)

// until ticks an Election until a time.
func until(e *Election, now *time.Duration, end time.Duration) {
	for ; *now < end; *now += 50 * time.Millisecond {
		e.Step(*now, Tick{})
	}
}

// owner is the node of a name that knows nobody, and answers for addresses.
func owner(node string, mac MAC, addresses int) *Election {
	e := New(Config{Node: node}, 0)
	e.Step(0, SetNode{Name: node})
	e.Step(0, SetInterfaces{[]Interface{{Name: "eth0", MAC: mac, Prefixes: everyPrefix}}})
	v := &Advertisement{Nodes: map[string]int{node: 0}}
	for i := range addresses {
		e.Step(0, SetAddress{Address{IP: nth(i), Advertisements: []*Advertisement{v}}})
	}
	e.Step(0, Join{})
	e.Ready()
	return e
}

// Two that hear each other, without gossip: of each address exactly one goes on.
func TestOneYields(t *testing.T) {
	const addresses = 50
	macs := []MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}
	a, b := owner("a", macs[0], addresses), owner("b", macs[1], addresses)
	if a.Owned() != addresses || b.Owned() != addresses {
		t.Fatalf("%d and %d answered for", a.Owned(), b.Owned())
	}
	for i := range addresses {
		a.Step(0, SawAnnouncement{IP: nth(i), Mine: macs[0], From: macs[1]})
		b.Step(0, SawAnnouncement{IP: nth(i), Mine: macs[1], From: macs[0]})
		if len(a.Answering(nth(i)))+len(b.Answering(nth(i))) != 1 {
			t.Errorf("%s is answered for on %s and %s", nth(i), a.Answering(nth(i)), b.Answering(nth(i)))
		}
	}
	if a.Owned() == 0 || b.Owned() == 0 {
		t.Error("one of them won all")
	}
}

// Gossip has its time to settle each contest, also that of an address which was
// handed over, and so answered for by two, a second ago.
func TestContestIsOfOneAnswering(t *testing.T) {
	mine, theirs := MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
	e := owner("a", mine, 20)
	e.Step(0, Receive{Message{States: []NodeState{{Node: "b", Interfaces: []Interface{{Name: "eth0", MAC: theirs, Prefixes: everyPrefix}}}}}})
	now := 10 * time.Second
	hear := func() {
		for i := range 20 {
			e.Step(now, SawAnnouncement{IP: nth(i), Mine: mine, From: theirs})
		}
	}
	hear()
	e.Step(now, SetInterfaces{})
	if e.Owned() > 0 {
		t.Fatalf("%d answered for without an interface", e.Owned())
	}
	until(e, &now, 11*time.Second)
	e.Step(now, SetInterfaces{[]Interface{{Name: "eth0", MAC: mine, Prefixes: everyPrefix}}})
	until(e, &now, 11*time.Second+500*time.Millisecond)
	if e.Owned() != 20 {
		t.Fatalf("%d answered for again", e.Owned())
	}
	hear()
	if e.Owned() != 20 {
		t.Errorf("yielded %d at the first announcement that was heard since", 20-e.Owned())
	}
}

// While speakers are missing, what was taken is announced, a few addresses at a
// time, but all in turn; and all at once to one that is heard.
func TestCallsTheMissing(t *testing.T) {
	const addresses = 20
	e := owner("a", MAC{2, 0, 0, 0, 0, 1}, addresses)
	now := 10 * time.Second
	e.Step(now, Tick{})
	if r := e.Ready(); len(r.Defend) > 0 {
		t.Errorf("announces %s though nobody is missing", r.Defend)
	}
	// What it took long before it missed anybody, nobody else has taken.
	e.Step(now, SetAbsent{1})
	until(e, &now, 11*time.Second)
	if r := e.Ready(); len(r.Defend) > 0 {
		t.Errorf("announces %s though it had them before", r.Defend)
	}
	e = owner("a", MAC{2, 0, 0, 0, 0, 1}, addresses)
	e.Step(0, SetAbsent{1})
	called := map[string]bool{}
	now = 0
	for second := range 3 {
		until(e, &now, time.Duration(second+1)*time.Second+100*time.Millisecond)
		r := e.Ready()
		if len(r.Defend) != callMost {
			t.Errorf("announces %d addresses in a second", len(r.Defend))
		}
		for _, ip := range r.Defend {
			called[ip.String()] = true
		}
	}
	if len(called) != addresses {
		t.Errorf("announced %d of %d addresses", len(called), addresses)
	}
	other := MAC{2, 0, 0, 0, 0, 2}
	e.Step(now, Receive{Message{States: []NodeState{{Node: "b", Version: 1, Interfaces: []Interface{{Name: "eth0", MAC: other}}}}}})
	e.Ready()
	e.Step(now, SawAnnouncement{IP: nth(1), Mine: MAC{2, 0, 0, 0, 0, 1}, From: other})
	if r := e.Ready(); len(r.Defend) != addresses || len(r.Resync) != 1 || r.Resync[0] != "b" {
		t.Errorf("to one that is missing: announces %d, calls %s", len(r.Defend), r.Resync)
	}
}

// Two parts of a cluster that serve their own segments, long enough for all to
// have been announced: when the segments are one again, and gossip is not, each
// address has one owner within 2 s.
func TestSegmentHealsWithoutGossip(t *testing.T) {
	var worst time.Duration
	for seed := range uint64(20) {
		c := newCluster(seed, 2+int(seed)%11)
		v := c.everyNode()
		for i := range 1 + 7*int(seed) {
			c.give(Address{IP: nth(i), Advertisements: []*Advertisement{v}})
		}
		c.runFor(5 * time.Second)
		for i, h := range c.nodes {
			h.gossip, h.lan = i%2, i%2
		}
		c.allMembership()
		c.runFor(20 * time.Second)
		if len(c.addresses) != countDoubly(c) {
			t.Errorf("seed %d: %d of %d addresses are served in both parts", seed, countDoubly(c), len(c.addresses))
		}
		for _, h := range c.nodes {
			h.lan = 0
		}
		c.disturb()
		healed := c.now
		for countDoubly(c) > 0 && c.failure == "" && c.now < healed+2*time.Second {
			c.runFor(10 * time.Millisecond)
		}
		if n := countDoubly(c); n > 0 || c.failure != "" {
			t.Errorf("seed %d: %d of %d addresses have two owners after %v %s", seed, n, len(c.addresses), c.now-healed, c.failure)
		}
		worst = max(worst, c.now-healed)
	}
	t.Logf("after %v at most", worst)
}

// countDoubly counts the addresses that have several owners.
func countDoubly(c *cluster) (n int) {
	for ip := range c.addresses {
		n += b2i(len(c.owners(ip)) > 1)
	}
	return n
}
