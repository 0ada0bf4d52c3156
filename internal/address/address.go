// Package address reads addresses, and the blocks of addresses that pools are
// made of.
package address

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Range is an inclusive range of addresses of one family, From <= To.
type Range struct{ From, To netip.Addr }

func (r Range) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// Contains says whether a is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.BitLen() == r.From.BitLen() && !a.Less(r.From) && !r.To.Less(a)
}

// Overlaps says whether the ranges have an address in common.
func (r Range) Overlaps(o Range) bool {
	return r.From.BitLen() == o.From.BitLen() && !r.To.Less(o.From) && !o.To.Less(r.From)
}

// Parse reads one IPv4 or IPv6 address, without zone; an IPv4 address
// in IPv6 notation is refused, since it would hide which family is meant.
func Parse(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", text)
	case a.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q has a zone", text)
	case a.Is4In6():
		return netip.Addr{}, fmt.Errorf("%q is an IPv4 address in IPv6 notation; write %s", text, a.Unmap())
	}
	return a, nil
}

// ParseBlock reads a CIDR prefix ("10.0.0.0/24") or an inclusive range
// ("10.0.0.1-10.0.0.9"). The whole of a family (/0) is refused.
func ParseBlock(text string) (Range, error) {
	r, err := parseBlock(text)
	if err != nil {
		return Range{}, err
	}
	if !r.From.Prev().IsValid() && !r.To.Next().IsValid() {
		return Range{}, fmt.Errorf("%q is every address there is", text)
	}
	return r, nil
}

func parseBlock(text string) (Range, error) {
	if from, to, isRange := strings.Cut(text, "-"); isRange {
		a, err := Parse(from)
		if err != nil {
			return Range{}, fmt.Errorf("range %q: %w", text, err)
		}
		b, err := Parse(to)
		if err != nil {
			return Range{}, fmt.Errorf("range %q: %w", text, err)
		}
		if a.BitLen() != b.BitLen() {
			return Range{}, fmt.Errorf("range %q mixes IPv4 and IPv6", text)
		}
		if b.Less(a) {
			return Range{}, fmt.Errorf("range %q ends before it starts", text)
		}
		return Range{a, b}, nil
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return Range{}, fmt.Errorf("%q is neither a CIDR prefix nor a range", text)
	}
	if p.Addr().Is4In6() {
		return Range{}, fmt.Errorf("%q is an IPv4 prefix in IPv6 notation", text)
	}
	return Range{p.Masked().Addr(), lastOf(p)}, nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		switch host := (i+1)*8 - p.Bits(); {
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= 1<<host - 1
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ParseBlocks reads the blocks of a pool, and takes the excluded ones out of
// them. The result is sorted and disjoint. Every error found is in the answer;
// blocks that overlap one another are one, and so is a pool of which nothing is
// left.
func ParseBlocks(blocks, exclude []string) ([]Range, error) {
	var errs []error
	parse := func(texts []string) []Range {
		var rs []Range
		for _, text := range texts {
			r, err := ParseBlock(text)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			rs = append(rs, r)
		}
		slices.SortFunc(rs, func(a, b Range) int { return a.From.Compare(b.From) })
		return rs
	}
	in := parse(blocks)
	for i := 1; i < len(in); i++ {
		if in[i].Overlaps(in[i-1]) {
			errs = append(errs, fmt.Errorf("%s and %s overlap", in[i-1], in[i]))
		}
	}
	out := parse(exclude)
	if len(in) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("there are no addresses"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	left := subtract(in, out)
	if len(left) == 0 {
		return nil, errors.New("all addresses are excluded")
	}
	return left, nil
}

// subtract takes out (sorted, overlaps allowed) from in (sorted, disjoint).
func subtract(in, out []Range) []Range {
	var left []Range
	for _, r := range in {
		rest := true
		for _, x := range out {
			if !x.Overlaps(r) {
				continue
			}
			if r.From.Less(x.From) {
				left = append(left, Range{r.From, x.From.Prev()})
			}
			if rest = x.To.Less(r.To); !rest {
				break
			}
			r.From = x.To.Next()
		}
		if rest {
			left = append(left, r)
		}
	}
	return left
}
