package allocator

import (
	"encoding/binary"
	"math/big"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/address"
)

// Family is an address family.
type Family uint8

// The families, in the order in which they are reported.
const (
	IPv4 Family = iota
	IPv6
	families
)

func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// FamilyOf is the family of a valid address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// search finds the range of rs (sorted, disjoint) that contains a.
func search(rs []address.Range, a netip.Addr) (int, bool) {
	i, exact := slices.BinarySearchFunc(rs, a, func(r address.Range, a netip.Addr) int { return r.From.Compare(a) })
	if exact {
		return i, true
	}
	return i - 1, i > 0 && rs[i-1].Contains(a)
}

// buggy says whether a is an IPv4 address that ends in .0 or .255.
func buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// trim cuts r's ends to addresses that are not buggy; false where none is
// left. Of three neighbours at least one is not, so this takes at most two
// steps on each end.
func trim(r address.Range) (address.Range, bool) {
	for buggy(r.From) && r.From.Less(r.To) {
		r.From = r.From.Next()
	}
	for buggy(r.To) && r.From.Less(r.To) {
		r.To = r.To.Prev()
	}
	return r, !buggy(r.From)
}

// size counts the addresses of r, without the buggy ones where avoidBuggy.
func size(r address.Range, avoidBuggy bool) *big.Int {
	from, to := r.From.As16(), r.To.As16()
	n := new(big.Int).SetBytes(to[:])
	n.Sub(n, new(big.Int).SetBytes(from[:])).Add(n, big.NewInt(1))
	if avoidBuggy && r.From.Is4() {
		below := func(n uint64) int64 { return int64(n/256*2 + min(n%256, 1)) }
		a4, b4 := r.From.As4(), r.To.As4()
		a, b := uint64(binary.BigEndian.Uint32(a4[:])), uint64(binary.BigEndian.Uint32(b4[:]))
		n.Sub(n, big.NewInt(below(b+1)-below(a)))
	}
	return n
}
