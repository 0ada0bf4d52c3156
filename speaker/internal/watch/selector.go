package watch

import (
	"maps"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Labels are the labels of a Service, as pairs of key and value in the order of
// the keys: a map would be four times as large, at thousands of Services.
type Labels []string

// NewLabels returns the labels of a map.
func NewLabels(m map[string]string) Labels {
	l := make(Labels, 0, 2*len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		l = append(l, k, m[k])
	}
	return l
}

// Lookup implements labels.Labels.
func (l Labels) Lookup(key string) (value string, exists bool) {
	for i := 0; i < len(l); i += 2 {
		if l[i] == key {
			return l[i+1], true
		}
	}
	return "", false
}

// Has implements labels.Labels.
func (l Labels) Has(key string) bool {
	_, ok := l.Lookup(key)
	return ok
}

// Get implements labels.Labels.
func (l Labels) Get(key string) string {
	value, _ := l.Lookup(key)
	return value
}

// Selectors are the label selectors of a list of an advertisement.
type Selectors []labels.Selector

// NewSelectors parses label selectors. One that does not parse selects nothing;
// the API server refuses most of those.
func NewSelectors(in []metav1.LabelSelector) Selectors {
	var out Selectors
	for i := range in {
		s, err := metav1.LabelSelectorAsSelector(&in[i])
		if err != nil {
			s = labels.Nothing()
		}
		out = append(out, s)
	}
	return out
}

// Any reports whether one of the selectors selects the labels.
func (s Selectors) Any(l map[string]string) bool { return s.any(labels.Set(l)) }

func (s Selectors) any(l labels.Labels) bool {
	return slices.ContainsFunc(s, func(s labels.Selector) bool { return s.Matches(l) })
}

// AnyOrNone is Any where there are selectors, and true where there are none.
func (s Selectors) AnyOrNone(l map[string]string) bool { return len(s) == 0 || s.Any(l) }

// Choice is what an advertisement of either protocol is for: Services with
// addresses of some pools.
type Choice struct {
	Pools         []string
	PoolSelectors Selectors
	Services      Selectors
}

// Covers reports whether the choice is for an address of a Service.
func (c *Choice) Covers(state *State, s *Service, ip netip.Addr) bool {
	if len(c.Services) > 0 && !c.Services.any(s.Labels) {
		return false
	}
	if len(c.Pools)+len(c.PoolSelectors) == 0 {
		return true
	}
	for _, name := range s.Pools {
		p := state.Pools[name]
		var poolLabels map[string]string
		if p != nil {
			if len(s.Pools) > 1 && !p.Contains(ip) {
				continue
			}
			poolLabels = p.Labels
		}
		if slices.Contains(c.Pools, name) || c.PoolSelectors.Any(poolLabels) {
			return true
		}
	}
	return false
}
