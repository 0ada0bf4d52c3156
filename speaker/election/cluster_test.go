package election

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// cluster runs Elections on a simulated network, membership and API, all in
// simulated time. Nothing of it is random but by its seed.
type cluster struct {
	rng   *rand.Rand
	now   time.Duration
	queue deliveries
	seq   int
	steps int

	nodes     []*host
	byName    map[string]*host
	addresses map[netip.Addr]Address
	api       map[string]reason.Reason

	loss      float64       // of gossip packets
	dup       float64       // of gossip packets
	delay     time.Duration // greatest, of gossip packets
	disturbed time.Duration // last fault or healing
	stable    bool          // long enough after the last fault
	deleted   []Address     // until healing

	moves []timedMove
	// doubles and bare are the addresses that two hosts of one segment answer
	// for, and that none answers for anywhere, since when.
	doubles, bare map[netip.Addr]time.Duration
	failure       string
	trace         func(format string, args ...any)
}

type timedMove struct {
	at time.Duration
	Move
}

// host is a node with its speaker.
type host struct {
	name    string
	mac     MAC
	e       *Election
	up      bool
	frozen  bool
	run     int // counts starts: what was sent to an earlier run is lost
	gossip  int // group that it can talk to
	lan     int // segment that it is on
	carrier bool
	rate    float64
	offset  time.Duration
	views   map[string]bool
	pending []func()
	watched time.Duration // when the last event of the API arrives
	answers map[netip.Addr]bool
}

type delivery struct {
	at  time.Duration
	seq int
	do  func()
}

type deliveries []delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(d[i].at, d[j].at), cmp.Compare(d[i].seq, d[j].seq)) < 0
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(delivery)) }
func (d *deliveries) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}

var everywhere = netip.MustParsePrefix("10.0.0.0/16")

func newCluster(seed uint64, nodes int) *cluster {
	c := &cluster{
		rng: rand.New(rand.NewPCG(seed, 1)), byName: map[string]*host{}, addresses: map[netip.Addr]Address{},
		api: map[string]reason.Reason{}, delay: 5 * time.Millisecond,
		doubles: map[netip.Addr]time.Duration{}, bare: map[netip.Addr]time.Duration{},
		trace: func(string, ...any) {},
	}
	for i := range nodes {
		h := &host{name: fmt.Sprintf("n%d", i+1), mac: MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, carrier: true}
		c.nodes = append(c.nodes, h)
		c.byName[h.name] = h
		c.api[h.name] = ""
	}
	for _, h := range c.nodes {
		c.start(h)
	}
	return c
}

func (c *cluster) random(most time.Duration) time.Duration {
	return time.Duration(c.rng.Int64N(int64(most) + 1))
}

func (c *cluster) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.queue, delivery{c.now + d, c.seq, do})
}

// run lets simulated time pass, and stops at the first violation.
func (c *cluster) runFor(d time.Duration) {
	end := c.now + d
	for c.failure == "" && len(c.queue) > 0 && c.queue[0].at <= end {
		next := heap.Pop(&c.queue).(delivery)
		c.now = next.at
		c.steps++
		next.do()
		c.checkStep()
	}
	c.now = end
}

// local is the host's own clock.
func (h *host) local(now time.Duration) time.Duration {
	return h.offset + time.Duration(float64(now)*h.rate)
}

// step gives a live speaker an event, now or when it thaws.
func (c *cluster) step(h *host, event Event) {
	run := h.run
	do := func() {
		if h.up && h.run == run {
			h.e.Step(h.local(c.now), event)
			c.perform(h)
		}
	}
	if h.frozen {
		h.pending = append(h.pending, do)
		return
	}
	do()
}

// perform does what the speaker's shell does, in its order.
func (c *cluster) perform(h *host) {
	r := h.e.Ready()
	for _, a := range r.Answer {
		c.trace("%s answers for %s", h.name, a.IP)
		if !h.answers[a.IP] {
			h.answers[a.IP] = true
			c.answersChanged(a.IP)
		}
		c.announce(h, a.IP, 3)
	}
	for _, ip := range r.Defend {
		c.trace("%s defends %s", h.name, ip)
		c.announce(h, ip, 3)
	}
	for _, p := range r.Probe {
		c.probe(h, p.IP)
	}
	for _, ip := range r.Withdraw {
		c.trace("%s stops %s", h.name, ip)
		delete(h.answers, ip)
		c.answersChanged(ip)
	}
	if !r.Send.Empty() {
		for _, piece := range r.Send.Split() {
			for _, other := range c.nodes {
				if h.views[other.name] {
					c.send(h, other, piece)
				}
			}
		}
	}
	for _, name := range r.Resync {
		c.exchange(h, c.byName[name])
		c.after(2*time.Millisecond, func() { c.step(h, Resynced{}) })
	}
	for _, m := range r.Moves {
		if m.To == h.name {
			c.moves = append(c.moves, timedMove{c.now, m})
			c.trace("%s takes %s from %q: %s", h.name, m.IP, m.From, m.Cause)
		}
	}
}

// send delivers a delta, lost, late, twice or out of order; and once more, as
// memberlist's retransmission does.
func (c *cluster) send(from, to *host, piece []byte) {
	for _, wait := range []time.Duration{0, 200 * time.Millisecond} {
		for range 1 + b2i(c.rng.Float64() < c.dup) {
			if c.rng.Float64() < c.loss {
				continue
			}
			run, sent := to.run, from.run
			c.after(wait+c.random(c.delay), func() {
				if to.run == run && from.run == sent && to.up && c.talk(from, to) {
					m, err := Unmarshal(piece)
					if err != nil {
						c.fail("a message does not decode: %v", err)
					}
					c.step(to, Receive{m})
				}
			})
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *cluster) talk(a, b *host) bool {
	return a.up && b.up && a.carrier && b.carrier && a.gossip == b.gossip
}

func (c *cluster) hear(a, b *host) bool {
	return a.up && b.up && a.carrier && b.carrier && a.lan == b.lan
}

// exchange is a push/pull over TCP: lost as a whole or not at all.
func (c *cluster) exchange(a, b *host) {
	if !c.talk(a, b) || a.frozen || b.frozen || c.rng.Float64() < c.loss {
		return
	}
	ma, mb := a.e.State(), b.e.State()
	c.step(a, Receive{mb})
	c.step(b, Receive{ma})
}

func (c *cluster) announce(h *host, ip netip.Addr, times int) {
	run := h.run
	for _, other := range c.nodes {
		if other != h && c.hear(h, other) {
			c.after(time.Millisecond+c.random(4*time.Millisecond), func() { c.heard(other, h, ip) })
		}
	}
	if times > 1 {
		c.after(1100*time.Millisecond, func() {
			if h.up && !h.frozen && h.run == run && h.answers[ip] {
				c.announce(h, ip, times-1)
			}
		})
	}
}

func (c *cluster) heard(by, from *host, ip netip.Addr) {
	if c.hear(by, from) {
		c.step(by, SawAnnouncement{IP: ip, Mine: by.mac, From: from.mac})
	}
}

func (c *cluster) probe(h *host, ip netip.Addr) {
	for _, other := range c.nodes {
		if other != h && c.hear(h, other) {
			c.after(time.Millisecond+c.random(4*time.Millisecond), func() {
				if other.up && !other.frozen && other.answers[ip] {
					c.heard(h, other, ip)
				}
			})
		}
	}
}

// start boots the speaker of a host: it gets the API's objects, finds the
// others, and takes part.
func (c *cluster) start(h *host) {
	h.run++
	h.up, h.frozen = true, false
	h.pending = nil
	h.rate = 0.99 + 0.02*c.rng.Float64()
	h.offset = c.random(time.Hour)
	h.views = map[string]bool{}
	h.answers = map[netip.Addr]bool{}
	h.e = New(Config{Node: h.name, Run: uint64(h.run * 1000)}, h.local(c.now))
	for _, name := range slices.Sorted(maps.Keys(c.api)) {
		c.step(h, SetNode{name, c.api[name]})
	}
	for _, ip := range c.sorted() {
		c.step(h, SetAddress{c.addresses[ip]})
	}
	c.sense(h)
	c.membership(h)
	run := h.run
	c.after(time.Second, func() {
		if h.run == run {
			others := 0
			for _, o := range c.nodes {
				others += b2i(o.up && o != h)
			}
			c.step(h, Join{others})
		}
	})
	var tick, pull func()
	tick = func() {
		if h.run == run && h.up {
			if !h.frozen {
				c.step(h, Tick{})
			}
			c.after(50*time.Millisecond, tick)
		}
	}
	pull = func() {
		if h.run == run && h.up {
			if !h.frozen {
				c.exchange(h, c.nodes[c.rng.IntN(len(c.nodes))])
			}
			c.after(5*time.Second, pull)
		}
	}
	c.after(c.random(50*time.Millisecond), tick)
	c.after(c.random(5*time.Second), pull)
	c.disturb()
}

func (c *cluster) stop(h *host) {
	h.run++
	h.up, h.frozen = false, false
	h.pending = nil
	for _, ip := range slices.SortedFunc(maps.Keys(h.answers), netip.Addr.Compare) {
		delete(h.answers, ip)
		c.answersChanged(ip)
	}
	c.membership(h)
	c.disturb()
}

func (c *cluster) freeze(h *host) {
	h.frozen = true
	c.membership(h)
	c.disturb()
}

func (c *cluster) thaw(h *host) {
	h.frozen = false
	for _, do := range h.pending {
		do()
	}
	h.pending = nil
	c.step(h, Tick{})
	c.membership(h)
	c.disturb()
}

// drain hands everything over, for at most five seconds, and then stops.
func (c *cluster) drain(h *host) {
	run := h.run
	deadline := c.now + 5*time.Second
	c.step(h, Drain{})
	var leave func()
	leave = func() {
		if h.run != run {
			return
		}
		if !h.frozen && h.e.Drained() || c.now > deadline {
			stable := c.stable
			c.stop(h)
			c.stable = stable
			for _, o := range c.nodes {
				if o.up && o.views[h.name] {
					delete(o.views, h.name)
					c.step(o, MemberDown{h.name})
				}
			}
			return
		}
		c.after(50*time.Millisecond, leave)
	}
	leave()
}

// sense tells the speaker of its own interfaces.
func (c *cluster) sense(h *host) {
	var on []Interface
	if h.carrier {
		on = []Interface{{Name: "eth0", MAC: h.mac, Prefixes: []netip.Prefix{everywhere}}}
	}
	c.step(h, SetInterfaces{on})
}

// membership lets the views of and on a host follow what is so, after the time
// that a failure detector takes.
func (c *cluster) membership(h *host) {
	for _, o := range c.nodes {
		if o != h {
			c.look(h, o)
			c.look(o, h)
		}
	}
}

func (c *cluster) look(by, at *host) {
	c.after(300*time.Millisecond+c.random(400*time.Millisecond), func() {
		if !by.up || by.frozen {
			return
		}
		live := c.talk(by, at) && !at.frozen
		switch {
		case live == by.views[at.name]:
		case live:
			by.views[at.name] = true
			c.step(by, MemberUp{at.name})
			c.exchangeSurely(by, at)
		default:
			delete(by.views, at.name)
			c.step(by, MemberDown{at.name})
		}
	})
}

func (c *cluster) exchangeSurely(a, b *host) {
	loss := c.loss
	c.loss = 0
	c.exchange(a, b)
	c.loss = loss
}

func (c *cluster) allMembership() {
	for _, h := range c.nodes {
		for _, o := range c.nodes {
			if o != h {
				c.look(h, o)
			}
		}
	}
	c.disturb()
}

// disturb notes that the network or a process changed.
func (c *cluster) disturb() {
	c.disturbed = c.now
	c.stable = false
	for _, ip := range c.sorted() {
		c.answersChanged(ip)
	}
}

func (c *cluster) sorted() []netip.Addr {
	return slices.SortedFunc(maps.Keys(c.addresses), netip.Addr.Compare)
}

// tellAll lets an event of the API reach every speaker, each in its own time,
// but in order.
func (c *cluster) tellAll(event Event) {
	for _, h := range c.nodes {
		run := h.run
		h.watched = max(h.watched, c.now+c.random(200*time.Millisecond))
		c.after(h.watched-c.now, func() {
			if h.run == run {
				c.step(h, event)
			}
		})
	}
}

func (c *cluster) setNode(name string, r reason.Reason) {
	c.api[name] = r
	c.tellAll(SetNode{name, r})
}

func (c *cluster) setAddress(a Address) {
	c.addresses[a.IP] = a
	c.tellAll(SetAddress{a})
}

func (c *cluster) deleteAddress(ip netip.Addr) {
	delete(c.addresses, ip)
	delete(c.bare, ip)
	c.tellAll(DeleteAddress{ip})
}

// everyNode is an advertisement without selectors.
func (c *cluster) everyNode() *Advertisement {
	v := &Advertisement{Nodes: map[string]int{}}
	for _, h := range c.nodes {
		v.Nodes[h.name] = 0
	}
	return v
}

// owners lists who answers for an address, of the hosts that run.
func (c *cluster) owners(ip netip.Addr) []*host {
	var out []*host
	for _, h := range c.nodes {
		if h.up && !h.frozen && h.answers[ip] {
			out = append(out, h)
		}
	}
	return out
}

// answersChanged keeps doubles and bare.
func (c *cluster) answersChanged(ip netip.Addr) {
	owners := c.owners(ip)
	double := false
	for i, a := range owners {
		double = double || slices.ContainsFunc(owners[i+1:], func(b *host) bool { return c.hear(a, b) })
	}
	if _, was := c.doubles[ip]; double && !was {
		c.doubles[ip] = c.now
	} else if !double {
		delete(c.doubles, ip)
	}
	_, wanted := c.addresses[ip]
	if _, was := c.bare[ip]; wanted && len(owners) == 0 && !was {
		c.bare[ip] = c.now
	} else if len(owners) > 0 || !wanted {
		delete(c.bare, ip)
	}
}

func (c *cluster) fail(format string, args ...any) {
	if c.failure == "" {
		c.failure = fmt.Sprintf("at %s, step %d: ", c.now, c.steps) + fmt.Sprintf(format, args...)
	}
}
