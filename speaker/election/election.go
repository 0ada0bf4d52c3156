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
	// Version of the node's first NodeState; greater than that of an earlier
	// run of the same node, if possible.
	Version uint64

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

// tellEvery repeats the news that the node drains, as long as it does.
const tellEvery = 250 * time.Millisecond

const never = time.Duration(math.MaxInt64)

// address is all that is known of one address.
type address struct {
	Address
	claim Claim
	// vouched: the holder was a live member when the claim came.
	vouched bool
	// answering are the interfaces answered on.
	answering []string

	// target ranks first for the orphan, since orphaned; due is when this node
	// claims it.
	target   string
	orphaned time.Duration
	due      time.Duration
	// ineligible is since when this node holds it and may not.
	ineligible time.Duration

	fence

	// owner and why were told last, by Moves and Changed.
	owner string
	why   reason.Reason
}

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
	now    time.Duration
	joined bool
	since  time.Duration // of joined
	others int           // speakers that there should be besides

	members map[string]time.Duration // live, since when
	weights []count                  // recent numbers of members, oldest first
	nodes   map[string]reason.Reason // what the API says of nodes
	states  map[string]NodeState     // what nodes say of themselves, the dead too

	addresses map[netip.Addr]*address
	strangers map[netip.Addr]stranger // claims of addresses that are not wanted
	load      map[string]int          // addresses held, by node
	planned   map[string]int          // orphans that rank a node first

	dirty    map[netip.Addr]struct{}
	dirtyAll bool
	timed    map[netip.Addr]struct{} // addresses that wait for a time

	resync      map[string]time.Duration // by member, when state may be exchanged again
	suspended   time.Duration            // until when, after a freeze
	changed     time.Duration            // last change of members or of their standing
	failedBack  time.Duration            // value of changed that failback was done for
	rebalanced  time.Duration            // last move for the sake of load
	swept       time.Duration
	told        time.Duration // last time the others were told of the drain
	usableNodes int           // -1: to be counted
	ranked      []candidate
	ready       Ready
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
		cfg: cfg, self: cfg.Node, now: now, changed: now, rebalanced: now, swept: now, failedBack: never, usableNodes: -1,
		members: map[string]time.Duration{}, nodes: map[string]reason.Reason{}, states: map[string]NodeState{},
		addresses: map[netip.Addr]*address{}, strangers: map[netip.Addr]stranger{},
		resync: map[string]time.Duration{}, load: map[string]int{}, planned: map[string]int{},
		dirty: map[netip.Addr]struct{}{}, timed: map[netip.Addr]struct{}{},
	}
	e.states[e.self] = NodeState{Node: e.self, Version: max(cfg.Version, 1)}
	e.setMember(e.self, true)
	return e
}

// Step takes an event at a time. Times are of any monotonic clock of this node;
// they never go back.
func (e *Election) Step(now time.Duration, event Event) {
	if gap := now - e.now; e.joined && gap > e.cfg.Freeze {
		e.suspend(now)
	}
	e.now = max(now, e.now)
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
	case SetNode:
		if old, known := e.nodes[ev.Name]; !known || old != ev.Reason {
			e.nodes[ev.Name] = ev.Reason
			e.standing()
		}
	case DeleteNode:
		delete(e.nodes, ev.Name)
		if _, live := e.members[ev.Name]; !live {
			delete(e.states, ev.Name)
		}
		e.standing()
	case SetAddress:
		e.setAddress(ev.Address)
	case DeleteAddress:
		e.deleteAddress(ev.IP)
	case SetInterfaces:
		s := e.states[e.self]
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
		if e.suspended > e.now {
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
	e.standing()
	for _, ip := range e.order() {
		a := e.addresses[ip]
		a.owner = e.ownerOf(a.claim)
		if a.owner == e.self {
			e.ready.Moves = append(e.ready.Moves, Move{ip, "", e.self, CauseRestart})
		}
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
	if len(r.Send.Claims) > 0 && len(r.Send.States) == 0 {
		// Whoever learns of a claim can judge its holder.
		r.Send.States = []NodeState{e.states[e.self]}
	}
	return r
}

// State is everything that another speaker should know, in order.
func (e *Election) State() Message {
	var m Message
	for _, ip := range e.order() {
		if a := e.addresses[ip]; a.claim.Term > 0 {
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
func (e *Election) Owned() int {
	n := 0
	for _, a := range e.addresses {
		if len(a.answering) > 0 {
			n++
		}
	}
	return n
}

// Members counts the live members, this node included.
func (e *Election) Members() int { return len(e.members) }

// Drained reports whether nothing that this node answers for could be handed
// to another node.
func (e *Election) Drained() bool {
	for _, a := range e.addresses {
		if len(a.answering) > 0 && len(e.rank(a)) > 0 {
			return false
		}
	}
	return true
}

func (e *Election) order() []netip.Addr {
	return slices.SortedFunc(maps.Keys(e.addresses), netip.Addr.Compare)
}

// standing notes that nodes changed in what they may do.
func (e *Election) standing() {
	e.changed = e.now
	e.usableNodes = -1
	e.dirtyAll = true
}

func (e *Election) setMember(node string, live bool) {
	if _, was := e.members[node]; was == live {
		return
	}
	if live {
		e.members[node] = e.now
	} else {
		delete(e.members, node)
	}
	e.weights = append(e.weights, count{e.now, len(e.members)})
	e.standing()
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
	s.Version++
	e.states[e.self] = s
	e.sendState()
	e.standing()
}

func (e *Election) sendState() {
	if e.joined {
		e.ready.Send.States = append(e.ready.Send.States, e.states[e.self])
	}
}

func (e *Election) setAddress(in Address) {
	a := e.addresses[in.IP]
	if a == nil {
		a = &address{due: never, ineligible: never}
		e.addresses[in.IP] = a
		if s, ok := e.strangers[in.IP]; ok {
			_, a.vouched = e.members[s.claim.Node]
			a.claim = s.claim
			e.count(a.claim, 1)
			delete(e.strangers, in.IP)
			if a.claim.Node == e.self && e.joined {
				e.ready.Send.Claims = append(e.ready.Send.Claims, a.claim)
			}
		}
		a.owner = e.ownerOf(a.claim)
	}
	a.Address = in
	e.dirty[in.IP] = struct{}{}
}

func (e *Election) deleteAddress(ip netip.Addr) {
	a := e.addresses[ip]
	if a == nil {
		return
	}
	if len(a.answering) > 0 {
		e.ready.Withdraw = append(e.ready.Withdraw, ip)
	}
	e.unplan(a)
	if a.claim.Term > 0 {
		e.count(a.claim, -1)
		e.strangers[ip] = stranger{a.claim, e.now}
	}
	delete(e.addresses, ip)
	delete(e.dirty, ip)
	delete(e.timed, ip)
}

func (e *Election) suspend(now time.Duration) {
	e.suspended = now + e.cfg.Freeze
	e.dirtyAll = true
	for _, node := range slices.Sorted(maps.Keys(e.members)) {
		if node != e.self {
			e.ready.Resync = append(e.ready.Resync, node)
			return
		}
	}
}

func (e *Election) tick() {
	for ip := range e.timed {
		e.dirty[ip] = struct{}{}
	}
	if e.suspended != 0 && e.suspended <= e.now {
		e.suspended = 0
		e.dirtyAll = true
	}
	if e.joined && e.suspended == 0 {
		e.failback()
		e.rebalance()
		if e.states[e.self].Draining && e.now-e.told >= tellEvery {
			e.told = e.now
			e.sendState()
		}
	}
	if e.now-e.swept > e.cfg.Forget/5 {
		e.swept = e.now
		maps.DeleteFunc(e.strangers, func(_ netip.Addr, s stranger) bool { return e.now-s.since > e.cfg.Forget })
	}
}

// settle evaluates what the event touched, until nothing is left to do.
func (e *Election) settle() {
	if !e.joined {
		return
	}
	if e.dirtyAll {
		e.dirtyAll = false
		for ip := range e.addresses {
			e.dirty[ip] = struct{}{}
		}
	}
	for len(e.dirty) > 0 {
		order := slices.SortedFunc(maps.Keys(e.dirty), netip.Addr.Compare)
		for _, ip := range order {
			delete(e.dirty, ip)
			if a := e.addresses[ip]; a != nil {
				e.evaluate(a)
			}
		}
	}
}

// evaluate decides what this node does about an address.
func (e *Election) evaluate(a *address) {
	delete(e.timed, a.IP)
	if e.suspended != 0 {
		e.answer(a, false)
		return
	}
	c := a.claim
	_, live := e.members[c.Node]
	a.vouched = a.vouched || live
	answer := false
	switch {
	case c.Term == 0 || c.Phase == Released || !live:
		a.ineligible = never
		answer = e.orphan(a)
	case c.Node == e.self:
		e.unplan(a)
		answer = e.mine(a)
	default:
		a.ineligible = never
		e.theirs(a)
	}
	if a.claim == c {
		e.answer(a, answer)
		e.tell(a)
	}
}

// orphan is an address that nobody live holds.
func (e *Election) orphan(a *address) bool {
	e.plan(a)
	if a.due == never || e.gathering(a) || !e.unheard(a) || a.due > e.now {
		return false
	}
	cause := CauseDied
	switch {
	case a.claim.Term == 0:
		cause = CauseNew
	case a.claim.Phase == Released:
		cause = CauseReleased
	}
	e.claim(a, Held, "", cause)
	return true
}

// gathering says whether to wait for the others of a start.
func (e *Election) gathering(a *address) bool {
	if a.claim.Term > 0 || e.now-e.since >= e.cfg.Gather {
		return false
	}
	told := 0
	for node := range e.members {
		if _, ok := e.states[node]; ok {
			told++
		}
	}
	e.timed[a.IP] = struct{}{}
	return told <= e.others
}

// mine is an address that this node holds.
func (e *Election) mine(a *address) bool {
	if a.claim.Phase == Deferred {
		a.ineligible = never
		return e.deferred(a)
	}
	a.watching = false
	if a.foreign {
		_, known := e.nodeOf(a.other)
		a.foreign = !known && e.now-a.heard < forgetForeign
		e.timed[a.IP] = struct{}{}
	}
	r := e.reason(&a.Address, e.self)
	if r == "" || soft(r) {
		a.ineligible = never
		return true
	}
	a.ineligible = min(a.ineligible, e.now)
	if e.now < a.ineligible+e.cfg.Handover && len(e.rank(a)) > 0 {
		e.timed[a.IP] = struct{}{}
		return true
	}
	e.claim(a, Released, "", CauseIneligible)
	return false
}

// theirs is an address that another live member holds.
func (e *Election) theirs(a *address) {
	a.watching, a.foreign = false, false
	able := e.reason(&a.Address, e.self) == ""
	_, told := e.states[a.claim.Node]
	switch r := e.reason(&a.Address, a.claim.Node); {
	case a.claim.To == e.self && able:
		e.unplan(a)
		e.claim(a, Held, "", a.claim.Cause)
	case r != "" && told:
		e.plan(a)
		if a.due <= e.now {
			e.claim(a, Held, "", CauseIneligible)
		}
	default:
		e.unplan(a)
	}
}

// answer makes the difference to what was answered before.
func (e *Election) answer(a *address, on bool) {
	var names []string
	if on {
		a.interfaces(e.self, e.states[e.self].Interfaces, func(name string) bool {
			names = append(names, name)
			return true
		})
	}
	switch {
	case slices.Equal(names, a.answering):
		return
	case len(names) == 0:
		e.ready.Withdraw = append(e.ready.Withdraw, a.IP)
	default:
		e.ready.Answer = append(e.ready.Answer, Answer{a.IP, names})
	}
	a.answering = names
}

// ownerOf is who answers, by the claim.
func (e *Election) ownerOf(c Claim) string {
	if _, live := e.members[c.Node]; live && c.Phase >= Offered {
		return c.Node
	}
	return ""
}

// tell notes changes that others than this package want to know.
func (e *Election) tell(a *address) {
	owner := e.ownerOf(a.claim)
	if owner != a.owner && owner != "" {
		e.ready.Moves = append(e.ready.Moves, Move{a.IP, a.owner, owner, a.claim.Cause})
	}
	why := reason.Announced
	if owner == "" {
		why = e.unannounced(a)
	}
	if owner != a.owner || why != a.why {
		e.ready.Changed = append(e.ready.Changed, a.IP)
	}
	a.owner, a.why = owner, why
}
