package watch

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

// advertisement is an L2Advertisement with its selectors parsed.
type advertisement struct {
	pools         []string
	poolSelectors []labels.Selector
	services      []labels.Selector
	nodes         []labels.Selector
	preferred     []preferred
	interfaces    []string
	failback      bool
	// compiled is for the nodes that there are.
	compiled *election.Advertisement
}

type preferred struct {
	weight int
	nodes  labels.Selector
}

// selectors parses label selectors. One that does not parse selects nothing;
// the API server refuses most of those.
func selectors(in []metav1.LabelSelector) []labels.Selector {
	var out []labels.Selector
	for i := range in {
		s, err := metav1.LabelSelectorAsSelector(&in[i])
		if err != nil {
			s = labels.Nothing()
		}
		out = append(out, s)
	}
	return out
}

func newAdvertisement(o *v1beta1.L2Advertisement) *advertisement {
	a := &advertisement{
		pools: o.Spec.IPAddressPools, poolSelectors: selectors(o.Spec.IPAddressPoolSelectors),
		services: selectors(o.Spec.ServiceSelectors), nodes: selectors(o.Spec.NodeSelectors),
		interfaces: o.Spec.Interfaces, failback: o.Spec.Failback,
	}
	for _, p := range o.Spec.PreferredNodeSelectors {
		a.preferred = append(a.preferred, preferred{int(p.Weight), selectors([]metav1.LabelSelector{p.Preference})[0]})
	}
	return a
}

func anyMatches(s []labels.Selector, l map[string]string) bool {
	return slices.ContainsFunc(s, func(s labels.Selector) bool { return s.Matches(labels.Set(l)) })
}

// compile selects the nodes.
func (a *advertisement) compile(nodes map[string]map[string]string) {
	a.compiled = &election.Advertisement{Nodes: map[string]int{}, Interfaces: a.interfaces, Failback: a.failback}
	for name, l := range nodes {
		if len(a.nodes) > 0 && !anyMatches(a.nodes, l) {
			continue
		}
		weight := 0
		for _, p := range a.preferred {
			if p.nodes.Matches(labels.Set(l)) {
				weight += p.weight
			}
		}
		a.compiled.Nodes[name] = weight
	}
}

// selects says whether the advertisement is for a Service's address from a pool.
func (a *advertisement) selects(pool string, poolLabels, serviceLabels map[string]string) bool {
	if len(a.services) > 0 && !anyMatches(a.services, serviceLabels) {
		return false
	}
	return len(a.pools)+len(a.poolSelectors) == 0 || slices.Contains(a.pools, pool) || anyMatches(a.poolSelectors, poolLabels)
}

// pool is an IPAddressPool, as far as it says which addresses are of it.
type pool struct {
	labels map[string]string
	blocks []block
}

type block struct{ first, last netip.Addr }

func newPool(o *v1beta1.IPAddressPool) *pool {
	p := &pool{labels: o.Labels}
	for _, a := range o.Spec.Addresses {
		if b, ok := parseBlock(string(a)); ok {
			p.blocks = append(p.blocks, b)
		}
	}
	return p
}

func parseBlock(s string) (block, bool) {
	if first, last, ok := strings.Cut(s, "-"); ok {
		a, err1 := netip.ParseAddr(strings.TrimSpace(first))
		b, err2 := netip.ParseAddr(strings.TrimSpace(last))
		return block{a, b}, err1 == nil && err2 == nil
	}
	p, err := netip.ParsePrefix(strings.TrimSpace(s))
	if err != nil {
		return block{}, false
	}
	last := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	b, _ := netip.AddrFromSlice(last)
	return block{p.Masked().Addr(), b}, true
}

func (p *pool) contains(ip netip.Addr) bool {
	return slices.ContainsFunc(p.blocks, func(b block) bool {
		return ip.BitLen() == b.first.BitLen() && b.first.Compare(ip) <= 0 && ip.Compare(b.last) <= 0
	})
}

// nodeReason says why the API's view of a node keeps it from announcing.
func nodeReason(n *corev1.Node, ignoreExclude bool) reason.Reason {
	if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded && !ignoreExclude {
		return reason.NodeExcluded
	}
	ready, unavailable := false, false
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			ready = c.Status == corev1.ConditionTrue
		case corev1.NodeNetworkUnavailable:
			unavailable = c.Status == corev1.ConditionTrue
		}
	}
	outOfService := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
	switch {
	case !ready || outOfService:
		return reason.NodeNotReady
	case unavailable:
		return reason.NetworkUnavailable
	}
	return ""
}

func sameAddress(a, b election.Address) bool {
	return slices.Equal(a.Advertisements, b.Advertisements) && a.NoEndpoints == b.NoEndpoints &&
		(a.Local == nil) == (b.Local == nil) && maps.Equal(a.Local, b.Local)
}
