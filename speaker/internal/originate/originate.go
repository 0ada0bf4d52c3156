// Package originate tells the BGP plan what the API wants announced: addresses,
// advertisements, peers, and what these name.
package originate

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

const (
	defaultHoldTime = 90 * time.Second
	mostPassword    = 80 // TCP_MD5SIG_MAXKEYLEN
)

// Originator is a watch.Listener.
type Originator struct {
	post           func(bgp.Event)
	held           func(netip.Addr) bool
	advertisements []advertisement // by name
	addresses      map[netip.Addr]bgp.Address
	// posted is what was said of the other objects, by kind and name.
	posted map[string]bgp.Event
}

// New returns an Originator that posts events for the plan. Addresses that are held
// back are those for which the node is behind.
func New(post func(bgp.Event), held func(netip.Addr) bool) *Originator {
	return &Originator{post: post, held: held, addresses: map[netip.Addr]bgp.Address{}, posted: map[string]bgp.Event{}}
}

// advertisement is a BGPAdvertisement with its selectors parsed.
type advertisement struct {
	watch.Choice
	name             string
	length, lengthV6 int
}

// Changed implements watch.Listener.
func (o *Originator) Changed(state *watch.State, c watch.Change) {
	if c.Node != "" {
		if node := state.Nodes[c.Node]; node != nil {
			o.post(bgp.SetNode{Name: c.Node, Reason: node.Reason})
		} else {
			o.post(bgp.DeleteNode{Name: c.Node})
		}
	}
	if c.Selection || c.Peering {
		o.objects(state)
		for _, ip := range slices.SortedFunc(state.Addresses(), netip.Addr.Compare) {
			o.update(state, ip)
		}
	}
	if !c.Reported {
		for _, ip := range c.Addresses {
			o.update(state, ip)
		}
	}
}

// objects posts what is said of all objects, as far as it changed. What is
// named comes before who names it.
func (o *Originator) objects(state *watch.State) {
	now := map[string]bgp.Event{}
	var order []string
	say := func(kind, name string, ev bgp.Event) {
		now[kind+"/"+name] = ev
		order = append(order, kind+"/"+name)
	}
	p := &state.Peering
	for _, name := range slices.Sorted(maps.Keys(p.Passwords)) {
		value := p.Passwords[name].Value
		say("secret", name, bgp.SetSecret{Name: name, Password: bgp.Password(value), Invalid: value == "" || len(value) > mostPassword})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Profiles)) {
		say("profile", name, bgp.SetProfile{Name: name, Profile: profile(p.Profiles[name])})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Communities)) {
		aliases := map[string]string{}
		for _, a := range p.Communities[name].Communities {
			aliases[a.Name] = a.Value
		}
		say("communities", name, bgp.SetCommunities{Name: name, Aliases: aliases})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Peers)) {
		say("peer", name, bgp.SetPeer{Peer: newPeer(name, p.Peers[name], state.Nodes)})
	}
	o.advertisements = nil
	for _, name := range slices.Sorted(maps.Keys(p.Advertisements)) {
		adv, ev := newAdvertisement(name, p.Advertisements[name], state)
		o.advertisements = append(o.advertisements, adv)
		say("advertisement", name, ev)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Sessions)) {
		s := p.Sessions[name]
		if s.Node != "" && !ofNamesake(s, p.Peers[s.Peer]) {
			say("session", s.Node+"/"+s.Peer, bgp.SetSession{Node: s.Node, Peer: s.Peer, Up: s.Up, Refused: ofNode(s), Error: s.Error})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(o.posted)) {
		if now[key] == nil {
			o.post(gone(o.posted[key]))
		}
	}
	for _, key := range order {
		if !reflect.DeepEqual(o.posted[key], now[key]) {
			o.post(now[key])
		}
	}
	o.posted = now
}

// ofNamesake says whether a session was to an earlier peer of the same name.
func ofNamesake(s *watch.Session, peer *watch.Peer) bool {
	return peer != nil && s.PeerUID != "" && s.PeerUID != peer.UID
}

// ofNode is why a node, of itself, has no session; empty where it has one, or
// tries.
func ofNode(s *watch.Session) bgp.Refusal {
	if !s.Idle {
		return bgp.Refusal{}
	}
	why, message, _ := strings.Cut(s.Error, ": ")
	switch r := reason.Reason(why); r {
	case reason.VRFNotFound, reason.InterfaceNotFound, reason.NoDefaultGateway:
		return bgp.Refusal{Reason: r, Message: message}
	}
	return bgp.Refusal{}
}

// gone takes back what was said.
func gone(ev bgp.Event) bgp.Event {
	switch ev := ev.(type) {
	case bgp.SetSecret:
		return bgp.DeleteSecret{Name: ev.Name}
	case bgp.SetProfile:
		return bgp.DeleteProfile{Name: ev.Name}
	case bgp.SetCommunities:
		return bgp.DeleteCommunities{Name: ev.Name}
	case bgp.SetPeer:
		return bgp.DeletePeer{Name: ev.Peer.Name}
	case bgp.SetAdvertisement:
		return bgp.DeleteAdvertisement{Name: ev.Advertisement.Name}
	case bgp.SetSession:
		return bgp.SetSession{Node: ev.Node, Peer: ev.Peer}
	}
	panic(fmt.Sprintf("nothing takes back a %T", ev))
}

// update posts what is wanted of an address, if that changed.
func (o *Originator) update(state *watch.State, ip netip.Addr) {
	old, was := o.addresses[ip]
	if len(state.Users(ip)) == 0 {
		if was {
			delete(o.addresses, ip)
			o.post(bgp.DeleteAddress{IP: ip})
		}
		return
	}
	now := o.address(state, ip)
	if was && reflect.DeepEqual(old, now) {
		return
	}
	o.addresses[ip] = now
	o.post(bgp.SetAddress{Address: now})
}

// address unites what is so for the Services that share an address: any of
// their advertisements; some endpoint of any; on the node, of each that wants
// them there.
func (o *Originator) address(state *watch.State, ip netip.Addr) bgp.Address {
	out := bgp.Address{IP: ip, Behind: o.held(ip)}
	out.NoEndpoints, out.Local = state.Served(ip)
	for _, adv := range o.advertisements {
		for _, user := range state.Users(ip) {
			if adv.Covers(state, state.Services[user], ip) {
				out.Advertisements = append(out.Advertisements, adv.name)
				break
			}
		}
	}
	return out
}

// selected are the nodes that selectors select; nil where there are none.
func selected(in []metav1.LabelSelector, nodes map[string]*watch.Node) map[string]bool {
	if len(in) == 0 {
		return nil
	}
	selectors := watch.NewSelectors(in)
	out := map[string]bool{}
	for name, node := range nodes {
		if selectors.Any(node.Labels) {
			out[name] = true
		}
	}
	return out
}

// invalid says which of some lists of selectors cannot be parsed.
func invalid(lists map[string][]metav1.LabelSelector) bgp.Refusal {
	for _, field := range slices.Sorted(maps.Keys(lists)) {
		for i := range lists[field] {
			if _, err := metav1.LabelSelectorAsSelector(&lists[field][i]); err != nil {
				return bgp.Refusal{Reason: reason.InvalidSelector, Message: fmt.Sprintf("%s: %v", field, err)}
			}
		}
	}
	return bgp.Refusal{}
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func newAdvertisement(name string, spec *v1beta1.BGPAdvertisementSpec, state *watch.State) (advertisement, bgp.Event) {
	adv := advertisement{
		name: name, length: int(or(spec.AggregationLength, 32)), lengthV6: int(or(spec.AggregationLengthV6, 128)),
		Choice: watch.Choice{
			Pools: spec.IPAddressPools, PoolSelectors: watch.NewSelectors(spec.IPAddressPoolSelectors),
			Services: watch.NewSelectors(spec.ServiceSelectors),
		},
	}
	ev := bgp.Advertisement{
		Name: name, Nodes: selected(spec.NodeSelectors, state.Nodes), Peers: spec.Peers,
		Length: adv.length, LengthV6: adv.lengthV6, LocalPref: spec.LocalPref, MED: spec.MED, Prepend: int(spec.PrependASPath),
	}
	for _, c := range spec.Communities {
		ev.Communities = append(ev.Communities, string(c))
	}
	ev.Refused = invalid(map[string][]metav1.LabelSelector{
		"ipAddressPoolSelectors": spec.IPAddressPoolSelectors, "nodeSelectors": spec.NodeSelectors, "serviceSelectors": spec.ServiceSelectors,
	})
	if ev.Refused.Reason == "" {
		ev.Refused = adv.tooShort(state)
	}
	return adv, bgp.SetAdvertisement{Advertisement: ev}
}

// tooShort refuses an aggregate that has more in it than a pool that it is
// for: it would attract what is not ours.
func (a *advertisement) tooShort(state *watch.State) bgp.Refusal {
	for _, name := range slices.Sorted(maps.Keys(state.Pools)) {
		pool := state.Pools[name]
		if len(a.Pools)+len(a.PoolSelectors) > 0 && !slices.Contains(a.Pools, name) && !a.PoolSelectors.Any(pool.Labels) {
			continue
		}
		for prefix := range pool.Prefixes() {
			length := a.length
			if !prefix.Addr().Is4() {
				length = a.lengthV6
			}
			if length < prefix.Bits() {
				return bgp.Refusal{
					Reason:  reason.AggregationTooShort,
					Message: fmt.Sprintf("aggregates of %d bits are larger than %s of IPAddressPool %s", length, prefix, name),
				}
			}
		}
	}
	return bgp.Refusal{}
}

func profile(spec *v1beta1.BFDProfileSpec) bfd.Config {
	c := bfd.DefaultConfig()
	milliseconds := func(p *uint32, d *time.Duration) {
		if p != nil {
			*d = time.Duration(*p) * time.Millisecond
		}
	}
	milliseconds(spec.ReceiveInterval, &c.ReceiveInterval)
	milliseconds(spec.TransmitInterval, &c.TransmitInterval)
	milliseconds(spec.EchoInterval, &c.EchoInterval)
	c.DetectMultiplier = uint8(or(spec.DetectMultiplier, uint32(c.DetectMultiplier)))
	c.Echo, c.Passive = or(spec.EchoMode, false), or(spec.PassiveMode, false)
	c.MinimumTTL = uint8(or(spec.MinimumTTL, uint32(c.MinimumTTL)))
	return c
}

func newPeer(name string, spec *watch.Peer, nodes map[string]*watch.Node) bgp.Peer {
	p := bgp.Peer{
		Name: name, UID: string(spec.UID), Nodes: selected(spec.NodeSelectors, nodes),
		Interface: string(spec.Interface), DefaultGateway: spec.DefaultGateway, Port: 179, VRF: string(spec.VRF),
		LocalAS: uint32(spec.MyASN), PeerAS: uint32(spec.PeerASN),
		GracefulRestart: spec.EnableGracefulRestart, MultiHop: spec.EBGPMultiHop, TTLSecurity: spec.TTLSecurity,
		DualStack: spec.DualStackAddressFamily, Password: bgp.Password(spec.Password), Profile: spec.BFDProfile,
		Connect: 10 * time.Second, HoldTime: defaultHoldTime,
	}
	if spec.PeerPort != 0 {
		p.Port = uint16(spec.PeerPort)
	}
	if spec.LocalASN != 0 {
		p.LocalAS = uint32(spec.LocalASN)
	}
	switch spec.DynamicASN {
	case v1beta1.DynamicInternal:
		p.PeerType = bgp.Internal
	case v1beta1.DynamicExternal:
		p.PeerType = bgp.External
	}
	// The API server has seen to it that these are addresses.
	p.Address, _ = netip.ParseAddr(string(spec.PeerAddress))
	p.Address = p.Address.Unmap()
	p.Source, _ = netip.ParseAddr(string(spec.SourceAddress))
	p.Source = p.Source.Unmap()
	p.RouterID, _ = netip.ParseAddr(spec.RouterID)
	if spec.PasswordSecret != nil {
		p.Secret = spec.PasswordSecret.Name
	}
	if spec.ConnectTime != nil {
		p.Connect = spec.ConnectTime.Duration
	}
	switch {
	case spec.HoldTime != nil:
		p.HoldTime = spec.HoldTime.Duration
	case spec.KeepaliveTime != nil:
		p.HoldTime = 3 * spec.KeepaliveTime.Duration
	}
	if spec.KeepaliveTime != nil {
		p.Keepalive = spec.KeepaliveTime.Duration
	}
	p.Refused = invalid(map[string][]metav1.LabelSelector{"nodeSelectors": spec.NodeSelectors})
	return p
}
