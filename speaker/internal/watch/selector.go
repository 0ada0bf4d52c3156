package watch

import (
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

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
func (s Selectors) Any(l map[string]string) bool {
	return slices.ContainsFunc(s, func(s labels.Selector) bool { return s.Matches(labels.Set(l)) })
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
	if !c.Services.AnyOrNone(s.Labels) {
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
