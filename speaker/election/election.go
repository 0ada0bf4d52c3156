package election

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Config is the name of the node and the time that things take. The zero value
// of a duration is its default.
type Config struct {
	Node string
	// Run numbers this start of the node's speaker, from 1; greater than that of
	// an earlier one, if possible. If not, it is corrected when the others tell.
	Run uint64

	// Stagger is how long each further candidate waits for the one before it
	// to claim an orphan: 500 ms.
	Stagger time.Duration
	// Unknown is how long a claim stands whose holder was never seen alive: 1 s.
	Unknown time.Duration
	// Handover is how long a holder that may not announce any more waits for
	// its successor: 3 s.
	Handover time.Duration
	// Caution is how long a node that sees no other speaker, though there
	// should be some, asks the segment before it takes an address: 200 ms.
	Caution time.Duration
	// Fence is how long a node that yielded to an announcement waits for the
	// next sign of the other: 3 s.
	Fence time.Duration
	// Contest is how long gossip may take to settle two answering members,
	// before their hardware addresses do: 500 ms.
	Contest time.Duration
	// Freeze is the gap between two events from which on the process counts as
	// frozen, and what it owned as doubtful: 1 s.
	Freeze time.Duration
	// Merge is how long after a node came back claims from the time without it
	// are told from others: 5 s.
	Merge time.Duration
	// Failback is how long a preferred node has to be back: 3 s.
	Failback time.Duration
	// Rebalance is the least time between two moves for the sake of load: 10 s.
	Rebalance time.Duration
	// Gather is how long a node that just joined leaves addresses that nobody
	// ever held to the speakers that are still missing, so that those which start
	// together share them: 5 s.
	Gather time.Duration
	// Forget is how long claims of addresses that the API does not have are
	// kept: 5 min.
	Forget time.Duration
}

const (
	// tellEvery repeats the news that the node drains, as long as it does.
	tellEvery = 250 * time.Millisecond
	// tellAgainEvery is the least time between tellings of what is not new.
	tellAgainEvery = time.Second
	// batch is how long after a message the next waits, so that a burst goes out
	// in few, while the news of a quiet time goes at once.
	batch = 20 * time.Millisecond
	// firstDoubt is how long a node waits at first before it takes an address
	// from the same holder again for the same reason.
	firstDoubt = time.Second
	// resyncWith is how many others a node asks that was frozen.
	resyncWith = 3
)

const never = time.Duration(math.MaxInt64)

type stranger struct {
	claim Claim
	since time.Duration
}

type count struct {
	at time.Duration
	n  int
}

// Election is the state machine of one node. It is not safe for concurrent use.
type Election struct {
	cfg    Config
	self   string
	clock  time.Duration // as Step was told
	now    time.Duration // the same, without its steps back
	joined bool
	since  time.Duration // of joined
	others int           // speakers that there should be besides

	members map[string]time.Duration // live, since when
	left    map[string]time.Duration // when it was missed last
	weights []count                  // recent numbers of members, oldest first
	nodes   map[string]reason.Reason // what the API says of nodes
	states  map[string]NodeState     // what nodes say of themselves, the dead too
	macs    map[MAC]string           // whose they are, or were last
	able    []able                   // nodes that may announce, in order; nil: to be made
	present int                      // members that told their state; -1: to be counted

	// news counts what changed of nodes and addresses, and stood is its value
	// when a node changed last.
	news  int
	stood map[string]int

	addresses map[netip.Addr]*address
	strangers map[netip.Addr]stranger // claims of addresses that are not wanted
	answering map[*address]struct{}
	loads     map[string]*load
	sorted    []*address // addresses; nil: to be made

	// What is to be looked at (pending.go).
	dirty, spare []*address
	dirtyAll     bool
	open         map[*address]struct{}
	review       bool // the open ones, at the next tick
	timed        timers

	fencing
	resync     map[string]time.Duration // by member, when state may be exchanged again
	suspended  time.Duration            // until when, after a freeze
	awaiting   int                      // exchanges that end it sooner
	changed    time.Duration            // last change of members or of their standing
	failedBack time.Duration            // value of changed that failback was done for
	retry      time.Duration            // when to fail back once more
	rebalanced time.Duration            // last move for the sake of load
	swept      time.Duration
	told       time.Duration // last time the others were told of the drain
	stated     time.Duration // last change of this node's state
	missed     time.Duration // since when somebody missed what this node told
	retold     time.Duration // last time it was told again
	ranked     []candidate
	ready      Ready
	outClaims  map[netip.Addr]struct{} // whose claims are to be told
	outState   bool
	large      bool          // this node's state is more than a packet: it goes only where it is new
	sent       time.Duration // last
}

// New returns an Election that knows nothing but itself.
func New(cfg Config, now time.Duration) *Election {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&cfg.Stagger, 500 * time.Millisecond}, {&cfg.Unknown, time.Second}, {&cfg.Handover, 3 * time.Second},
		{&cfg.Caution, 200 * time.Millisecond}, {&cfg.Fence, 3 * time.Second}, {&cfg.Contest, 500 * time.Millisecond},
		{&cfg.Freeze, time.Second}, {&cfg.Merge, 5 * time.Second}, {&cfg.Failback, 3 * time.Second},
		{&cfg.Rebalance, 10 * time.Second}, {&cfg.Forget, 5 * time.Minute}, {&cfg.Gather, 5 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	e := &Election{
		cfg: cfg, self: cfg.Node, clock: now, now: now, changed: now, rebalanced: now, swept: now,
		fencing: fencing{blind: never}, failedBack: never, retry: never, missed: never, sent: now - batch,
		members: map[string]time.Duration{}, left: map[string]time.Duration{}, nodes: map[string]reason.Reason{}, states: map[string]NodeState{}, stood: map[string]int{},
		addresses: map[netip.Addr]*address{}, strangers: map[netip.Addr]stranger{}, answering: map[*address]struct{}{},
		resync: map[string]time.Duration{}, loads: map[string]*load{}, macs: map[MAC]string{},
		open: map[*address]struct{}{}, outClaims: map[netip.Addr]struct{}{},
	}
	e.states[e.self] = NodeState{Node: e.self, Run: max(cfg.Run, 1), Version: 1}
	e.setMember(e.self, true)
	return e
}

// Step takes an event at a time. Times are of any clock of this node. Where it
// goes back, no time passed; where it leaps, the process counts as frozen.
func (e *Election) Step(now time.Duration, event Event) {
	gap := max(0, now-e.clock)
	e.clock = now
	e.now += gap
	if e.joined && gap > e.cfg.Freeze {
		e.suspend()
	}
	switch ev := event.(type) {
	case Tick:
		e.tick()
	case Join:
		e.join(ev.Others)
	case MemberUp:
		e.setMember(ev.Node, true)
	case MemberDown:
		if ev.Node != e.self {
			e.setMember(ev.Node, false)
		}
	case SetAbsent:
		if e.absent == 0 && ev.Speakers > 0 {
			e.absentSince = e.now - e.cfg.Merge
		}
		e.absent = ev.Speakers
	case SetNode:
		if old, known := e.nodes[ev.Name]; !known || old != ev.Reason {
			e.nodes[ev.Name] = ev.Reason
			e.standing(ev.Name)
		}
	case DeleteNode:
		delete(e.nodes, ev.Name)
		if _, live := e.members[ev.Name]; !live {
			delete(e.states, ev.Name)
			maps.DeleteFunc(e.macs, func(_ MAC, node string) bool { return node == ev.Name })
		}
		e.standing(ev.Name)
		delete(e.stood, ev.Name)
		delete(e.left, ev.Name)
	case SetAddress:
		e.setAddress(ev.Address)
	case DeleteAddress:
		e.deleteAddress(ev.IP)
	case SetInterfaces:
		s := e.states[e.self]
		if lacks(ev.Interfaces, s.Interfaces) {
			e.blind = e.now
		}
		if lacks(s.Interfaces, ev.Interfaces) {
			e.sighted = e.now
		}
		s.Interfaces = ev.Interfaces
		e.setSelf(s)
	case SetProxy:
		s := e.states[e.self]
		s.ProxyDown = ev.Down
		e.setSelf(s)
	case Drain:
		s := e.states[e.self]
		s.Draining = true
		e.setSelf(s)
	case Receive:
		e.receive(ev.Message)
	case Resynced:
		if e.awaiting--; e.suspended != 0 && e.awaiting <= 0 {
			e.suspended = 0
			e.dirtyAll = true
		}
	case SawAnnouncement:
		e.sawAnnouncement(ev)
	}
	e.settle()
}

// join begins to take part. What others own already is no news; what this node
// owned before it restarted, and nobody took, it goes on with.
func (e *Election) join(others int) {
	e.joined, e.since, e.others = true, e.now, others
	e.sendState()
	e.standing(e.self)
	for _, a := range e.addresses {
		a.owner = e.owner(a)
	}
}

// Ready returns what the events since the last call ask for.
func (e *Election) Ready() Ready {
	r := e.ready
	e.ready = Ready{}
	slices.SortFunc(r.Changed, netip.Addr.Compare)
	r.Changed = slices.Compact(r.Changed)
	slices.Sort(r.Resync)
	r.Resync = slices.Compact(r.Resync)
	if (e.outState || len(e.outClaims) > 0) && e.now-e.sent >= batch {
		e.sent = e.now
		// Whoever learns of a claim can judge its holder.
		if e.outState || !e.large {
			r.Send.States = []NodeState{e.states[e.self]}
		}
		for _, ip := range slices.SortedFunc(maps.Keys(e.outClaims), netip.Addr.Compare) {
			c := e.strangers[ip].claim
			if a := e.addresses[ip]; a != nil {
				c = a.claim
			}
			if c.Term > 0 {
				r.Send.Claims = append(r.Send.Claims, c)
			}
		}
		clear(e.outClaims)
		e.outState = false
	}
	return r
}

// State is everything that another speaker should know, in order.
func (e *Election) State() Message {
	var m Message
	for _, a := range e.inOrder() {
		if a.claim.Term > 0 {
			m.Claims = append(m.Claims, a.claim)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(e.states)) {
		if node != e.self || e.joined {
			m.States = append(m.States, e.states[node])
		}
	}
	return m
}

// Answering reports the interfaces on which this node answers for an address.
func (e *Election) Answering(ip netip.Addr) []string {
	if a := e.addresses[ip]; a != nil {
		return a.answering
	}
	return nil
}

// Owned counts the addresses that this node answers for.
func (e *Election) Owned() int { return len(e.answering) }

// Members counts the live members, this node included.
func (e *Election) Members() int { return len(e.members) }

// Drained reports whether nothing that this node answers for could be handed
// to another node.
func (e *Election) Drained() bool {
	for a := range e.answering {
		if e.replaceable(a) {
			return false
		}
	}
	return true
}

// standing notes that a node changed in what it may do: that matters to what it
// holds, and to what nobody holds who may.
func (e *Election) standing(node string) {
	e.changed = e.now
	e.able, e.present = nil, -1
	e.news++
	e.stood[node] = e.news
	if node == e.self || !e.joined {
		e.dirtyAll = true
		return
	}
	for a := range e.held(node) {
		e.touch(a)
	}
	e.review = true
}

func (e *Election) setMember(node string, live bool) {
	if _, was := e.members[node]; was == live {
		return
	}
	if live {
		e.members[node] = e.now
		if since, was := e.left[node]; was {
			// It was away before it was missed.
			e.missed = min(e.missed, since-e.cfg.Merge)
		}
	} else {
		delete(e.members, node)
		e.left[node] = e.now
	}
	e.weights = append(e.weights, count{e.now, len(e.members)})
	e.standing(node)
}

// leastWeight is the least number of members within the merge window: how large
// the node's part of the cluster was before others came back.
func (e *Election) leastWeight() int {
	for len(e.weights) > 1 && e.weights[1].at < e.now-e.cfg.Merge {
		e.weights = e.weights[1:]
	}
	least := len(e.members)
	for _, w := range e.weights {
		least = min(least, w.n)
	}
	return least
}

func (e *Election) setSelf(s NodeState) {
	old := e.states[e.self]
	if s.sameAs(old) {
		return
	}
	e.states[e.self] = s
	e.large = len(Message{States: []NodeState{s}}.Marshal()) > maxSplit
	e.learnMACs(s)
	e.sendState()
	e.standing(e.self)
}

// sendState makes the node's state the newest, and tells it.
func (e *Election) sendState() {
	s := e.states[e.self]
	s.Version++
	e.states[e.self] = s
	e.stated = e.now
	if e.joined {
		e.outState = true
	}
}

// tellAgain tells what this node told while somebody was away who is back. That
// one exchanges full state, but in a large cluster not with this node.
func (e *Election) tellAgain() {
	e.outState = e.outState || e.stated >= e.missed
	for a := range e.held(e.self) {
		if a.wrote >= e.missed {
			e.outClaims[a.IP] = struct{}{}
		}
	}
	e.missed, e.retold = never, e.now
}

func (e *Election) setAddress(in Address) {
	a := e.addresses[in.IP]
	if a == nil {
		a = &address{due: never, ineligible: never, hash: hashOf(in.IP)}
		e.addresses[in.IP] = a
		e.sorted = nil
		if s, ok := e.strangers[in.IP]; ok {
			_, a.vouched = e.members[s.claim.Node]
			a.claim = s.claim
			e.hold(a)
			delete(e.strangers, in.IP)
			if a.claim.Node == e.self && e.joined {
				e.outClaims[in.IP] = struct{}{}
			}
		}
		a.owner = e.owner(a)
	}
	a.Address = in
	e.news++
	a.changed = e.news
	e.touch(a)
}

func (e *Election) deleteAddress(ip netip.Addr) {
	a := e.addresses[ip]
	if a == nil {
		return
	}
	e.answer(a, false)
	e.unplan(a)
	e.unhold(a)
	if a.claim.Term > 0 {
		e.strangers[ip] = stranger{a.claim, e.now}
	}
	delete(e.addresses, ip)
	e.sorted = nil
	delete(e.open, a)
	e.unwake(a)
}

// suspend stops answering until others told what happened meanwhile.
func (e *Election) suspend() {
	e.suspended = e.now + e.cfg.Freeze
	e.awaiting = 0
	e.dirtyAll = true
	ring := slices.Sorted(maps.Keys(e.members))
	self := slices.Index(ring, e.self)
	for i := 1; i < len(ring) && e.awaiting < resyncWith; i++ {
		e.ready.Resync = append(e.ready.Resync, ring[(self+i)%len(ring)])
		e.awaiting++
	}
	if e.awaiting == 0 {
		e.suspended = 0
	}
}

func (e *Election) tick() {
	e.due()
	if e.suspended != 0 && e.suspended <= e.now {
		e.suspended = 0
		e.dirtyAll = true
	}
	if e.missed != never && e.joined && e.now-e.retold >= tellAgainEvery {
		e.tellAgain()
	}
	if e.joined && e.suspended == 0 {
		e.call()
		e.failback()
		e.rebalance()
		if e.states[e.self].Draining && e.now-e.told >= tellEvery && (!e.large || e.told == 0) {
			e.told = e.now
			e.sendState()
		}
	}
	if e.now-e.swept > e.cfg.Forget/5 {
		e.swept = e.now
		maps.DeleteFunc(e.strangers, func(_ netip.Addr, s stranger) bool { return e.now-s.since > e.cfg.Forget })
	}
}
