package bgp

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// usable are the advertisements by which a node may announce an address.
func (p *Planner) usable(a *Address, node string) []*advertisement {
	var out []*advertisement
	for _, name := range a.Advertisements {
		adv := p.advertisements[name]
		if adv != nil && adv.refused.Reason == "" && (adv.Nodes == nil || adv.Nodes[node]) {
			out = append(out, adv)
		}
	}
	return out
}

// announces says whether a node is to announce an address. What speaks against
// a node softly counts only where another one can: to withdraw the last path
// would only do harm, as when the control plane is away and every node looks
// not ready.
func (p *Planner) announces(a *Address, node string) bool {
	r := p.reason(a, node)
	if r == "" {
		return true
	}
	if !soft(r) {
		return false
	}
	for other := range p.nodes {
		if other != node && p.reason(a, other) == "" {
			return false
		}
	}
	return true
}

// reason says why a node should not announce an address; it is empty where it
// should.
func (p *Planner) reason(a *Address, node string) reason.Reason {
	r, known := p.nodes[node]
	switch {
	case a.NoEndpoints:
		return reason.NoEndpoints
	case len(p.usable(a, node)) == 0:
		return reason.SelectorMismatch
	case !known:
		return reason.SpeakerDown
	case r == reason.NodeExcluded:
		return r
	case a.Local != nil && !a.Local[node]:
		return reason.NoLocalEndpoint
	case node == p.node && a.Behind:
		return reason.ProxyBehind
	case r != "":
		return r
	case node == p.node && p.proxyDown:
		return reason.ProxyUnhealthy
	}
	return ""
}

func soft(r reason.Reason) bool {
	switch r {
	case reason.NodeNotReady, reason.NetworkUnavailable, reason.ProxyUnhealthy:
		return true
	}
	return false
}

// Verdict says whether an address is announced to any peer by any node, and
// why not.
type Verdict struct {
	// Advertised says that a usable advertisement selects the address.
	Advertised bool
	// Reason is Announced, or why no node announces the address.
	Reason reason.Reason
}

// Explain returns the verdict of an address, and whether it is known.
func (p *Planner) Explain(ip netip.Addr) (Verdict, bool) {
	a := p.addresses[ip]
	if a == nil {
		return Verdict{}, false
	}
	v := Verdict{Reason: reason.NoAdvertisement}
	for _, name := range a.Advertisements {
		if adv := p.advertisements[name]; adv != nil && adv.refused.Reason == "" {
			v.Advertised = true
		}
	}
	if !v.Advertised {
		return v, true
	}
	if a.NoEndpoints {
		v.Reason = reason.NoEndpoints
		return v, true
	}
	reasons := map[reason.Reason]bool{}
	for node := range p.nodes {
		if !p.announces(&a.Address, node) {
			if r := p.reason(&a.Address, node); r != reason.SelectorMismatch {
				reasons[r] = true
			}
			continue
		}
		if p.told(&a.Address, node) {
			v.Reason = reason.Announced
			return v, true
		}
		reasons[reason.NoSession] = true
	}
	switch {
	case reasons[reason.NoSession]:
		v.Reason = reason.NoSession
	case len(reasons) == 1 && reasons[reason.NodeExcluded]:
		v.Reason = reason.AllNodesExcluded
	case len(reasons) == 1 && reasons[reason.NoLocalEndpoint]:
		v.Reason = reason.NoLocalEndpoint
	case len(reasons) == 1 && reasons[reason.ProxyBehind]:
		v.Reason = reason.ProxyBehind
	default:
		v.Reason = reason.NoEligibleNode
	}
	return v, true
}

// told says whether a node has a session up over which it announces an
// address.
func (p *Planner) told(a *Address, node string) bool {
	for name, peer := range p.peers {
		if !p.sessions[session{node, name}].Up {
			continue
		}
		for _, adv := range p.usable(a, node) {
			if adv.to(name) && peer.carries(adv.prefix(a.IP)) {
				return true
			}
		}
	}
	return false
}

// resolveAll understands the words of all advertisements again.
func (p *Planner) resolveAll() {
	for name := range p.advertisements {
		p.resolve(name)
	}
}

// resolve understands the words of an advertisement. One with a community that
// nobody knows is not announced at all: without it, a route might go where the
// community was to keep it from going.
func (p *Planner) resolve(name string) {
	adv := p.advertisements[name]
	adv.refused = adv.Refused
	adv.communities = communities{}
	for _, word := range adv.Communities {
		if value, ok := p.alias(word); ok {
			word = value
		}
		if !adv.communities.parse(word) && adv.refused.Reason == "" {
			adv.refused = refusal(reason.CommunityNotFound, "no Community gives %q, and it is not one by itself", word)
		}
	}
	p.judged = true
	p.replace(name)
}

// alias looks a name up in the Communities, of which the first by name counts.
func (p *Planner) alias(word string) (string, bool) {
	for _, object := range slices.Sorted(maps.Keys(p.communities)) {
		if value, ok := p.communities[object][word]; ok {
			return value, true
		}
	}
	return "", false
}
