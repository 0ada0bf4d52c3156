package election

import (
	"cmp"
	"net/netip"
	"slices"
)

// score orders the nodes of equal standing for an address, by rendezvous
// hashing: it is the same at every node, spreads evenly, and a node that comes
// or goes changes the order of no others. FNV-1a, mixed by MurmurHash3's
// finalizer.
func score(ip netip.Addr, node string) uint64 {
	h := uint64(14695981039346656037)
	b := ip.As16()
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	for i := range len(node) {
		h = (h ^ uint64(node[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
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
func (x candidate) compare(y candidate) int {
	return cmp.Or(
		compareBool(x.last, y.last),
		compareBool(y.returns, x.returns),
		cmp.Compare(y.preference, x.preference),
		compareBool(x.full, y.full),
		cmp.Compare(y.score, x.score),
		cmp.Compare(x.node, y.node),
	)
}

// candidates yields the nodes that may take the address, in no order. The
// holder of the present claim is not among them.
func (e *Election) candidates(a *address, yield func(candidate) bool) {
	if a.NoEndpoints || len(a.Advertisements) == 0 {
		return
	}
	limit := placeBound(len(e.addresses), len(e.ableNodes()))
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
	for _, node := range e.ableNodes() {
		if node == holder && !returns || !a.selects(node) || a.placeReason(node, e.states[node].Interfaces) != "" {
			continue
		}
		if !yield(candidate{
			node: node, returns: returns && node == holder, preference: a.preference(node),
			full: len(e.held[node])+e.planned[node] >= limit, score: score(a.IP, node),
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
	slices.SortFunc(e.ranked, candidate.compare)
	return e.ranked
}

// replaceable says whether there is a candidate.
func (e *Election) replaceable(a *address) bool {
	found := false
	e.candidates(a, func(candidate) bool { found = true; return false })
	return found
}

// ableNodes are the nodes that may announce something, in order.
func (e *Election) ableNodes() []string {
	if e.able == nil {
		e.able = make([]string, 0, len(e.members))
		for node := range e.members {
			if e.nodeReason(node) == "" {
				e.able = append(e.able, node)
			}
		}
		slices.Sort(e.able)
	}
	return e.able
}

// plan decides when this node would claim an address that nobody holds, or
// whose holder may not: at once if it ranks first, after the others had their
// turn if it does not, never if it may not.
func (e *Election) plan(a *address) {
	before := a.target
	e.unplan(a)
	e.ranked = e.ranked[:0]
	self := -1
	e.candidates(a, func(c candidate) bool {
		if c.node == e.self {
			self = len(e.ranked)
		}
		e.ranked = append(e.ranked, c)
		return true
	})
	if len(e.ranked) == 0 {
		return
	}
	a.target = slices.MinFunc(e.ranked, candidate.compare).node
	e.planned[a.target]++
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
	for _, c := range e.ranked {
		if c.compare(e.ranked[self]) < 0 {
			a.due += e.cfg.Stagger
		}
	}
	e.wake(a, a.due)
}

func (e *Election) unplan(a *address) {
	if a.target != "" {
		e.planned[a.target]--
		a.target = ""
	}
	a.due = never
}
