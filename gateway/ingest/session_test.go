package ingest

import (
	"math"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Whatever the shares have in common, no address is twice, and each weighs what
// its parts of them weigh.
func TestSharesBecomeDisjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := make([]ir.EndpointShare, rapid.IntRange(1, 4).Draw(t, "shares"))
		want := map[netip.AddrPort]float64{}
		total := 0.0
		for i := range shares {
			shares[i].Weight = rapid.SampledFrom([]uint32{0, 1, 3, 100, 1_000_000}).Draw(t, "weight")
			for _, last := range rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 0, 6, rapid.ID).Draw(t, "addresses") {
				a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(last)}), 80)
				shares[i].Addresses = append(shares[i].Addresses, a)
			}
			for _, a := range shares[i].Addresses {
				want[a] += float64(shares[i].Weight) / float64(len(shares[i].Addresses))
				total += float64(shares[i].Weight) / float64(len(shares[i].Addresses))
			}
		}
		seen := map[netip.AddrPort]bool{}
		for _, s := range disjoint(shares) {
			if len(s.Addresses) == 0 && (total > 0 || len(want) == 0) {
				t.Fatalf("a share has no addresses: %v", s)
			}
			for _, a := range s.Addresses {
				if seen[a] {
					t.Fatalf("%s is there twice", a)
				}
				seen[a] = true
				if got := float64(s.Weight) / float64(len(s.Addresses)); math.Abs(got-finer*want[a]) > 1 || (got == 0) != (want[a] == 0) {
					t.Fatalf("%s weighs %v, want %v", a, got, finer*want[a])
				}
			}
		}
		if len(seen) != len(want) {
			t.Fatalf("there are %d addresses, want %d", len(seen), len(want))
		}
	})
}
