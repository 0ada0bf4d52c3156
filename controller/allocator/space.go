package allocator

import (
	"container/list"
	"math/big"
	"net/netip"

	"github.com/google/btree"
	"github.com/porchlight-lb/porchlight/internal/address"
)

// longestHistory is how many released addresses a space remembers in order. An
// address released longer ago is treated as never used, but comes after all
// that really never were, because those are given in ascending order and the
// search goes on from the last one given. The limit keeps a pool that lives
// for years, with Services that come and go, at a bounded size.
const longestHistory = 1 << 16

// space is the free part of one family of a pool.
type space struct {
	avoidBuggy bool
	total      *big.Int // addresses that can be given, free or not

	// fresh holds the addresses never used, as disjoint ranges by From; where
	// avoidBuggy, no range starts or ends with a buggy address.
	fresh *btree.BTreeG[*address.Range]
	// cursor is where the search in fresh goes on: behind the last one that
	// was offered, and taken.
	cursor, offered netip.Addr
	// released holds the others, the longest free first; at finds them.
	released *list.List
	at       map[netip.Addr]*list.Element
}

// newSpace is a space in which all addresses of the ranges (sorted, disjoint,
// one family) are free.
func newSpace(ranges []address.Range, avoidBuggy bool) *space {
	s := &space{
		avoidBuggy: avoidBuggy,
		total:      new(big.Int),
		fresh:      btree.NewG(16, func(a, b *address.Range) bool { return a.From.Less(b.From) }),
		released:   list.New(),
		at:         map[netip.Addr]*list.Element{},
	}
	for _, r := range ranges {
		s.total.Add(s.total, size(r, avoidBuggy))
		s.addFresh(r)
	}
	return s
}

func (s *space) addFresh(r address.Range) {
	if s.avoidBuggy {
		var some bool
		if r, some = trim(r); !some {
			return
		}
	}
	s.fresh.ReplaceOrInsert(&r)
}

// empty says whether no address is free.
func (s *space) empty() bool { return s.fresh.Len() == 0 && s.released.Len() == 0 }

// next is the address to give next; false where the space is empty.
func (s *space) next() (netip.Addr, bool) {
	if s.fresh.Len() == 0 {
		if e := s.released.Front(); e != nil {
			return e.Value.(netip.Addr), true
		}
		return netip.Addr{}, false
	}
	s.offered = s.nextFresh()
	return s.offered, true
}

// nextFresh is the first fresh address from the cursor on, or the first of
// all.
func (s *space) nextFresh() netip.Addr {
	if s.cursor.IsValid() {
		if r, ok := s.freshAt(s.cursor); ok {
			a := s.cursor
			for s.avoidBuggy && buggy(a) && a.Less(r.To) {
				a = a.Next()
			}
			return a
		}
		var after *address.Range
		s.fresh.AscendGreaterOrEqual(&address.Range{From: s.cursor}, func(r *address.Range) bool { after = r; return false })
		if after != nil {
			return after.From
		}
	}
	first, _ := s.fresh.Min()
	return first.From
}

// freshAt is the fresh range that contains a.
func (s *space) freshAt(a netip.Addr) (found *address.Range, ok bool) {
	s.fresh.DescendLessOrEqual(&address.Range{From: a}, func(r *address.Range) bool { found = r; return false })
	return found, found != nil && found.Contains(a)
}

// take removes a from the space; false where it is not free.
func (s *space) take(a netip.Addr) bool {
	if e, ok := s.at[a]; ok {
		s.released.Remove(e)
		delete(s.at, a)
		return true
	}
	if s.avoidBuggy && buggy(a) {
		return false
	}
	r, ok := s.freshAt(a)
	if !ok {
		return false
	}
	if a == s.offered {
		s.cursor = a.Next() // not valid after the last address: start over
	}
	rest := address.Range{From: a.Next(), To: r.To}
	if r.From == a {
		// What is left keeps its place in the tree.
		left, some := rest, a.Less(r.To)
		if some && s.avoidBuggy {
			left, some = trim(rest)
		}
		if some {
			*r = left
		} else {
			s.fresh.Delete(r)
		}
		return true
	}
	r.To = a.Prev()
	if s.avoidBuggy {
		*r, _ = trim(*r) // From is not buggy, and is left
	}
	if rest.From.IsValid() && !rest.To.Less(rest.From) {
		s.addFresh(rest)
	}
	return true
}

// put gives a, which was taken, back as the one released last.
func (s *space) put(a netip.Addr) {
	s.at[a] = s.released.PushBack(a)
	if s.released.Len() > longestHistory {
		oldest := s.released.Remove(s.released.Front()).(netip.Addr)
		delete(s.at, oldest)
		s.merge(oldest)
	}
}

// merge adds a to fresh, as one with the ranges it touches.
func (s *space) merge(a netip.Addr) {
	r := address.Range{From: a, To: a}
	if before := a.Prev(); before.IsValid() {
		if left, ok := s.freshAt(before); ok {
			s.fresh.Delete(left)
			r.From = left.From
		}
	}
	if after := a.Next(); after.IsValid() {
		if right, ok := s.fresh.Get(&address.Range{From: after}); ok {
			s.fresh.Delete(right)
			r.To = right.To
		}
	}
	s.fresh.ReplaceOrInsert(&r)
}
