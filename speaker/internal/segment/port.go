package segment

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/mdlayher/packet"
	"github.com/porchlight-lb/porchlight/speaker/layer2"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// port is the pair of raw sockets on one interface, and the multicast groups
// joined there.
type port struct {
	link
	arp, ndp *packet.Conn
	groups   groups
}

// The kernel hands over what these filters let through; the rest does not wake
// the process. A socket on an interface is also shown what comes in there for a
// VLAN, a bond or a bridge above it: that is for the socket on that interface.

// arpFilter lets ARP requests and replies through, not the rarer operations.
func arpFilter(index int) []bpf.RawInstruction {
	return assemble(append(received(index),
		bpf.LoadAbsolute{Off: 14 + 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 1, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 2, SkipTrue: 1},
		bpf.RetConstant{Val: 128},
		bpf.RetConstant{Val: 0},
	))
}

// ndpFilter lets ICMPv6 neighbour solicitations and advertisements through.
func ndpFilter(index int) []bpf.RawInstruction {
	return assemble(append(received(index),
		bpf.LoadAbsolute{Off: 14 + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 58, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 14 + 40, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 135, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 136, SkipTrue: 1},
		bpf.RetConstant{Val: 512},
		bpf.RetConstant{Val: 0},
	))
}

// received drops what is not for the interface itself: frames of a VLAN, frames
// that some interface above it receives, frames for other hosts, and our own.
func received(index int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 4},
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(index), SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: unix.PACKET_OTHERHOST, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

func assemble(program []bpf.Instruction) []bpf.RawInstruction {
	raw, err := bpf.Assemble(program)
	if err != nil {
		panic(err)
	}
	return raw
}

func openPort(l link) (*port, error) {
	ifi := &net.Interface{Index: l.index, MTU: l.mtu, Name: l.Name, HardwareAddr: l.mac()}
	arp, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, &packet.Config{Filter: arpFilter(l.index)})
	if err != nil {
		return nil, fmt.Errorf("opening the ARP socket on %s: %w", l.Name, err)
	}
	ndp, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, &packet.Config{Filter: ndpFilter(l.index)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the NDP socket on %s: %w", l.Name, err), arp.Close())
	}
	return &port{link: l, arp: arp, ndp: ndp, groups: groups{ifi: ifi, joined: map[netip.Addr]*membership{}}}, nil
}

func (p *port) close() {
	_ = p.arp.Close()
	_ = p.ndp.Close()
	p.groups.close()
}

// send puts a frame on the wire.
func (p *port) send(ip netip.Addr, frame []byte) error {
	conn := p.arp
	if ip.Is6() {
		conn = p.ndp
	}
	if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}); err != nil {
		return fmt.Errorf("sending for %s on %s: %w", ip, p.Name, err)
	}
	return nil
}

// groups are solicited-node groups that the kernel has joined for us: it tells
// the switches (MLD) and the network card. A group is shared by the addresses
// that end alike.
type groups struct {
	ifi *net.Interface

	mu      sync.Mutex
	joined  map[netip.Addr]*membership
	sockets []*groupSocket
}

type membership struct {
	socket *groupSocket
	users  int
}

type groupSocket struct {
	conn   net.PacketConn
	groups int
}

// perSocket keeps a socket's memberships within net.core.optmem_max.
const perSocket = 64

func (g *groups) join(ip netip.Addr) error {
	group, ok := layer2.Group(ip)
	if !ok {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.joined[group]; m != nil {
		m.users++
		return nil
	}
	var s *groupSocket
	for _, have := range g.sockets {
		if have.groups < perSocket {
			s = have
			break
		}
	}
	if s == nil {
		conn, err := net.ListenPacket("udp6", "[::]:0")
		if err != nil {
			return fmt.Errorf("opening a socket for groups on %s: %w", g.ifi.Name, err)
		}
		s = &groupSocket{conn: conn}
		g.sockets = append(g.sockets, s)
	}
	if err := ipv6.NewPacketConn(s.conn).JoinGroup(g.ifi, &net.UDPAddr{IP: group.AsSlice()}); err != nil {
		return fmt.Errorf("joining %s on %s: %w", group, g.ifi.Name, err)
	}
	s.groups++
	g.joined[group] = &membership{s, 1}
	return nil
}

func (g *groups) leave(ip netip.Addr) {
	group, ok := layer2.Group(ip)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.joined[group]
	if m == nil {
		return
	}
	if m.users--; m.users == 0 {
		delete(g.joined, group)
		m.socket.groups--
		// The kernel may have left already, with the interface.
		_ = ipv6.NewPacketConn(m.socket.conn).LeaveGroup(g.ifi, &net.UDPAddr{IP: group.AsSlice()})
	}
}

func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sockets {
		_ = s.conn.Close()
	}
	g.sockets, g.joined = nil, map[netip.Addr]*membership{}
}
