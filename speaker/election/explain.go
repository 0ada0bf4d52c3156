package election

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Verdict says who answers for an address and why nobody else does.
type Verdict struct {
	IP netip.Addr
	// Owner is empty where nobody answers.
	Owner string
	// Reason is Announced, or why nobody answers, or AddressConflict.
	Reason reason.Reason
	// Writer is the one node that writes the verdict down.
	Writer string
	// Nodes are all nodes but the owner, by name.
	Nodes []NodeVerdict
}

// NodeVerdict is why a node was not chosen; NotOwner where it only was not the
// first.
type NodeVerdict struct {
	Node   string
	Reason reason.Reason
}

// Explain returns the verdict of an address, and whether it is known.
func (e *Election) Explain(ip netip.Addr) (Verdict, bool) {
	a := e.addresses[ip]
	if a == nil {
		return Verdict{}, false
	}
	v := Verdict{IP: ip, Owner: e.owner(a), Reason: reason.Announced, Writer: e.Writer()}
	if holder := e.ownerOf(a.claim); holder != "" {
		v.Writer = holder
	}
	if a.foreign {
		v.Reason = reason.AddressConflict
	} else if v.Owner == "" {
		v.Reason = e.unannounced(a)
	}
	for _, node := range e.names() {
		if node == v.Owner {
			continue
		}
		r := e.reason(&a.Address, node)
		switch {
		case r != "":
		case node == e.self && a.Behind:
			r = reason.ProxyBehind
		default:
			r = reason.NotOwner
		}
		v.Nodes = append(v.Nodes, NodeVerdict{node, r})
	}
	return v, true
}

// names are the nodes of the API and the members, in order.
func (e *Election) names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(e.nodes)), maps.Keys(e.members))
	slices.Sort(names)
	return slices.Compact(names)
}

// Writer is the lowest live member that takes part: it writes what no owner
// writes.
func (e *Election) Writer() string {
	writer := ""
	for node := range e.members {
		if _, told := e.states[node]; told && (writer == "" || node < writer) {
			writer = node
		}
	}
	return writer
}

// unannounced says why nobody answers. Nodes that no advertisement selects, or
// that run no speaker, do not hide what all the others have in common.
func (e *Election) unannounced(a *address) reason.Reason {
	switch {
	case a.foreign || a.claim.Phase == Deferred && a.claim.To == "" && e.live(a.claim):
		return reason.AddressConflict
	case len(a.Advertisements) == 0:
		return reason.NoAdvertisement
	case a.NoEndpoints:
		return reason.NoEndpoints
	case a.Local != nil && len(a.Local) == 0:
		return reason.NoLocalEndpoint
	case a.Behind && e.ownerOf(a.claim) == e.self:
		return reason.ProxyBehind
	}
	for _, n := range e.ableNodes() {
		if e.reason(&a.Address, n.node) == "" {
			return reason.NoEligibleNode // it has not claimed it yet
		}
	}
	var common reason.Reason
	for node := range e.nodes {
		r := e.reason(&a.Address, node)
		switch {
		case r == reason.SelectorMismatch || r == reason.SpeakerDown:
		case common == "" || common == r:
			common = r
		default:
			return reason.NoEligibleNode
		}
	}
	switch common {
	case reason.NodeExcluded:
		return reason.AllNodesExcluded
	case reason.NoLocalEndpoint, reason.NoSubnet:
		return common
	}
	return reason.NoEligibleNode
}
