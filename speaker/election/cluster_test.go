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
	// sharing are the endpoints' nodes of each Service of a shared address.
	sharing map[netip.Addr][]map[string]bool

	loss    float64       // of gossip packets
	lanLoss float64       // of announcements, by receiver
	dup     float64       // of gossip packets
	late    float64       // gossip packets that are much later than the others
	delay   time.Duration // greatest, of the other gossip packets
	deleted []Address     // until healing
	truth

	moves   []timedMove
	failure string
	trace   func(format string, args ...any)
}

type timedMove struct {
	at time.Duration
	Move
}

// host is a node with its speaker.
type host struct {
	name    string
	nics    []Interface
	e       *Election
	up      bool
	joined  bool
	frozen  bool
	deaf    bool // while frozen: its sockets lost what came
	thawing bool // answers, but has not handled anything yet
	run     int  // counts starts
	gossip  int  // group that it can talk to
	lan     int  // part of the segments that it is on
	carrier bool
	rate    float64
	offset  time.Duration
	views   map[string]bool
	pending []func()
	away    bool          // from the API: what it says waits
	unheard []Event       // of the API
	watched time.Duration // when the last event of the API arrives
	drains  bool
	gone    bool // and was drained: the API lists no speaker on it
	absent  int  // speakers that it misses
	noProxy bool
	behind  map[netip.Addr]bool     // what its proxy does not know yet
	answers map[netip.Addr][]string // interfaces
	stopped time.Duration           // its clock, while it was frozen
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
		api: map[string]reason.Reason{}, delay: 5 * time.Millisecond, truth: newTruth(), sharing: map[netip.Addr][]map[string]bool{},
		trace: func(string, ...any) {},
	}
	for i := range nodes {
		h := &host{name: fmt.Sprintf("n%d", i+1), carrier: true, behind: map[netip.Addr]bool{}}
		h.nics = []Interface{{Name: "eth0", MAC: MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, Prefixes: []netip.Prefix{everywhere}}}
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
			if set, ok := event.(SetAddress); ok {
				set.Address.Behind = h.behind[set.Address.IP]
				event = set
			}
			h.e.Step(h.local(c.now), event)
			c.perform(h)
		}
	}
	if h.frozen || h.thawing {
		switch event.(type) {
		case Receive, SawAnnouncement:
			if h.deaf {
				return
			}
		}
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
		if h.behind[a.IP] {
			c.fail("property 8: %s answers for %s, which its proxy does not know", h.name, a.IP)
		}
		was := len(h.answers[a.IP])
		c.setAnswer(h, a.IP, a.Interfaces)
		if was == 0 {
			c.took(h, a.IP, r.Moves)
		}
		c.announce(h, a.IP, 3)
	}
	for _, ip := range r.Defend {
		c.trace("%s defends %s", h.name, ip)
		c.announce(h, ip, 3)
	}
	for _, p := range r.Probe {
		c.probe(h, p)
	}
	for _, ip := range r.Withdraw {
		c.trace("%s stops %s", h.name, ip)
		c.checkBare(h, ip)
		c.setAnswer(h, ip, nil)
	}
	if !r.Send.Empty() {
		c.checkSend(h, r.Send)
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
// memberlist's retransmission does. A late one may reach another run of the
// receiver, and tell of a run of the sender that is over.
func (c *cluster) send(from, to *host, piece []byte) {
	for _, wait := range []time.Duration{0, 200 * time.Millisecond} {
		for range 1 + b2i(c.rng.Float64() < c.dup) {
			if c.rng.Float64() < c.loss {
				continue
			}
			most := c.delay
			if c.rng.Float64() < c.late {
				most = 20 * time.Second
			}
			c.after(wait+c.random(most), func() {
				if to.up && to.carrier && from.gossip == to.gossip {
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

// exchange is a push/pull over TCP, which repeats what is lost twice: all of it
// is lost, or nothing.
func (c *cluster) exchange(a, b *host) {
	if !c.talk(a, b) || a.frozen || b.frozen || c.rng.Float64() < c.loss*c.loss*c.loss {
		return
	}
	ma, mb := a.e.State(), b.e.State()
	c.step(a, Receive{mb})
	c.step(b, Receive{ma})
}

// announce reaches everybody on the segment. Only those that answer, or
// watch, make something of it; the others are spared.
func (c *cluster) announce(h *host, ip netip.Addr, times int) {
	run := h.run
	for _, name := range h.answers[ip] {
		c.after(time.Millisecond+c.random(4*time.Millisecond), func() {
			for _, other := range c.nodes {
				if other.e == nil || other == h {
					continue
				}
				a := other.e.addresses[ip]
				if a != nil && (len(a.answering) > 0 || a.watching) {
					c.heard(other, h, ip, name)
				}
			}
		})
	}
	if times > 1 {
		c.after(1100*time.Millisecond, func() {
			if h.up && !h.frozen && h.run == run && len(h.answers[ip]) > 0 {
				c.announce(h, ip, times-1)
			}
		})
	}
}

// nic is the interface of that name, and where the segments are apart by name.
func (h *host) nic(name string) *Interface {
	for i := range h.nics {
		if h.nics[i].Name == name {
			return &h.nics[i]
		}
	}
	return nil
}

func (c *cluster) heard(by, from *host, ip netip.Addr, segment string) {
	mine, theirs := by.nic(segment), from.nic(segment)
	if mine == nil || theirs == nil || !c.hear(by, from) {
		return
	}
	if c.rng.Float64() < c.lanLoss {
		delete(c.seen, ip)
		return
	}
	if since, ok := c.doubles[ip]; ok && slices.Contains(by.answers[ip], segment) {
		if _, seen := c.seen[ip]; !seen || c.seen[ip] < since {
			c.seen[ip] = c.now
		}
	}
	c.step(by, SawAnnouncement{IP: ip, Mine: mine.MAC, From: theirs.MAC})
}

func (c *cluster) probe(h *host, p Answer) {
	for _, name := range p.Interfaces {
		for _, other := range c.nodes {
			if other == h || !slices.Contains(other.answers[p.IP], name) {
				continue
			}
			c.after(time.Millisecond+c.random(4*time.Millisecond), func() {
				if other.up && !other.frozen && slices.Contains(other.answers[p.IP], name) {
					c.heard(h, other, p.IP, name)
				}
			})
		}
	}
}

// start boots the speaker of a host: it gets the API's objects, finds the
// others, and takes part.
func (c *cluster) start(h *host) {
	h.run++
	h.up, h.frozen, h.thawing, h.joined, h.drains, h.away = true, false, false, false, false, false
	h.pending, h.unheard = nil, nil
	h.gone, h.absent = false, 0
	h.rate = 0.99 + 0.02*c.rng.Float64()
	h.offset = c.random(time.Hour)
	h.views = map[string]bool{}
	h.answers = map[netip.Addr][]string{}
	// The clock that numbers the runs may have gone back.
	h.e = New(Config{Node: h.name, Run: 1 + c.rng.Uint64N(1_000_000)}, h.local(c.now))
	for _, name := range slices.Sorted(maps.Keys(c.api)) {
		c.step(h, SetNode{name, c.api[name]})
	}
	for _, ip := range c.sorted() {
		c.step(h, SetAddress{c.addresses[ip]})
	}
	c.sense(h)
	if h.noProxy {
		c.step(h, SetProxy{true})
	}
	c.membership(h)
	run := h.run
	c.after(time.Second, func() {
		if h.run == run {
			h.joined = true
			c.changedNode(h)
			others := 0
			for _, o := range c.nodes {
				others += b2i(o.up && o != h)
			}
			c.step(h, Join{others})
		}
	})
	ticks := 0
	var tick, pull func()
	tick = func() {
		if h.run == run && h.up {
			if !h.frozen {
				c.step(h, Tick{})
				if ticks++; ticks%10 == 0 {
					c.miss(h)
				}
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
	c.changedNode(h)
	c.disturbed = c.now
}

// miss counts the speakers that a host misses, as often as they are called.
func (c *cluster) miss(h *host) {
	n := 0
	for _, o := range c.nodes {
		n += b2i(o != h && !o.gone && !h.views[o.name])
	}
	if n != h.absent {
		h.absent = n
		c.step(h, SetAbsent{n})
	}
}

func (c *cluster) stop(h *host) {
	h.run++
	h.up, h.frozen, h.thawing, h.joined = false, false, false, false
	h.pending = nil
	for _, ip := range slices.SortedFunc(maps.Keys(h.answers), netip.Addr.Compare) {
		c.setAnswer(h, ip, nil)
	}
	c.membership(h)
	c.disturb()
}

func (c *cluster) freeze(h *host) {
	h.frozen, h.stopped, h.deaf = true, h.local(c.now), c.rng.IntN(2) == 0
	c.membership(h)
	c.disturb()
}

// thaw lets a process go on: the sockets first, with what they knew; then it
// handles what happened, its clock or the events first.
func (c *cluster) thaw(h *host) {
	h.frozen, h.thawing = false, true
	run := h.run
	c.after(c.random(20*time.Millisecond), func() {
		if h.run != run || h.frozen {
			return
		}
		h.thawing = false
		if c.rng.IntN(2) == 0 {
			c.step(h, Tick{})
		}
		pending := h.pending
		h.pending = nil
		for _, do := range pending {
			do()
		}
		c.step(h, Tick{})
	})
	c.membership(h)
	c.disturb()
	c.checkThawed(h)
}

// drain hands everything over, for at most five seconds, and then stops.
func (c *cluster) drain(h *host) {
	run := h.run
	deadline := c.now + 5*time.Second
	c.step(h, Drain{})
	h.drains = true
	c.changedNode(h)
	var leave func()
	leave = func() {
		if h.run != run {
			return
		}
		if !h.frozen && h.e.Drained() || c.now > deadline {
			unplanned := c.unplanned
			for _, ip := range slices.SortedFunc(maps.Keys(h.answers), netip.Addr.Compare) {
				c.checkBare(h, ip)
			}
			c.stop(h)
			h.gone = true
			c.unplanned = unplanned
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
		on = h.nics
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
		if !by.up || by.frozen || by.thawing {
			return
		}
		live := c.talk(by, at) && !at.frozen
		switch {
		case live == by.views[at.name]:
		case live:
			by.views[at.name] = true
			c.step(by, MemberUp{at.name})
			// Whoever finds others calls a few of them.
			if c.rng.IntN(len(c.nodes)) < 16 {
				c.exchangeSurely(by, at)
			}
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

func (c *cluster) sorted() []netip.Addr {
	return slices.SortedFunc(maps.Keys(c.addresses), netip.Addr.Compare)
}

// tellAll lets an event of the API reach every speaker, each in its own time,
// but in order.
func (c *cluster) tellAll(event Event) {
	for _, h := range c.nodes {
		if h.away {
			h.unheard = append(h.unheard, event)
		} else {
			c.tell(h, event)
		}
	}
}

func (c *cluster) tell(h *host, event Event) {
	run := h.run
	h.watched = max(h.watched, c.now+c.random(200*time.Millisecond))
	c.after(h.watched-c.now, func() {
		if h.run == run {
			c.step(h, event)
		}
	})
}

func (c *cluster) setNode(name string, r reason.Reason) {
	c.api[name] = r
	c.tellAll(SetNode{name, r})
	c.changedNode(c.byName[name])
}

// give lets all hosts have an address from the beginning.
func (c *cluster) give(a Address) {
	c.addresses[a.IP] = a
	for _, h := range c.nodes {
		c.step(h, SetAddress{a})
	}
}

func (c *cluster) setAddress(a Address) {
	c.addresses[a.IP] = a
	c.tellAll(SetAddress{a})
	c.changedAddress(a.IP)
}

// fallBehind has the proxy of a host learn of an address after a time.
func (c *cluster) fallBehind(h *host, ip netip.Addr, d time.Duration) {
	h.behind[ip] = true
	c.after(d, func() {
		delete(h.behind, ip)
		c.changedAddress(ip)
		if a := h.e.addresses[ip]; a != nil {
			c.step(h, SetAddress{a.Address})
		}
	})
}

func (c *cluster) deleteAddress(ip netip.Addr) {
	delete(c.addresses, ip)
	c.tellAll(DeleteAddress{ip})
	c.changedAddress(ip)
	c.answersChanged(ip)
}

// everyNode is an advertisement without selectors.
func (c *cluster) everyNode() *Advertisement {
	v := &Advertisement{Nodes: map[string]int{}}
	for _, h := range c.nodes {
		v.Nodes[h.name] = 0
	}
	return v
}

func (c *cluster) fail(format string, args ...any) {
	if c.failure == "" {
		c.failure = fmt.Sprintf("at %s, step %d: ", c.now, c.steps) + fmt.Sprintf(format, args...)
	}
}
