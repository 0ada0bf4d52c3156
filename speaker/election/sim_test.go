package election

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the simulation of this seed alone")
	stepsFlag = flag.Int("steps", 400_000, "steps of the simulation, over all seeds")
	traceFlag = flag.Bool("narrate", false, "print what the speakers of the simulation do")
)

// properties says where each property of the package is checked. "partly": what
// the rest needs real sockets and kernels for, and is checked end to end.
var properties = []struct{ name, where, extent string }{
	{"1 one owner per segment", "checkQuiet", "fully"},
	{"2 two owners do not persist", "checkStep", "fully"},
	{"3 sticky", "checkSticky", "fully"},
	{"4 bounded load", "checkLoad", "fully"},
	{"5 make before break", "checkStep, bare addresses while stable", "partly: that the client's neighbour table turned in time"},
	{"6 shared addresses together", "by construction: claims are per address", "partly: that Services of one address become one Address"},
	{"7 every node says why", "checkReasons", "fully"},
}

const (
	// settleTime is what property 1 allows after membership is quiet: the
	// detector of the simulation takes 700 ms, three candidates may be
	// staggered, and a lost delta waits for a push/pull.
	settleTime = 8 * time.Second
	// resolveTime is what property 2 allows, by the fastest and slowest clock,
	// and after healing the time in which members find each other.
	resolveTime = 2*time.Second + 100*time.Millisecond
)

// TestSimulation runs clusters under random faults. A violation prints the
// seed, and the command that repeats it alone.
func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(1<<62)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	done := 0
	for seed := first; seed <= last && done < *stepsFlag; seed++ {
		steps, failure := simulate(seed, *stepsFlag-done, t)
		done += steps
		if failure != "" {
			t.Fatalf("%s\nrepeat with: go test ./speaker/election -run TestSimulation -seed=%d -steps=%d -narrate", failure, seed, steps)
		}
	}
	for _, p := range properties {
		t.Logf("property %s: checked %s, by %s", p.name, p.extent, p.where)
	}
	t.Logf("%d steps", done)
}

func simulate(seed uint64, most int, t *testing.T) (int, string) {
	sizes := []struct{ nodes, addresses int }{{3, 6}, {2, 3}, {5, 20}, {3, 50}, {8, 30}, {4, 1}, {12, 40}}
	size := sizes[seed%uint64(len(sizes))]
	if seed%50 == 0 {
		size = struct{ nodes, addresses int }{60, 300}
	}
	c := newCluster(seed, size.nodes)
	if *traceFlag {
		c.trace = func(format string, args ...any) { t.Logf("%s "+format, append([]any{c.now}, args...)...) }
	}
	c.loss, c.dup, c.delay = 0.1*c.rng.Float64(), 0.1*c.rng.Float64(), c.random(100*time.Millisecond)
	every := c.everyNode()
	for i := range size.addresses {
		c.setAddress(Address{IP: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Advertisements: []*Advertisement{every}})
	}
	for range 6 {
		c.quiet()
		if c.steps > most || c.failure != "" {
			break
		}
		if c.rng.IntN(2) == 0 {
			c.planned()
		}
		c.faults()
		c.heal()
		c.quiet()
		c.restartAll()
	}
	return c.steps, c.failure
}

// faults lets a few of everything happen.
func (c *cluster) faults() {
	for range 1 + c.rng.IntN(6) {
		h := c.nodes[c.rng.IntN(len(c.nodes))]
		switch kind := c.rng.IntN(10); {
		case kind == 0 && h.up:
			c.trace("fault: %s crashes", h.name)
			c.stop(h)
		case kind == 1 && !h.up:
			c.trace("fault: %s restarts", h.name)
			c.start(h)
		case kind == 2 && h.up:
			c.trace("fault: %s restarts at once", h.name)
			c.stop(h)
			c.start(h)
		case kind == 3 && h.up && !h.frozen:
			c.trace("fault: %s freezes", h.name)
			c.freeze(h)
		case kind == 4 && h.frozen:
			c.trace("fault: %s thaws", h.name)
			c.thaw(h)
		case kind == 5:
			c.trace("fault: gossip of %s cut", h.name)
			h.gossip = 10 + c.rng.IntN(2)
			c.allMembership()
		case kind == 6:
			for _, o := range c.nodes {
				o.lan = c.rng.IntN(2)
				o.gossip = o.lan
				c.trace("fault: %s is in part %d", o.name, o.lan)
			}
			c.allMembership()
		case kind == 7:
			c.trace("fault: link of %s %v", h.name, !h.carrier)
			h.carrier = !h.carrier
			if h.up {
				c.sense(h)
			}
			c.membership(h)
			c.disturb()
		case kind == 8:
			r := reason.NodeExcluded
			if c.api[h.name] != "" {
				r = ""
			}
			c.trace("fault: the API says of %s %q", h.name, r)
			c.setNode(h.name, r)
			c.disturb()
		case kind == 9 && len(c.addresses) > 0:
			ips := c.sorted()
			gone := c.addresses[ips[c.rng.IntN(len(ips))]]
			c.trace("fault: %s is deleted", gone.IP)
			c.deleteAddress(gone.IP)
			c.deleted = append(c.deleted, gone)
		}
		c.runFor(c.random(4 * time.Second))
	}
}

// heal ends all faults, but what crashed stays down.
func (c *cluster) heal() {
	c.trace("heal")
	for _, h := range c.nodes {
		h.gossip, h.lan = 0, 0
		if !h.carrier {
			h.carrier = true
			if h.up {
				c.sense(h)
			}
		}
		if h.frozen {
			c.thaw(h)
		}
		if c.api[h.name] != "" {
			c.setNode(h.name, "")
		}
	}
	for _, a := range c.deleted {
		c.setAddress(a)
	}
	c.deleted = nil
	if !slices.ContainsFunc(c.nodes, func(h *host) bool { return h.up }) {
		c.start(c.nodes[0])
	}
	c.allMembership()
}

// quiet waits until the cluster settled, and then looks on for a while.
func (c *cluster) quiet() {
	c.runFor(settleTime)
	c.stable = true
	c.checkQuiet()
	before, moves := c.ownership(), len(c.moves)
	c.runFor(20 * time.Second)
	c.checkSticky(before, moves)
	c.checkLoad()
	c.checkReasons()
}

// restartAll brings back what crashed: nothing moves by force.
func (c *cluster) restartAll() {
	before, moves := c.ownership(), len(c.moves)
	for _, h := range c.nodes {
		if !h.up {
			c.trace("%s returns", h.name)
			c.start(h)
			c.runFor(c.random(time.Second))
		}
	}
	c.runFor(settleTime)
	c.checkSticky(before, moves)
}

// planned drains a node of a cluster that is at rest: no address is without an
// owner for a moment.
func (c *cluster) planned() {
	h := c.nodes[c.rng.IntN(len(c.nodes))]
	up := 0
	for _, o := range c.nodes {
		up += b2i(o.up)
	}
	if !h.up || up < 2 {
		return
	}
	c.trace("%s drains", h.name)
	c.drain(h)
	c.runFor(6 * time.Second)
	if h.up {
		c.fail("%s did not stop", h.name)
	}
}

func (c *cluster) ownership() map[netip.Addr]string {
	m := map[netip.Addr]string{}
	for ip := range c.addresses {
		if owners := c.owners(ip); len(owners) == 1 {
			m[ip] = owners[0].name
		}
	}
	return m
}

// checkStep is what must hold after every step.
func (c *cluster) checkStep() {
	for ip, since := range c.doubles {
		if c.now-max(since, c.disturbed) > resolveTime {
			c.fail("property 2: %s answer for %s since %s", names(c.owners(ip)), ip, since)
		}
	}
	if c.stable {
		for ip := range c.bare {
			c.fail("property 5: nobody answers for %s", ip)
		}
	}
}

func (c *cluster) checkQuiet() {
	for _, ip := range c.sorted() {
		owners := c.owners(ip)
		if len(owners) != 1 {
			c.fail("property 1: %d owners of %s: %s", len(owners), ip, names(owners))
			continue
		}
	}
}

// checkSticky compares with ownership before: only load may have moved it.
func (c *cluster) checkSticky(before map[netip.Addr]string, from int) {
	allowed := map[netip.Addr]bool{}
	last := time.Duration(-1 << 62)
	for _, m := range c.moves[min(from, len(c.moves)):] {
		if m.Cause == CauseRebalance {
			allowed[m.IP] = true
			if c.now-last > 0 && m.at-last < 9500*time.Millisecond {
				c.fail("property 3: moves for the sake of load at %s and %s", last, m.at)
			}
			last = m.at
		}
	}
	now := c.ownership()
	for _, ip := range c.sorted() {
		if was, ok := before[ip]; ok && now[ip] != was && !allowed[ip] {
			c.fail("property 3: %s moved from %s to %q", ip, was, now[ip])
		}
	}
}

// checkLoad lets the rebalancing finish, and looks at the bound.
func (c *cluster) checkLoad() {
	up := 0
	for _, h := range c.nodes {
		up += b2i(h.up)
	}
	bound := Bound(len(c.addresses), up)
	excess := func() int {
		n := 0
		for _, h := range c.nodes {
			if h.up {
				n += max(0, len(h.answers)-bound)
			}
		}
		return n
	}
	for before := excess(); before > 0 && c.failure == ""; {
		c.runFor(22 * time.Second) // an offer may be lost, and wait for a push/pull
		after := excess()
		if after >= before {
			c.fail("property 4: %d addresses too many on some nodes, bound %d, and nothing moves", after, bound)
		}
		before = after
	}
}

func (c *cluster) checkReasons() {
	for _, h := range c.nodes {
		if !h.up {
			continue
		}
		for _, ip := range c.sorted() {
			v, _ := h.e.Explain(ip)
			if owners := c.owners(ip); len(owners) == 1 && v.Owner != owners[0].name {
				c.fail("property 7: %s answers for %s, %s believes %q", owners[0].name, ip, h.name, v.Owner)
			}
			if len(v.Nodes) != len(c.nodes)-1 || v.Reason != reason.Announced {
				c.fail("property 7: %s says of %s: %+v", h.name, ip, v)
			}
			for _, n := range v.Nodes {
				want := reason.NotOwner
				if !c.byName[n.Node].up {
					want = reason.SpeakerDown
				}
				if n.Reason != want {
					c.fail("property 7: %s says of %s on %s: %s, want %s", h.name, ip, n.Node, n.Reason, want)
				}
			}
		}
	}
}

func names(hosts []*host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.name)
	}
	return fmt.Sprint(out)
}

// TestDeterminism runs one seed twice.
func TestDeterminism(t *testing.T) {
	run := func() (map[netip.Addr]string, []timedMove) {
		c := newCluster(7, 4)
		for i := range 20 {
			c.setAddress(Address{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Advertisements: []*Advertisement{c.everyNode()}})
		}
		c.runFor(5 * time.Second)
		c.faults()
		c.heal()
		c.runFor(10 * time.Second)
		return c.ownership(), c.moves
	}
	o1, m1 := run()
	o2, m2 := run()
	if !maps.Equal(o1, o2) || !slices.Equal(m1, m2) {
		t.Fatal("the same seed gave another course")
	}
}
