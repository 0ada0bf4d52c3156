package election

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
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
	node       string
	preference int
	full       bool
	score      uint64
}

// rank returns the nodes that may take the address, best first: preferred
// nodes, then those within the bound of load, then by score. The holder of the
// current claim is left out.
func (e *Election) rank(a *address) []candidate {
	limit := placeBound(len(e.addresses), e.usable())
	out := e.ranked[:0]
	for node := range e.members {
		if node == a.claim.Node && a.claim.Phase != Released || e.reason(&a.Address, node) != "" {
			continue
		}
		out = append(out, candidate{node, a.preference(node), e.load[node]+e.planned[node] >= limit, score(a.IP, node)})
	}
	slices.SortFunc(out, func(x, y candidate) int {
		return cmp.Or(
			cmp.Compare(y.preference, x.preference),
			compareBool(x.full, y.full),
			cmp.Compare(y.score, x.score),
			cmp.Compare(x.node, y.node),
		)
	})
	e.ranked = out
	return out
}

// usable counts the nodes that may announce anything.
func (e *Election) usable() int {
	if e.usableNodes < 0 {
		e.usableNodes = 0
		for node := range e.members {
			if e.nodeReason(node) == "" {
				e.usableNodes++
			}
		}
	}
	return e.usableNodes
}

// plan decides when this node would claim an address that nobody holds, or
// whose holder may not: at once if it ranks first, after the others had their
// turn if it does not, never if it may not.
func (e *Election) plan(a *address) {
	before := a.target
	e.unplan(a)
	for i, c := range e.rank(a) {
		if i == 0 {
			if a.target = c.node; a.target != before {
				a.orphaned = e.now
				if a.claim.Term > 0 && !a.vouched {
					a.orphaned += e.cfg.Unknown
				}
			}
			e.planned[c.node]++
		}
		if c.node == e.self {
			a.due = a.orphaned + time.Duration(i)*e.cfg.Stagger
		}
	}
	if a.due != never {
		e.timed[a.IP] = struct{}{}
	}
}

func (e *Election) unplan(a *address) {
	if a.target != "" {
		e.planned[a.target]--
		a.target = ""
	}
	a.due = never
}
