package allocator

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/btree"
	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// block is a range of an active pool.
type block struct {
	address.Range
	pool *pool
}

// poolOf is the active pool that could give the address.
func (a *Allocator) poolOf(addr netip.Addr) *pool {
	i, exact := slices.BinarySearchFunc(a.blocks, addr, func(b block, x netip.Addr) int { return b.From.Compare(x) })
	if !exact {
		i--
	}
	if i < 0 || !a.blocks[i].Contains(addr) || !a.blocks[i].pool.contains(addr) {
		return nil
	}
	return a.blocks[i].pool
}

// Has says whether a pool in use could give the address.
func (a *Allocator) Has(addr netip.Addr) bool { return a.poolOf(addr) != nil }

// poolAround is a pool whose addresses include this one but for what it leaves
// out.
func (a *Allocator) poolAround(addr netip.Addr) *pool {
	for _, p := range a.order {
		for _, text := range p.Addresses {
			if r, err := address.ParseBlock(text); err == nil && r.Contains(addr) {
				return p
			}
		}
	}
	return nil
}

// revisePools brings what is in use in line with the wanted pools, after one
// of them changed from old to new; either may be nil. A pool works unless one
// that was created before it, and works, has an address in common with it.
//
// The Services in pools that changed are homeless for a moment; they keep
// their addresses where those are still legal, the oldest first.
func (a *Allocator) revisePools(old, changed *pool) {
	homeless := map[*service][]netip.Addr{}
	evict := func(p *pool) *history {
		used := make([]netip.Addr, 0, len(p.tenants))
		for addr := range p.tenants {
			used = append(used, addr)
		}
		slices.SortFunc(used, netip.Addr.Compare)
		for _, addr := range used {
			a.unshare(p.tenants[addr][0], addr)
			for _, s := range p.tenants[addr] {
				s.held = slices.DeleteFunc(s.held, func(h holding) bool { return h.addr == addr })
				homeless[s] = append(homeless[s], addr)
			}
		}
		return p.deactivate()
	}
	var before *history
	if old != nil && old.active() {
		before = evict(old)
	}

	byAge := make([]*pool, 0, len(a.pools))
	for _, p := range a.pools {
		byAge = append(byAge, p)
	}
	slices.SortFunc(byAge, func(a, b *pool) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.Name, b.Name))
	})
	taken := btree.NewG(16, func(x, y block) bool { return x.From.Less(y.From) })
	var starting []*pool
	for _, p := range byAge {
		p.refused = nil
		if p.flaw == nil {
			p.refused = overlap(p, taken)
		}
		works := p.flaw == nil && p.refused == nil
		switch {
		case works && !p.active():
			starting = append(starting, p)
		case !works && p.active():
			evict(p)
		}
		if works {
			for _, r := range p.ranges {
				taken.ReplaceOrInsert(block{r, p})
			}
		}
		a.touched[p] = struct{}{}
	}
	for _, p := range starting {
		if p == changed {
			p.activate(before)
		} else {
			p.activate(nil)
		}
	}

	a.blocks = a.blocks[:0]
	taken.Ascend(func(b block) bool { a.blocks = append(a.blocks, b); return true })
	a.order = slices.DeleteFunc(byAge, func(p *pool) bool { return !p.active() })
	slices.SortFunc(a.order, func(a, b *pool) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Name, b.Name))
	})

	for _, s := range slices.SortedFunc(maps.Keys(homeless), compareAge) {
		a.keep(s, homeless[s])
		a.wake(s)
	}
	a.each(func(s *service) {
		if s.unmet != nil || s.lacks != nil {
			a.wake(s)
		}
	})
}

// rank orders pools by priority: 0 is the last.
func rank(p *pool) uint64 { return uint64(p.Priority) - 1 }

// overlap says which of the blocks taken the pool has an address in common
// with; nil if none.
func overlap(p *pool, taken *btree.BTreeG[block]) *refusal {
	for _, r := range p.ranges {
		var with *block
		look := func(b block) bool {
			if b.Overlaps(r) {
				with = &b
			}
			return false
		}
		taken.DescendLessOrEqual(block{Range: r}, look)
		if with == nil {
			taken.AscendGreaterOrEqual(block{Range: r}, look)
		}
		if with != nil {
			return refuse(reason.Overlap, "%s overlaps %s of pool %s, which was there before", r, with.Range, with.pool.Name)
		}
	}
	return nil
}
