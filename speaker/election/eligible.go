package election

import (
	"net/netip"
	"path"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// MAC is a hardware address of six bytes.
type MAC [6]byte

// Interface is a network interface that can announce: up, with a carrier.
type Interface struct {
	Name string
	MAC  MAC
	// Prefixes are the subnets on it.
	Prefixes []netip.Prefix
}

// NodeState is what a node alone knows of itself, and tells the others. The
// greatest Run counts, and in it the greatest Version.
type NodeState struct {
	Node string
	// Run numbers the starts of the node's speaker, with gaps.
	Run        uint64
	Version    uint64
	Draining   bool
	ProxyDown  bool
	Interfaces []Interface
}

func (s NodeState) newerThan(o NodeState) bool {
	return s.Run > o.Run || s.Run == o.Run && s.Version > o.Version
}

func (s NodeState) sameAs(o NodeState) bool {
	return s.Draining == o.Draining && s.ProxyDown == o.ProxyDown &&
		slices.EqualFunc(s.Interfaces, o.Interfaces, func(a, b Interface) bool {
			return a.Name == b.Name && a.MAC == b.MAC && slices.Equal(a.Prefixes, b.Prefixes)
		})
}

// Advertisement is an L2Advertisement as an address sees it. Addresses share
// Advertisements; one is never changed after it was handed over.
type Advertisement struct {
	// Nodes are the nodes it selects, with the sum of their preferences.
	Nodes map[string]int
	// Interfaces are names and globs. Empty: those whose subnet contains the
	// address.
	Interfaces []string
	// Failback lets a preferred node take addresses back.
	Failback bool
}

// Address is an address to announce.
type Address struct {
	IP netip.Addr
	// Advertisements that name it. Without any it is not announced.
	Advertisements []*Advertisement
	// Local are the nodes with an endpoint, where only those may announce
	// (externalTrafficPolicy Local); nil where any node may.
	Local map[string]bool
	// NoEndpoints says that there is nobody to serve it, on any node.
	NoEndpoints bool
	// Behind says that the address is new, and that this node's service proxy does
	// not know it yet: until then, this node answers for it not at all, and takes
	// it from nobody.
	Behind bool
}

func (a *Address) failback() bool {
	return slices.ContainsFunc(a.Advertisements, func(v *Advertisement) bool { return v.Failback })
}

// place returns the greatest sum of weights by which a node is selected, and
// whether the node has an interface on which the address can be announced.
func (a *Address) place(node string, on []Interface) (preference int, usable bool) {
	for _, v := range a.Advertisements {
		weight, selected := v.Nodes[node]
		if !selected {
			continue
		}
		preference = max(preference, weight)
		for i := 0; i < len(on) && !usable; i++ {
			usable = v.covers(&on[i], a.IP)
		}
	}
	return preference, usable
}

// preference is that of place.
func (a *Address) preference(node string) int {
	preference, _ := a.place(node, nil)
	return preference
}

// interfaces of a node that can announce the address, in the node's order.
func (a *Address) interfaces(node string, on []Interface, yield func(string) bool) {
	for i := range on {
		for _, v := range a.Advertisements {
			if _, selected := v.Nodes[node]; selected && v.covers(&on[i], a.IP) {
				if !yield(on[i].Name) {
					return
				}
				break
			}
		}
	}
}

func (v *Advertisement) covers(on *Interface, ip netip.Addr) bool {
	if len(v.Interfaces) == 0 {
		return slices.ContainsFunc(on.Prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	return slices.ContainsFunc(v.Interfaces, func(glob string) bool {
		matched, err := path.Match(glob, on.Name)
		return err == nil && matched
	})
}

// reason says why a node may not announce an address; it is empty where it may.
func (e *Election) reason(a *Address, node string) reason.Reason {
	switch {
	case a.NoEndpoints:
		return reason.NoEndpoints
	case !a.selects(node):
		return reason.SelectorMismatch
	}
	if r := e.nodeReason(node); r != "" {
		return r
	}
	return a.placeReason(node, e.states[node].Interfaces)
}

func (a *Address) selects(node string) bool {
	return slices.ContainsFunc(a.Advertisements, func(v *Advertisement) bool { _, ok := v.Nodes[node]; return ok })
}

// placeReason says why a selected node is not where the address is.
func (a *Address) placeReason(node string, on []Interface) reason.Reason {
	usable := false
	a.interfaces(node, on, func(string) bool { usable = true; return false })
	switch {
	case !usable:
		return reason.NoSubnet
	case a.Local != nil && !a.Local[node]:
		return reason.NoLocalEndpoint
	}
	return ""
}

// nodeReason says why a node may announce no address at all.
func (e *Election) nodeReason(node string) reason.Reason {
	api, known := e.nodes[node]
	if known && api == reason.NodeExcluded {
		return api
	}
	state, told := e.states[node]
	switch _, live := e.members[node]; {
	case !known || !live || !told:
		return reason.SpeakerDown
	case api != "":
		return api
	case state.Draining:
		return reason.NodeDraining
	case state.ProxyDown:
		return reason.ProxyUnhealthy
	}
	return ""
}

// soft reasons prefer another node, but a holder that nobody can replace keeps
// answering: to stop would only do harm, as when the control plane is away and
// every node looks not ready.
func soft(r reason.Reason) bool {
	switch r {
	case reason.NodeNotReady, reason.NetworkUnavailable, reason.NodeDraining, reason.ProxyUnhealthy:
		return true
	}
	return false
}

// mayStay says whether a node that holds an address may go on, at least as long
// as nobody else takes it.
func (e *Election) mayStay(a *address, node string) bool {
	r := e.reason(&a.Address, node)
	return r == "" || soft(r) && a.placeReason(node, e.states[node].Interfaces) == ""
}

// lacks says whether some interface is not among those.
func lacks(those, some []Interface) bool {
	return slices.ContainsFunc(some, func(i Interface) bool {
		return !slices.ContainsFunc(those, func(j Interface) bool { return i.Name == j.Name })
	})
}
