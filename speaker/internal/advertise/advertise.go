// Package advertise tells the election what the API wants announced on layer 2:
// which addresses there are, from which nodes, and how the nodes are.
package advertise

import (
	"maps"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

// Advertiser is a watch.Listener.
type Advertiser struct {
	post           func(election.Event)
	held           func(netip.Addr) bool
	advertisements []*advertisement // by name
	posted         map[netip.Addr]election.Address
}

// New returns an Advertiser that posts events for the election. Addresses that are
// held back are those for which the node is behind.
func New(post func(election.Event), held func(netip.Addr) bool) *Advertiser {
	return &Advertiser{post: post, held: held, posted: map[netip.Addr]election.Address{}}
}

// advertisement is an L2Advertisement with its selectors parsed, and its nodes
// selected.
type advertisement struct {
	watch.Choice
	selected *election.Advertisement
}

func newAdvertisement(spec *v1beta1.L2AdvertisementSpec, nodes map[string]*watch.Node) *advertisement {
	a := &advertisement{
		Choice: watch.Choice{
			Pools: spec.IPAddressPools, PoolSelectors: watch.NewSelectors(spec.IPAddressPoolSelectors),
			Services: watch.NewSelectors(spec.ServiceSelectors),
		},
		selected: &election.Advertisement{Nodes: map[string]int{}, Interfaces: spec.Interfaces, Failback: spec.Failback},
	}
	preferred := make([]watch.Selectors, len(spec.PreferredNodeSelectors))
	for i, p := range spec.PreferredNodeSelectors {
		preferred[i] = watch.NewSelectors([]metav1.LabelSelector{p.Preference})
	}
	from := watch.NewSelectors(spec.NodeSelectors)
	for name, node := range nodes {
		if !from.AnyOrNone(node.Labels) {
			continue
		}
		weight := 0
		for i, p := range preferred {
			if p.Any(node.Labels) {
				weight += int(spec.PreferredNodeSelectors[i].Weight)
			}
		}
		a.selected.Nodes[name] = weight
	}
	return a
}

// Changed implements watch.Listener.
func (a *Advertiser) Changed(state *watch.State, c watch.Change) {
	if c.Node != "" {
		if node := state.Nodes[c.Node]; node != nil {
			a.post(election.SetNode{Name: c.Node, Reason: node.Reason})
		} else {
			a.post(election.DeleteNode{Name: c.Node})
		}
	}
	if c.Selection {
		a.advertisements = nil
		for _, name := range slices.Sorted(maps.Keys(state.L2Advertisements)) {
			a.advertisements = append(a.advertisements, newAdvertisement(state.L2Advertisements[name], state.Nodes))
		}
		for _, ip := range slices.SortedFunc(state.Addresses(), netip.Addr.Compare) {
			a.update(state, ip)
		}
	}
	if !c.Reported {
		for _, ip := range c.Addresses {
			a.update(state, ip)
		}
	}
}

// update posts what is wanted of an address, if that changed.
func (a *Advertiser) update(state *watch.State, ip netip.Addr) {
	old, was := a.posted[ip]
	if len(state.Users(ip)) == 0 {
		if was {
			delete(a.posted, ip)
			a.post(election.DeleteAddress{IP: ip})
		}
		return
	}
	now := a.address(state, ip)
	if was && same(old, now) {
		return
	}
	a.posted[ip] = now
	a.post(election.SetAddress{Address: now})
}

// address unites what is so for the Services that share an address: any of
// their advertisements; some endpoint of any; on the node, of each that wants
// them there.
func (a *Advertiser) address(state *watch.State, ip netip.Addr) election.Address {
	out := election.Address{IP: ip, Behind: a.held(ip)}
	out.NoEndpoints, out.Local = state.Served(ip)
	users := state.Users(ip)
	for _, adv := range a.advertisements {
		for _, user := range users {
			if adv.Covers(state, state.Services[user], ip) {
				out.Advertisements = append(out.Advertisements, adv.selected)
				break
			}
		}
	}
	return out
}

func same(a, b election.Address) bool {
	return slices.Equal(a.Advertisements, b.Advertisements) && a.NoEndpoints == b.NoEndpoints && a.Behind == b.Behind &&
		(a.Local == nil) == (b.Local == nil) && maps.Equal(a.Local, b.Local)
}
