package bgp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// Planner is the state of one node's plan. It is not safe for concurrent use.
type Planner struct {
	node           string
	nodes          map[string]reason.Reason
	peers          map[string]Peer
	advertisements map[string]*advertisement
	communities    map[string]map[string]string // aliases by object
	profiles       map[string]bfd.Config
	secrets        map[string]SetSecret
	addresses      map[netip.Addr]*address
	within         map[netip.Prefix]map[netip.Addr]bool // addresses of a prefix
	sessions       map[session]SetSession
	proxyDown      bool
	draining, gone bool

	states   map[string]PeerState                    // peers of this node
	paths    map[string]map[netip.Prefix]*Attributes // of each usable peer
	conflict map[netip.Prefix]map[string]bool        // advertisements whose LocalPref another overrules
	same     map[string]*Attributes                  // by canonical form
	dirty    map[netip.Prefix]bool
	changed  map[change]bool
	touched  map[netip.Addr]bool
	judged   bool // States, PeerStates and Advertisements may differ
}

type session struct{ node, peer string }

type change struct {
	peer   string
	prefix netip.Prefix
}

// address is an Address and the prefixes it is announced in.
type address struct {
	Address
	prefixes []netip.Prefix
}

// advertisement is an Advertisement with its words understood.
type advertisement struct {
	Advertisement
	communities communities
	refused     Refusal
}

// Change is a path of a peer that is other than before; Attributes are nil
// where it is to be withdrawn.
type Change struct {
	Peer       string
	Prefix     netip.Prefix
	Attributes *Attributes
}

// PeerState is a peer that selects this node. One that is Refused gets no
// session.
type PeerState struct {
	Peer
	// Password is resolved.
	Password Password
	// Profile is the BFD profile; nil: no BFD.
	Profile *bfd.Config
	Refused Refusal
}

// New returns the Planner of a node.
func New(node string) *Planner {
	return &Planner{
		node: node, nodes: map[string]reason.Reason{}, peers: map[string]Peer{}, advertisements: map[string]*advertisement{},
		communities: map[string]map[string]string{}, profiles: map[string]bfd.Config{}, secrets: map[string]SetSecret{},
		addresses: map[netip.Addr]*address{}, within: map[netip.Prefix]map[netip.Addr]bool{}, sessions: map[session]SetSession{},
		states: map[string]PeerState{}, paths: map[string]map[netip.Prefix]*Attributes{}, conflict: map[netip.Prefix]map[string]bool{},
		same: map[string]*Attributes{}, dirty: map[netip.Prefix]bool{}, changed: map[change]bool{}, touched: map[netip.Addr]bool{},
	}
}

// Step takes an event.
func (p *Planner) Step(ev Event) {
	switch ev := ev.(type) {
	case SetNode:
		if old, known := p.nodes[ev.Name]; !known || old != ev.Reason {
			p.nodes[ev.Name] = ev.Reason
			p.judged = p.judged || !known
			p.everything()
		}
	case DeleteNode:
		delete(p.nodes, ev.Name)
		p.judged = true
		p.everything()
	case SetProxy:
		if p.proxyDown != ev.Down {
			p.proxyDown = ev.Down
			p.everything()
		}
	case SetPeer:
		p.peers[ev.Peer.Name] = ev.Peer
		p.resolvePeers()
	case DeletePeer:
		delete(p.peers, ev.Name)
		p.resolvePeers()
	case SetProfile:
		p.profiles[ev.Name] = ev.Profile
		p.resolvePeers()
	case DeleteProfile:
		delete(p.profiles, ev.Name)
		p.resolvePeers()
	case SetSecret:
		p.secrets[ev.Name] = ev
		p.resolvePeers()
	case DeleteSecret:
		delete(p.secrets, ev.Name)
		p.resolvePeers()
	case SetAdvertisement:
		p.advertisements[ev.Advertisement.Name] = &advertisement{Advertisement: ev.Advertisement}
		p.resolve(ev.Advertisement.Name)
	case DeleteAdvertisement:
		delete(p.advertisements, ev.Name)
		p.replace(ev.Name)
		p.judged = true
	case SetCommunities:
		p.communities[ev.Name] = ev.Aliases
		p.resolveAll()
	case DeleteCommunities:
		delete(p.communities, ev.Name)
		p.resolveAll()
	case SetAddress:
		a := p.addresses[ev.Address.IP]
		if a == nil {
			a = &address{}
			p.addresses[ev.Address.IP] = a
		}
		a.Address = ev.Address
		p.place(a)
	case DeleteAddress:
		if a := p.addresses[ev.IP]; a != nil {
			delete(p.addresses, ev.IP)
			a.Advertisements = nil
			p.place(a)
		}
	case SetSession:
		key := session{ev.Node, ev.Peer}
		if old := p.sessions[key]; old.Up != ev.Up {
			for ip := range p.addresses {
				p.touched[ip] = true
			}
		} else if old == ev {
			break
		}
		p.judged = true
		if delete(p.sessions, key); ev != (SetSession{Node: ev.Node, Peer: ev.Peer}) {
			p.sessions[key] = ev
		}
	case Drain:
		p.draining = true
		p.everything()
	case Withdraw:
		p.gone = true
		p.everything()
	}
	p.update()
}

// Changes returns the paths that changed since the last call, each once, by
// peer and prefix.
func (p *Planner) Changes() []Change {
	out := make([]Change, 0, len(p.changed))
	for c := range p.changed {
		if paths, ok := p.paths[c.peer]; ok {
			out = append(out, Change{c.peer, c.prefix, paths[c.prefix]})
		}
	}
	clear(p.changed)
	slices.SortFunc(out, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), a.Prefix.Compare(b.Prefix))
	})
	return out
}

// Touched returns the addresses whose Explain or Peers may differ since the
// last call, in order.
func (p *Planner) Touched() []netip.Addr {
	out := slices.SortedFunc(maps.Keys(p.touched), netip.Addr.Compare)
	clear(p.touched)
	return out
}

// Judged reports whether States, PeerStates or Advertisements may differ since
// the last call, other than by LocalPrefConflict, which comes with an address of
// Touched.
func (p *Planner) Judged() bool {
	judged := p.judged
	p.judged = false
	return judged
}

// States returns the peers that select this node, by name.
func (p *Planner) States() []PeerState {
	return slices.SortedFunc(maps.Values(p.states), func(a, b PeerState) int { return cmp.Compare(a.Name, b.Name) })
}

// Paths calls f with every path of a peer, in no order.
func (p *Planner) Paths(peer string, f func(netip.Prefix, *Attributes)) {
	for prefix, a := range p.paths[peer] {
		f(prefix, a)
	}
}

// Peers lists the peers of this node that are to be told of an address, in
// order.
func (p *Planner) Peers(ip netip.Addr) []string {
	a := p.addresses[ip]
	if a == nil || p.gone || !p.announces(&a.Address, p.node) {
		return nil
	}
	var out []string
	for name, state := range p.states {
		if state.Refused.Reason != "" {
			continue
		}
		for _, adv := range p.usable(&a.Address, p.node) {
			if adv.to(name) && state.carries(adv.prefix(ip)) {
				out = append(out, name)
				break
			}
		}
	}
	slices.Sort(out)
	return out
}

// place has an address counted in the prefixes that it is announced in now.
func (p *Planner) place(a *address) {
	for _, prefix := range a.prefixes {
		delete(p.within[prefix], a.IP)
		if len(p.within[prefix]) == 0 {
			delete(p.within, prefix)
		}
		p.dirty[prefix] = true
	}
	a.prefixes = nil
	for _, name := range a.Advertisements {
		adv := p.advertisements[name]
		if adv == nil {
			continue
		}
		prefix := adv.prefix(a.IP)
		if slices.Contains(a.prefixes, prefix) {
			continue
		}
		a.prefixes = append(a.prefixes, prefix)
		if p.within[prefix] == nil {
			p.within[prefix] = map[netip.Addr]bool{}
		}
		p.within[prefix][a.IP] = true
		p.dirty[prefix] = true
	}
	p.touched[a.IP] = true
}

// replace places the addresses of an advertisement again.
func (p *Planner) replace(advertisement string) {
	for _, a := range p.addresses {
		if slices.Contains(a.Advertisements, advertisement) {
			p.place(a)
		}
	}
}

// everything has every prefix planned again.
func (p *Planner) everything() {
	clear(p.same)
	for _, of := range p.paths {
		for _, a := range of {
			p.same[a.String()] = a
		}
	}
	for prefix := range p.within {
		p.dirty[prefix] = true
	}
	for ip := range p.addresses {
		p.touched[ip] = true
	}
}

// update plans the prefixes that may have changed.
func (p *Planner) update() {
	for prefix := range p.dirty {
		p.plan(prefix)
	}
	clear(p.dirty)
}

// plan decides what each peer shall know of a prefix.
func (p *Planner) plan(prefix netip.Prefix) {
	var by []*advertisement
	if !p.gone {
		most := p.advertising(prefix)
		for ip := range p.within[prefix] {
			if len(by) == most {
				break // further addresses of an aggregate add nothing
			}
			a := &p.addresses[ip].Address
			if !p.announces(a, p.node) {
				continue
			}
			for _, adv := range p.usable(a, p.node) {
				if adv.prefix(ip) == prefix && !slices.Contains(by, adv) {
					by = append(by, adv)
				}
			}
		}
		slices.SortFunc(by, func(a, b *advertisement) int { return cmp.Compare(a.Name, b.Name) })
	}
	delete(p.conflict, prefix)
	for name, paths := range p.paths {
		state := p.states[name]
		var want *Attributes
		if state.carries(prefix) {
			want = p.attributes(prefix, by, name)
		}
		if have := paths[prefix]; have == want {
			continue
		}
		if want == nil {
			delete(paths, prefix)
		} else {
			paths[prefix] = want
		}
		p.changed[change{name, prefix}] = true
	}
}

// advertising counts the advertisements that may announce a prefix.
func (p *Planner) advertising(prefix netip.Prefix) int {
	n := 0
	for _, adv := range p.advertisements {
		if adv.prefix(prefix.Addr()) == prefix {
			n++
		}
	}
	return n
}

// attributes unites the advertisements of a prefix for one peer; nil where
// there is none.
func (p *Planner) attributes(prefix netip.Prefix, by []*advertisement, peer string) *Attributes {
	var a *Attributes
	var c communities
	for _, adv := range by {
		if !adv.to(peer) {
			continue
		}
		preference := cmp.Or(adv.LocalPref, DefaultLocalPref)
		if a == nil {
			a = &Attributes{LocalPref: preference, Prepend: adv.Prepend}
			if adv.MED != nil {
				a.MED, a.HasMED = *adv.MED, true
			}
		} else {
			if preference != a.LocalPref {
				if p.conflict[prefix] == nil {
					p.conflict[prefix] = map[string]bool{}
				}
				p.conflict[prefix][adv.Name] = true
			}
			a.Prepend = min(a.Prepend, adv.Prepend)
			if adv.MED != nil && (!a.HasMED || *adv.MED < a.MED) {
				a.MED, a.HasMED = *adv.MED, true
			}
		}
		c.unite(adv.communities)
	}
	if a == nil {
		return nil
	}
	if p.draining { // RFC 8326 section 4.1
		c.standard = append(c.standard, GracefulShutdown)
		a.LocalPref = 0
	}
	a.Communities, a.Large = c.sorted()
	key := a.String()
	if same := p.same[key]; same != nil {
		return same
	}
	p.same[key] = a
	return a
}

// to says whether the advertisement is for a peer.
func (a *advertisement) to(peer string) bool {
	return len(a.Peers) == 0 || slices.Contains(a.Peers, peer)
}

// prefix is what an address is announced in.
func (a *advertisement) prefix(ip netip.Addr) netip.Prefix {
	bits := a.Length
	if !ip.Is4() {
		bits = a.LengthV6
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.PrefixFrom(ip, ip.BitLen())
	}
	return prefix
}
