package allocator

import (
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/internal/address"
)

// FuzzCount checks that what pools have is counted right, with the addresses
// that avoidBuggyIPs leaves out and without.
func FuzzCount(f *testing.F) {
	f.Add("10.0.0.0/24")
	f.Add("10.0.0.255-10.0.1.0")
	f.Add("0.0.0.0/1")
	f.Add("255.255.255.255/32")
	f.Add("ffff::/16")
	f.Fuzz(func(t *testing.T, block string) {
		r, err := address.ParseBlock(block)
		if err != nil {
			return
		}
		if n := size(r, false); n.Sign() <= 0 || n.Cmp(size(r, true)) < 0 {
			t.Errorf("%v has %v addresses, %v without the buggy ones", r, n, size(r, true))
		}
		if trimmed, some := trim(r); some != (size(r, true).Sign() > 0) {
			t.Errorf("%v trimmed is %v, %t", r, trimmed, some)
		}
		if size(r, false).Cmp(big.NewInt(600)) <= 0 {
			n := int64(0)
			for a := r.From; !r.To.Less(a) && a.IsValid(); a = a.Next() {
				if !buggy(a) {
					n++
				}
			}
			if size(r, true).Int64() != n {
				t.Errorf("%v: %v addresses that are not buggy, counted %d", r, size(r, true), n)
			}
		}
	})
}

// FuzzParseRequest checks that what is read is valid, without duplicates, and
// reads the same when it is written out again.
func FuzzParseRequest(f *testing.F) {
	f.Add("10.0.0.1, fd00::1", "")
	f.Add("10.0.0.1", "10.0.0.2")
	f.Add("", "fe80::1%eth0")
	f.Add("::ffff:1.2.3.4,,", " ")
	f.Fuzz(func(t *testing.T, annotation, field string) {
		addrs, err := ParseRequest(annotation, field)
		if err != nil {
			return
		}
		var texts []string
		for i, a := range addrs {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() || slices.Contains(addrs[:i], a) {
				t.Errorf("%q, %q: %v", annotation, field, addrs)
			}
			texts = append(texts, a.String())
		}
		again, err := ParseRequest(strings.Join(texts, ","), "")
		if err != nil || !slices.Equal(again, addrs) {
			t.Errorf("%v reads as %v, %v", addrs, again, err)
		}
	})
}
