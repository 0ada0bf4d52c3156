package bgp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Attributes are what a path carries beside its prefix and next hop. Equal
// Attributes that a Planner hands out are one pointer; they are never changed.
type Attributes struct {
	// LocalPref is sent to peers of the own autonomous system only (RFC 4271
	// section 5.1.5).
	LocalPref uint32
	// MED is sent where HasMED.
	MED    uint32
	HasMED bool
	// Prepend is how often the own number is in the AS path once more.
	Prepend int
	// Communities and Large are in order, without repetition.
	Communities []Community
	Large       []LargeCommunity
}

// DefaultLocalPref is of paths for which no advertisement says another.
const DefaultLocalPref = 100

// String is the canonical form: equal Attributes have equal strings.
func (a *Attributes) String() string {
	parts := []string{"local-pref " + strconv.FormatUint(uint64(a.LocalPref), 10)}
	if a.HasMED {
		parts = append(parts, "med "+strconv.FormatUint(uint64(a.MED), 10))
	}
	if a.Prepend > 0 {
		parts = append(parts, "prepend "+strconv.Itoa(a.Prepend))
	}
	if len(a.Communities)+len(a.Large) > 0 {
		text := make([]string, 0, len(a.Communities)+len(a.Large))
		for _, c := range a.Communities {
			text = append(text, c.String())
		}
		for _, c := range a.Large {
			text = append(text, c.String())
		}
		parts = append(parts, strings.Join(text, " "))
	}
	return strings.Join(parts, ", ")
}

// Community is a community of RFC 1997.
type Community uint32

// GracefulShutdown asks the neighbours to prefer any other path (RFC 8326).
const GracefulShutdown Community = 0xffff0000

// wellKnown are the names that advertisements may use without a Community
// object that defines them.
var wellKnown = map[string]Community{
	"graceful-shutdown":   GracefulShutdown, // RFC 8326
	"blackhole":           0xffff029a,       // RFC 7999
	"no-export":           0xffffff01,       // RFC 1997
	"no-advertise":        0xffffff02,
	"no-export-subconfed": 0xffffff03,
	"no-peer":             0xffffff04, // RFC 3765
}

func (c Community) String() string { return fmt.Sprintf("%d:%d", uint32(c)>>16, uint32(c)&0xffff) }

// LargeCommunity is a community of RFC 8092.
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

func (c LargeCommunity) String() string {
	return fmt.Sprintf("large:%d:%d:%d", c.Global, c.Local1, c.Local2)
}

func (c LargeCommunity) compare(o LargeCommunity) int {
	return slices.Compare([]uint32{c.Global, c.Local1, c.Local2}, []uint32{o.Global, o.Local1, o.Local2})
}

// communities are what the advertisement's words stand for.
type communities struct {
	standard []Community
	large    []LargeCommunity
}

// parse adds the community that word stands for: "1:2", "large:1:2:3" or a
// well-known name. It reports whether word is one of these.
func (c *communities) parse(word string) bool {
	if known, ok := wellKnown[word]; ok {
		c.standard = append(c.standard, known)
		return true
	}
	if rest, ok := strings.CutPrefix(word, "large:"); ok {
		n, ok := numbers(rest, 3, 32)
		if ok {
			c.large = append(c.large, LargeCommunity{n[0], n[1], n[2]})
		}
		return ok
	}
	n, ok := numbers(word, 2, 16)
	if ok {
		c.standard = append(c.standard, Community(n[0]<<16|n[1]))
	}
	return ok
}

// numbers splits text at its colons into count numbers of so many bits.
func numbers(text string, count, bits int) ([]uint32, bool) {
	words := strings.Split(text, ":")
	if len(words) != count {
		return nil, false
	}
	out := make([]uint32, 0, count)
	for _, w := range words {
		n, err := strconv.ParseUint(w, 10, bits)
		if err != nil {
			return nil, false
		}
		out = append(out, uint32(n))
	}
	return out, true
}

// unite adds what o has.
func (c *communities) unite(o communities) {
	c.standard = append(c.standard, o.standard...)
	c.large = append(c.large, o.large...)
}

// sorted orders both lists and leaves out repetitions.
func (c *communities) sorted() ([]Community, []LargeCommunity) {
	slices.Sort(c.standard)
	slices.SortFunc(c.large, LargeCommunity.compare)
	return slices.Compact(c.standard), slices.Compact(c.large)
}
