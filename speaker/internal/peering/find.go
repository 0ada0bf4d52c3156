package peering

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/bgp/session"
)

// target is where a peer is.
type target struct {
	address netip.Addr // with its zone, if it is link-local
	device  string     // to bind to; empty: none
}

// finder finds a peer anew at each attempt.
type finder struct {
	peer bgp.PeerState
	link *link // of an unnumbered peer
}

func newFinder(n *neighbor) *finder {
	f := &finder{peer: n.peer}
	if n.peer.Interface != "" {
		f.link = newLink(n.log, n.peer.Interface)
	}
	return f
}

func (f *finder) close() {
	if f.link != nil {
		f.link.close()
	}
}

// changed is written to when it is worth looking again at once.
func (f *finder) changed() <-chan struct{} {
	if f.link != nil {
		return f.link.changed
	}
	return nil
}

func (f *finder) find(context.Context) (target, error) {
	switch {
	case f.link != nil:
		return f.link.find()
	case f.peer.DefaultGateway:
		return gateway(f.peer)
	}
	t := target{address: f.peer.Address, device: f.peer.VRF}
	if t.device != "" {
		if _, err := vrfTable(t.device); err != nil {
			return target{}, err
		}
	}
	return t, nil
}

// vrfTable is the routing table of a VRF.
func vrfTable(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0, refused(reason.VRFNotFound, "there is no VRF %s on this node: %v", name, err)
	}
	vrf, ok := l.(*netlink.Vrf)
	if !ok {
		return 0, refused(reason.VRFNotFound, "%s is not a VRF but of type %s", name, l.Type())
	}
	return int(vrf.Table), nil
}

// gateway is the next hop of the node's default route: of the source address's
// family, or IPv4 first.
func gateway(peer bgp.PeerState) (target, error) {
	table := unix.RT_TABLE_MAIN
	if peer.VRF != "" {
		var err error
		if table, err = vrfTable(peer.VRF); err != nil {
			return target{}, err
		}
	}
	families := []int{netlink.FAMILY_V4, netlink.FAMILY_V6}
	if peer.Source.IsValid() && peer.Source.Is4() {
		families = families[:1]
	} else if peer.Source.IsValid() {
		families = families[1:]
	}
	for _, family := range families {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return target{}, fmt.Errorf("listing routes: %w", err)
		}
		best := -1
		for i, r := range routes {
			whole := r.Dst == nil || r.Dst.IP.IsUnspecified() && isZero(r.Dst.Mask)
			if whole && hop(r) != nil && (best < 0 || r.Priority < routes[best].Priority) {
				best = i
			}
		}
		if best < 0 {
			continue
		}
		address, _ := netip.AddrFromSlice(hop(routes[best]))
		t := target{address: address.Unmap(), device: peer.VRF}
		if t.address.Is6() && t.address.IsLinkLocalUnicast() {
			i, err := net.InterfaceByIndex(routes[best].LinkIndex)
			if err != nil {
				return target{}, fmt.Errorf("interface of the default route: %w", err)
			}
			t.address = t.address.WithZone(i.Name)
		}
		return t, nil
	}
	return target{}, refused(reason.NoDefaultGateway, "this node has no default route with a gateway")
}

func isZero(m net.IPMask) bool {
	ones, _ := m.Size()
	return ones == 0
}

// hop is the route's gateway, the first of several.
func hop(r netlink.Route) net.IP {
	if r.Gw != nil {
		return r.Gw
	}
	for _, n := range r.MultiPath {
		if n.Gw != nil {
			return n.Gw
		}
	}
	return nil
}

// config is what a session on a connection is made with.
func (n *neighbor) config(conn *net.TCPConn, target target) (session.Config, error) {
	local := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	c := session.Config{
		LocalAS: n.peer.LocalAS, PeerAS: n.peer.PeerAS, PeerType: session.PeerType(n.peer.PeerType),
		RouterID: n.peer.RouterID, HoldTime: n.peer.HoldTime, Keepalive: n.peer.Keepalive, Restarting: n.resumes,
	}
	if !c.RouterID.IsValid() {
		c.RouterID = n.p.RouterID
	}
	if n.peer.GracefulRestart {
		c.RestartTime = restartTime
	}
	ipv4, ipv6 := n.peer.Families()
	if n.peer.DefaultGateway && !n.peer.DualStack {
		ipv4, ipv6 = local.Is4(), !local.Is4()
	}
	if ipv4 {
		c.Families = append(c.Families, session.IPv4)
	}
	if ipv6 {
		c.Families = append(c.Families, session.IPv6)
	}
	var err error
	c.NextHop, err = nextHop(local)
	return c, err
}

// nextHop are the addresses that a peer can reach, which reaches this one: it,
// and one of the other family on the same interface.
func nextHop(local netip.Addr) (session.NextHop, error) {
	hop := session.NextHop{}
	switch {
	case local.Is4():
		hop.IPv4 = local
	case local.IsLinkLocalUnicast():
		hop.LinkLocal = local.WithZone("")
	default:
		hop.IPv6 = local.WithZone("")
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return hop, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it is gone
		}
		var all []netip.Addr
		has := i.Name == local.Zone()
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, p.Addr().Unmap())
				has = has || p.Addr().Unmap() == local.WithZone("") && local.Zone() == ""
			}
		}
		if !has {
			continue
		}
		for _, a := range all {
			switch {
			case !a.IsGlobalUnicast():
			case a.Is4() && !hop.IPv4.IsValid():
				hop.IPv4 = a
			case a.Is6() && !hop.IPv6.IsValid():
				hop.IPv6 = a
			}
		}
	}
	return hop, nil
}

// RouterID is the identifier of a node: its IPv4 address, or a number made of
// its name.
func RouterID(node string, ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return ip
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(node))
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], max(h.Sum32(), 1))
	return netip.AddrFrom4(b)
}

func asTimeout(err error, target *net.Error) bool {
	return errors.As(err, target) && (*target).Timeout()
}
