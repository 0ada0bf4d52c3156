package bgp

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// resolvePeers decides which peers this node keeps a session to. Whatever is
// wrong with one leaves the others as they are.
func (p *Planner) resolvePeers() {
	p.states = p.peersOf(p.node)
	p.judged = true
	for name := range p.paths {
		if state, ok := p.states[name]; !ok || state.Refused.Reason != "" {
			delete(p.paths, name)
		}
	}
	for name, state := range p.states {
		if state.Refused.Reason == "" && p.paths[name] == nil {
			p.paths[name] = map[netip.Prefix]*Attributes{}
		}
	}
	p.everything()
}

// peersOf are the peers that select a node.
func (p *Planner) peersOf(node string) map[string]PeerState {
	states := map[string]PeerState{}
	first := map[string]string{} // where: the peer that is there
	for _, name := range slices.Sorted(maps.Keys(p.peers)) {
		state := p.usablePeer(name)
		if state.Nodes != nil && !state.Nodes[node] {
			continue
		}
		if other, taken := first[state.where()]; taken && state.Refused.Reason == "" {
			state.Refused = refusal(reason.DuplicatePeer, "BGPPeer %s has the same %s", other, state.where())
		}
		if state.Refused.Reason == "" {
			first[state.where()] = name
		}
		states[name] = state
	}
	return states
}

// usablePeer resolves what a peer names, which is the same on every node.
func (p *Planner) usablePeer(name string) PeerState {
	peer := p.peers[name]
	state := PeerState{Peer: peer, Password: peer.Password, Refused: peer.Refused}
	if peer.Secret != "" {
		secret, found := p.secrets[peer.Secret]
		state.Password = secret.Password
		switch {
		case state.Refused.Reason != "":
		case !found:
			state.Refused = refusal(reason.SecretNotFound, "there is no Secret %s of type kubernetes.io/basic-auth", peer.Secret)
		case secret.Invalid:
			state.Refused = refusal(reason.SecretInvalid, "Secret %s has no password, or one of more than 80 bytes", peer.Secret)
		}
	}
	if peer.Profile != "" {
		if profile, found := p.profiles[peer.Profile]; found {
			state.Profile = &profile
		} else if state.Refused.Reason == "" {
			state.Refused = refusal(reason.BFDProfileNotFound, "there is no BFDProfile %s", peer.Profile)
		}
	}
	return state
}

// ObjectState is what is to be said of an object in the whole cluster.
type ObjectState struct {
	Name    string
	Refused Refusal
}

// PeerStates returns the state of all peers, by name: whether they can be used
// on every node that they select, and have a session on one.
func (p *Planner) PeerStates() []ObjectState {
	of := map[string]map[string]PeerState{} // by node
	for node := range p.nodes {
		of[node] = p.peersOf(node)
	}
	var out []ObjectState
	for _, name := range slices.Sorted(maps.Keys(p.peers)) {
		s := ObjectState{Name: name, Refused: p.usablePeer(name).Refused}
		var nodes []string // that refuse it for the reason of the first
		for _, node := range slices.Sorted(maps.Keys(of)) {
			state, selects := of[node][name]
			refused := state.Refused
			if selects && refused.Reason == "" {
				refused = p.sessions[session{node, name}].Refused
			}
			if s.Refused.Reason == "" {
				s.Refused = refused
			}
			if refused.Reason != "" && refused == s.Refused {
				nodes = append(nodes, node)
			}
		}
		if s.Refused.Reason != "" && p.usablePeer(name).Refused.Reason == "" {
			s.Refused.Message = strings.Join(nodes, ", ") + ": " + s.Refused.Message
		}
		if s.Refused.Reason == "" {
			s.Refused = p.sessionless(name, slices.DeleteFunc(slices.Sorted(maps.Keys(of)), func(node string) bool {
				_, selects := of[node][name]
				return !selects
			}))
		}
		out = append(out, s)
	}
	return out
}

// sessionless says why a peer has no session on any of the nodes, as soon as one
// of them knows, in the words of the first.
func (p *Planner) sessionless(peer string, nodes []string) Refusal {
	var say []string
	var why string
	for _, node := range nodes {
		s := p.sessions[session{node, peer}]
		if s.Up {
			return Refusal{}
		}
		if why == "" {
			why = s.Error
		}
		if why != "" && s.Error == why {
			say = append(say, node)
		}
	}
	if why == "" {
		return Refusal{}
	}
	return refusal(reason.NoSession, "%s: %s", strings.Join(say, ", "), why)
}

// Advertisements returns the state of all advertisements, by name.
func (p *Planner) Advertisements() []ObjectState {
	overruled := map[string]bool{}
	for _, names := range p.conflict {
		for name := range names {
			overruled[name] = true
		}
	}
	var out []ObjectState
	for _, name := range slices.Sorted(maps.Keys(p.advertisements)) {
		adv := p.advertisements[name]
		s := ObjectState{Name: name, Refused: adv.refused}
		if s.Refused.Reason == "" {
			for _, peer := range adv.Peers {
				if _, found := p.peers[peer]; !found {
					s.Refused = refusal(reason.PeerNotFound, "there is no BGPPeer %s", peer)
					break
				}
			}
		}
		if s.Refused.Reason == "" && overruled[name] {
			s.Refused = refusal(reason.LocalPrefConflict, "another BGPAdvertisement, first by name, gives a prefix another localPref")
		}
		out = append(out, s)
	}
	return out
}
