package election

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// score orders the nodes of equal standing for an address, by rendezvous
// hashing: it is the same at every node, spreads evenly, and a node that comes
// or goes changes the order of no others. It takes hashOf the address.
// FNV-1a, mixed by MurmurHash3's finalizer.
func score(ip uint64, node string) uint64 {
	h := ip
	for i := range len(node) {
		h = (h ^ uint64(node[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func hashOf(ip netip.Addr) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range ip.As16() {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// Bound is how many addresses a node may own when n addresses are spread over
// so many nodes: 1.25 × the mean, rounded up, plus one.
func Bound(addresses, nodes int) int {
	return placeBound(addresses, nodes) + 1
}

// placeBound is the bound for an address that is being placed. That one is
// missing leaves room for views that differ.
func placeBound(addresses, nodes int) int {
	nodes = max(nodes, 1)
	return (5*addresses + 4*nodes - 1) / (4 * nodes)
}

// candidate is a node that may take an address.
type candidate struct {
	node string
	// returns: an earlier run of the node held it, and nobody took it since.
	returns    bool
	preference int
	full       bool
	score      uint64
	// last: it may not, but nobody else may either.
	last bool
}

// compare orders candidates, best first: those that stay, preferred nodes, those
// within the bound of load, and then by score.
func (x *candidate) compare(y *candidate) int {
	switch {
	case x.last != y.last:
		return compareBool(x.last, y.last)
	case x.returns != y.returns:
		return compareBool(y.returns, x.returns)
	case x.preference != y.preference:
		return cmp.Compare(y.preference, x.preference)
	case x.full != y.full:
		return compareBool(x.full, y.full)
	case x.score != y.score:
		return cmp.Compare(y.score, x.score)
	}
	return cmp.Compare(x.node, y.node)
}

// load is what a node carries.
type load struct {
	held    map[*address]struct{} // by its claims, but for released ones
	planned int                   // orphans that rank it first
}

func (e *Election) loadOf(node string) *load {
	l := e.loads[node]
	if l == nil {
		l = &load{held: map[*address]struct{}{}}
		e.loads[node] = l
	}
	return l
}

// held are the addresses that a node holds. They are not written to.
func (e *Election) held(node string) map[*address]struct{} {
	if l := e.loads[node]; l != nil {
		return l.held
	}
	return nil
}

// able is a node that may announce something.
type able struct {
	node string
	on   []Interface
	*load
}

// ableNodes are the nodes that may announce something, in order.
func (e *Election) ableNodes() []able {
	if e.able == nil {
		maps.DeleteFunc(e.loads, func(_ string, l *load) bool { return len(l.held) == 0 && l.planned == 0 })
		e.able = make([]able, 0, len(e.members))
		for node := range e.members {
			if e.nodeReason(node) == "" {
				e.able = append(e.able, able{node, e.states[node].Interfaces, e.loadOf(node)})
			}
		}
		slices.SortFunc(e.able, func(x, y able) int { return cmp.Compare(x.node, y.node) })
	}
	return e.able
}

// candidates yields the nodes that may take the address, in no order. The
// holder of the present claim is not among them.
func (e *Election) candidates(a *address, yield func(candidate) bool) {
	if a.NoEndpoints || len(a.Advertisements) == 0 {
		return
	}
	nodes := e.ableNodes()
	limit := placeBound(len(e.addresses), len(nodes))
	holder := ""
	if a.claim.Phase != Released {
		holder = a.claim.Node
	}
	returns := false
	if e.void(a.claim) {
		if returns = holder != "" && a.claim.Phase >= Offered; !returns {
			holder = ""
		}
	}
	for i := range nodes {
		n := &nodes[i]
		if n.node == holder && !returns || a.Local != nil && !a.Local[n.node] {
			continue
		}
		preference, usable := a.place(n.node, n.on)
		if !usable {
			continue
		}
		if !yield(candidate{
			node: n.node, returns: returns && n.node == holder, preference: preference,
			full: len(n.held)+n.planned >= limit, score: score(a.hash, n.node),
		}) {
			return
		}
	}
	if returns && e.reason(&a.Address, holder) != "" && e.mayStay(a, holder) {
		yield(candidate{node: holder, last: true})
	}
}

// rank returns the candidates, best first. The next call overwrites it.
func (e *Election) rank(a *address) []candidate {
	e.ranked = e.ranked[:0]
	e.candidates(a, func(c candidate) bool { e.ranked = append(e.ranked, c); return true })
	slices.SortFunc(e.ranked, func(x, y candidate) int { return x.compare(&y) })
	return e.ranked
}

// replaceable says whether there is a candidate.
func (e *Election) replaceable(a *address) bool {
	found := false
	e.candidates(a, func(candidate) bool { found = true; return false })
	return found
}

// plan decides when this node would claim an address that nobody holds, or
// whose holder may not: at once if it ranks first, after the others had their
// turn if it does not, never if it may not.
func (e *Election) plan(a *address) {
	before := a.target
	e.unplan(a)
	e.ranked = e.ranked[:0]
	best, self := 0, -1
	e.candidates(a, func(c candidate) bool {
		i := len(e.ranked)
		if e.ranked = append(e.ranked, c); c.compare(&e.ranked[best]) < 0 {
			best = i
		}
		if c.node == e.self {
			self = i
		}
		return true
	})
	if len(e.ranked) == 0 {
		return
	}
	a.target = e.ranked[best].node
	e.loadOf(a.target).planned++
	if a.target != before {
		a.orphaned = e.now
		if a.claim.Term > 0 && !a.vouched {
			a.orphaned += e.cfg.Unknown
		}
	}
	if self < 0 {
		return
	}
	a.due = a.orphaned
	for i := range e.ranked {
		if e.ranked[i].compare(&e.ranked[self]) < 0 {
			a.due += e.cfg.Stagger
		}
	}
	e.wake(a, a.due)
}

func (e *Election) unplan(a *address) {
	if a.target != "" {
		e.loadOf(a.target).planned--
		a.target = ""
	}
	a.due = never
}
