package peering

import (
	"net"
	"net/netip"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// BFD watches the path to peers. Its methods may wait for it.
type BFD interface {
	// Set begins a session, or changes its configuration without disturbing it.
	Set(bfd.Path, bfd.Config) error
	// Remove ends a session.
	Remove(bfd.Path)
}

// BFDChanged takes what BFD says. It does not block.
func (p *Peering) BFDChanged(c bfd.Change) {
	p.enqueue(func() {
		for _, n := range p.neighbors {
			n.bfdChanged(c)
		}
	})
}

var bfdStates = map[bfd.State]v1beta1.BFDState{
	bfd.AdminDown: v1beta1.BFDDown, bfd.Down: v1beta1.BFDDown, bfd.Init: v1beta1.BFDInit, bfd.Up: v1beta1.BFDUp,
}

// bfdChanged ends the BGP session where the path is down (RFC 5882 section
// 4.3). That the peer took its BFD down on purpose says nothing of the path
// (section 3.2).
func (n *neighbor) bfdChanged(c bfd.Change) {
	n.mu.Lock()
	ours := n.watched == c.Path
	current := n.current
	n.mu.Unlock()
	if !ours {
		return
	}
	n.set(func(s *State) { s.BFD = bfdStates[c.To] })
	if c.From == bfd.Up && c.To == bfd.Down && c.Remote != bfd.AdminDown && current != nil {
		n.log.Info("BFD is down", "diagnostic", c.Diag)
		current.end(bfdDown)
	}
}

// watch has BFD watch the path of a session that is up. It goes on when the
// session ends: that the path is there again is of interest, too.
func (n *neighbor) watch(e ends) {
	n.mu.Lock()
	profile := n.profile
	n.mu.Unlock()
	if n.p.BFD == nil || profile == nil {
		return
	}
	path := bfd.Path{Remote: e.remote.WithZone(""), Local: e.local.WithZone(""), VRF: n.peer.VRF, Multihop: n.peer.MultiHop}
	if e.remote.Zone() != "" {
		path.Interface = e.remote.Zone()
	}
	n.mu.Lock()
	before := n.watched
	n.watched = path
	n.mu.Unlock()
	if before != path {
		n.forget(before)
		n.set(func(s *State) { s.BFD = v1beta1.BFDDown })
	}
	if err := n.p.BFD.Set(path, *profile); err != nil {
		n.log.Error("BFD cannot watch the peer", "error", err)
	}
}

// forget ends watching a path.
func (n *neighbor) forget(path bfd.Path) {
	if n.p.BFD != nil && path != (bfd.Path{}) {
		n.p.BFD.Remove(path)
	}
}

// unwatch ends watching by BFD.
func (n *neighbor) unwatch() {
	n.mu.Lock()
	path := n.watched
	n.watched = bfd.Path{}
	n.mu.Unlock()
	n.forget(path)
}

// ends of a connection.
type ends struct{ local, remote netip.Addr }

func endsOf(conn net.Conn) ends {
	return ends{conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(), conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()}
}
