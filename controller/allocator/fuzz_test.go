package allocator

import (
	"math/big"
	"slices"
	"strings"
	"testing"
)

// FuzzParseBlocks checks that what is read is sorted, disjoint, of one family
// per range, without what is excluded, and counted right.
func FuzzParseBlocks(f *testing.F) {
	f.Add("10.0.0.0/24,fd00::/64", "10.0.0.7,10.0.0.0/30")
	f.Add("10.0.0.5-10.0.0.1", "")
	f.Add("10.0.0.0/33,1.2.3.4-::1", "0.0.0.0/0")
	f.Add("255.255.255.255/32,ffff::/16", "ffff:ffff::/32")
	f.Fuzz(func(t *testing.T, blocks, exclude string) {
		split := func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }
		rs, err := ParseBlocks(split(blocks), split(exclude))
		if err != nil {
			return
		}
		for i, r := range rs {
			if !r.From.IsValid() || r.From.BitLen() != r.To.BitLen() || r.To.Less(r.From) {
				t.Errorf("%v is no range", r)
			}
			if i > 0 && (r.From.Less(rs[i-1].From) || r.Overlaps(rs[i-1])) {
				t.Errorf("%v after %v", r, rs[i-1])
			}
			for _, text := range split(exclude) {
				if x, _ := ParseBlock(text); x.Overlaps(r) {
					t.Errorf("%v has excluded %v", r, x)
				}
			}
			if n := r.size(false); n.Sign() <= 0 || n.Cmp(r.size(true)) < 0 {
				t.Errorf("%v has %v addresses, %v without the buggy ones", r, n, r.size(true))
			}
			if trimmed, some := r.trim(); some != (r.size(true).Sign() > 0) {
				t.Errorf("%v trimmed is %v, %t", r, trimmed, some)
			}
			if r.size(false).Cmp(big.NewInt(600)) <= 0 {
				n := int64(0)
				for a := r.From; !r.To.Less(a) && a.IsValid(); a = a.Next() {
					if !buggy(a) {
						n++
					}
				}
				if r.size(true).Int64() != n {
					t.Errorf("%v: %v addresses that are not buggy, counted %d", r, r.size(true), n)
				}
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
