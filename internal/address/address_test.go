package address

import (
	"slices"
	"strings"
	"testing"
)

func TestParseBlocks(t *testing.T) {
	for _, c := range []struct {
		blocks, exclude string
		want            string // the ranges, or part of what is said
	}{
		{"10.0.0.7/30", "", "10.0.0.4-10.0.0.7"},
		{"10.0.0.1 - 10.0.0.3,fd00::/126", "", "10.0.0.1-10.0.0.3 fd00::-fd00::3"},
		{"10.0.0.9/32,10.0.0.1/32", "", "10.0.0.1 10.0.0.9"},
		{"10.0.0.0/29", "10.0.0.0/31,10.0.0.4/32,10.0.0.4-10.0.0.5,10.0.0.7-10.0.0.20", "10.0.0.2-10.0.0.3 10.0.0.6"},
		{"255.255.255.254/31", "255.255.255.255/32", "255.255.255.254"},
		{"fd00::/64", "10.0.0.0/8", "fd00::-fd00::ffff:ffff:ffff:ffff"},
		{"10.0.0.0/24", "10.0.0.0/8", "all addresses are excluded"},
		{"10.0.0.0/24,10.0.0.9-10.0.0.10", "", "10.0.0.0-10.0.0.255 and 10.0.0.9-10.0.0.10 overlap"},
		{"", "", "there are no addresses"},
		{"0.0.0.0/0", "", `"0.0.0.0/0" is every address there is`},
		{"::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "is every address there is"},
		{"10.0.0.5-10.0.0.1", "", "ends before it starts"},
		{"10.0.0.1-fd00::1", "", "mixes IPv4 and IPv6"},
		{"10.0.0.1", "", `"10.0.0.1" is neither a CIDR prefix nor a range`},
		{"10.0.0.1-", "", `"" is not an IP address`},
		{"fe80::1%eth0-fe80::2%eth0", "", "has a zone"},
		{"::ffff:10.0.0.0/120", "", "is an IPv4 prefix in IPv6 notation"},
		{"10.0.0.0/33,nonsense", "0.0.0.0/0", `"nonsense" is neither`},
	} {
		rs, err := ParseBlocks(split(c.blocks), split(c.exclude))
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s without %s: %v", c.blocks, c.exclude, err)
			}
			continue
		}
		var got []string
		for _, r := range rs {
			got = append(got, r.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s without %s: %v, want %s", c.blocks, c.exclude, got, c.want)
		}
	}
}

func split(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }

// FuzzParseBlocks checks that what is read is sorted, disjoint, of one family
// per range, without what is excluded, and reads the same when it is written
// out again.
func FuzzParseBlocks(f *testing.F) {
	f.Add("10.0.0.0/24,fd00::/64", "10.0.0.7-10.0.0.7,10.0.0.0/30")
	f.Add("10.0.0.5-10.0.0.1", "")
	f.Add("10.0.0.0/33,1.2.3.4-::1", "0.0.0.0/0")
	f.Add("255.255.255.255/32,ffff::/16", "ffff:ffff::/32")
	f.Fuzz(func(t *testing.T, blocks, exclude string) {
		rs, err := ParseBlocks(split(blocks), split(exclude))
		if err != nil {
			return
		}
		for i, r := range rs {
			if !r.From.IsValid() || r.From.BitLen() != r.To.BitLen() || r.To.Less(r.From) {
				t.Errorf("%v is no range", r)
			}
			if !r.Contains(r.From) || !r.Contains(r.To) || r.Contains(r.From.Prev()) || r.Contains(r.To.Next()) {
				t.Errorf("%v does not know its ends", r)
			}
			if i > 0 && (r.From.Less(rs[i-1].From) || r.Overlaps(rs[i-1])) {
				t.Errorf("%v after %v", r, rs[i-1])
			}
			for _, text := range split(exclude) {
				if x, _ := ParseBlock(text); x.Overlaps(r) {
					t.Errorf("%v has excluded %v", r, x)
				}
			}
		}
		var texts []string
		for _, r := range rs {
			texts = append(texts, r.From.String()+"-"+r.To.String())
		}
		if again, err := ParseBlocks(texts, nil); err != nil || !slices.Equal(again, rs) {
			t.Errorf("%v reads as %v, %v", rs, again, err)
		}
	})
}
