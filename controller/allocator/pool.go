package allocator

import (
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Pool is a pool as its owner wants it.
type Pool struct {
	Name string
	// Created orders pools that overlap; ties are ordered by name.
	Created time.Time
	// Addresses and Exclude are blocks as [address.ParseBlocks] reads them.
	Addresses, Exclude []string
	AvoidBuggyIPs      bool
	// AutoAssign false: only for those who ask for the pool, or for an address
	// in it.
	AutoAssign bool
	// Drain: what is assigned stays, nothing new is given.
	Drain bool
	// Priority orders the pools a Service may use: a lower number is first, 0
	// is last; ties are ordered by name.
	Priority int
	// Namespaces and NamespaceSelectors unite; ServiceSelectors limit further.
	// Where all are empty, every Service is admitted.
	Namespaces         []string
	NamespaceSelectors []Selector
	ServiceSelectors   []Selector
}

// Usage counts the addresses of one family of a pool.
type Usage struct {
	// Assigned addresses are held by a Service; one that several Services
	// share counts once.
	Assigned *big.Int
	// Available addresses can still be given.
	Available *big.Int
}

// PoolState is what has become of a pool.
type PoolState struct {
	Name string
	// Reason is reason.Ready, or why the pool gives nothing; Message says so
	// to a person.
	Reason  reason.Reason
	Message string
	// Usage by family; zero for a pool that is not ready.
	Usage [families]Usage
	// Exhausted are the families that the pool has, and has no free address
	// of.
	Exhausted []Family
}

// Ready says whether the pool is in use.
func (s PoolState) Ready() bool { return s.Reason == reason.Ready }

func (s PoolState) equal(o PoolState) bool {
	return s.Reason == o.Reason && s.Message == o.Message && slices.Equal(s.Exhausted, o.Exhausted) &&
		slices.EqualFunc(s.Usage[:], o.Usage[:], func(a, b Usage) bool {
			return a.Assigned.Cmp(b.Assigned) == 0 && a.Available.Cmp(b.Available) == 0
		})
}

// pool is a Pool and what is in it.
type pool struct {
	Pool
	created int64
	ranges  []address.Range // what it has, without what it excludes
	// flaw is why the pool cannot work by itself, refused why it may not work
	// beside the others.
	flaw, refused *refusal
	// tenants are the Services at each address in use, and spaces what is
	// free; both are nil unless the pool is active.
	tenants map[netip.Addr]tenancy
	spaces  [families]*space
	// assigned counts the tenancies of each family.
	assigned [families]int64

	reported *PoolState
}

// tenancy is the Services that hold one address, oldest first.
type tenancy []*service

func newPool(spec Pool) *pool {
	p := &pool{Pool: spec, created: spec.Created.UnixNano()}
	var err error
	if p.ranges, err = address.ParseBlocks(spec.Addresses, spec.Exclude); err != nil {
		p.flaw = refuse(reason.InvalidAddresses, "%s", oneLine(err))
		return p
	}
	for _, s := range slices.Concat(spec.NamespaceSelectors, spec.ServiceSelectors) {
		if err := s.Validate(); err != nil {
			p.flaw = refuse(reason.InvalidSelector, "%s", oneLine(err))
		}
	}
	return p
}

func (p *pool) active() bool { return p.tenants != nil }

// activate makes the pool's addresses free. From before, an earlier form of
// the pool or nil, it inherits which addresses were released when: those in
// use come last, as if they were released now.
func (p *pool) activate(before *history) {
	p.tenants = map[netip.Addr]tenancy{}
	split, _ := slices.BinarySearchFunc(p.ranges, struct{}{}, func(r address.Range, _ struct{}) int {
		if FamilyOf(r.From) == IPv4 {
			return -1
		}
		return 1
	})
	p.spaces = [families]*space{
		newSpace(p.ranges[:split], p.AvoidBuggyIPs),
		newSpace(p.ranges[split:], p.AvoidBuggyIPs),
	}
	if before == nil {
		return
	}
	for _, a := range before.released {
		if s := p.spaces[FamilyOf(a)]; s.take(a) {
			s.put(a)
		}
	}
}

// history is the order in which the addresses of a pool were released.
type history struct{ released []netip.Addr }

// deactivate forgets what is in use and what is free, and returns the history.
func (p *pool) deactivate() *history {
	h := &history{}
	for _, s := range p.spaces {
		for e := s.released.Front(); e != nil; e = e.Next() {
			h.released = append(h.released, e.Value.(netip.Addr))
		}
	}
	var used []netip.Addr
	for a := range p.tenants {
		used = append(used, a)
	}
	slices.SortFunc(used, netip.Addr.Compare)
	h.released = append(h.released, used...)
	p.tenants, p.spaces, p.assigned = nil, [families]*space{}, [families]int64{}
	return h
}

// contains says whether a is an address that the pool could give.
func (p *pool) contains(a netip.Addr) bool {
	_, ok := search(p.ranges, a)
	return ok && !(p.AvoidBuggyIPs && buggy(a))
}

// has says whether the pool has any address of the family.
func (p *pool) has(f Family) bool { return p.spaces[f].total.Sign() > 0 }

// admission is whether a pool is for a Service, and what of the Service is
// outside of it if not.
type admission uint8

const (
	admitted admission = iota
	otherNamespace
	otherLabels
)

// admission says whether the pool is for the Service, whose namespace has the
// labels.
func (p *pool) admission(s *service, labels map[string]string) admission {
	switch {
	case len(p.Namespaces)+len(p.NamespaceSelectors) > 0 &&
		!slices.Contains(p.Namespaces, s.Key.Namespace) && !anyMatches(p.NamespaceSelectors, labels):
		return otherNamespace
	case len(p.ServiceSelectors) > 0 && !anyMatches(p.ServiceSelectors, s.Labels):
		return otherLabels
	}
	return admitted
}

// notAdmitted says why none of the pools, which are for others, is for s.
func notAdmitted(s *service, otherNamespaces, otherLabels []*pool) *refusal {
	if len(otherLabels) == 0 {
		return refuse(reason.NamespaceNotAdmitted, "namespace %s is not admitted by %s", s.Key.Namespace, poolNames(otherNamespaces))
	}
	var selectors []string
	for _, p := range otherLabels {
		for _, sel := range p.ServiceSelectors {
			selectors = append(selectors, sel.String())
		}
	}
	return refuse(reason.NoPool, "the labels of %s match no serviceSelector of %s: %s",
		s.Key, poolNames(otherLabels), strings.Join(selectors, "; "))
}

// poolNames names pools to a person; it ends early where there are many.
func poolNames(pools []*pool) string {
	if len(pools) == 1 {
		return "pool " + pools[0].Name
	}
	var names []string
	for _, p := range pools {
		names = append(names, p.Name)
	}
	return "pools " + excerpt.Names(names, 8)
}

// state is what to report of the pool.
func (p *pool) state() PoolState {
	st := PoolState{Name: p.Name, Reason: reason.Ready, Message: "the pool is in use"}
	if p.Drain {
		st.Message = "the pool keeps what is assigned and gives nothing new"
	}
	if !p.active() {
		why := p.flaw
		if why == nil {
			why = p.refused
		}
		st.Reason, st.Message = why.reason, why.message
		for f := range st.Usage {
			st.Usage[f] = Usage{new(big.Int), new(big.Int)}
		}
		return st
	}
	for f := range families {
		n := big.NewInt(p.assigned[f])
		st.Usage[f] = Usage{n, new(big.Int).Sub(p.spaces[f].total, n)}
		if p.has(f) && p.spaces[f].empty() {
			st.Exhausted = append(st.Exhausted, f)
		}
	}
	return st
}
