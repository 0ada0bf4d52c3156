package detector

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// An echo packet is addressed to this node and handed to the peer's hardware
// address, so that the peer forwards it back (RFC 5881 section 4). Sockets of
// UDP cannot send such a packet, as the kernel would deliver it at once. Nor
// can they receive one in IPv4: Linux drops packets that come in with a source
// of its own. Hence packet sockets.
//
// In IPv6 the kernel delivers it as any other. The same UDP port serves peers
// that address their echo packets to this node, as bfdd of FRR does in IPv6:
// those are sent back.

const (
	ipv4Header, ipv6Header, udpHeader = 20, 40, 8
	// macAge is how long a peer's hardware address is believed.
	macAge = time.Second
	// looped is the hop limit with which a packet is sent back that came with
	// the highest: one less, as if it had been forwarded.
	looped = bfd.TTL - 1
)

// echoPort is the packet socket on one interface: it sends echo packets, and
// receives those of IPv4.
type echoPort struct {
	fd int
	d  *Detector
}

// echoFilter lets IPv4 UDP packets to the echo port through that are no
// fragments.
var echoFilter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: bfd.PortEcho, SkipTrue: 1},
	bpf.RetConstant{Val: 256},
	bpf.RetConstant{Val: 0},
}

// echoes says whether a session has a use for echo sockets.
func (e *end) echoes() bool {
	return e.cfg.Echo && !e.path.Multihop && !e.path.Remote.IsLinkLocalUnicast()
}

func echoListener(path bfd.Path) port { return port{bfd.PortEcho, path.Remote.Is6(), path.VRF} }

func (d *Detector) echoPortOn(index int) (*echoPort, error) {
	if p := d.echoes[index]; p != nil {
		return p, nil
	}
	program, err := bpf.Assemble(echoFilter)
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	// Protocol 0 receives nothing until the filter is there, and the socket
	// bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	p := &echoPort{fd: fd, d: d}
	d.echoes[index] = p
	return p, nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// sendEcho sends an echo packet the way that the session's control packets
// came. One that cannot be sent is as one that was lost.
func (d *Detector) sendEcho(e *end, payload []byte) {
	if e.seen.ifindex == 0 || !e.seen.local.IsGlobalUnicast() {
		return
	}
	e.echoErr = nil
	if err := d.trySendEcho(e, payload); err != nil {
		e.echoErr = fmt.Errorf("sending an echo packet to %s: %w", e.path, err)
	}
}

func (d *Detector) trySendEcho(e *end, payload []byte) error {
	p, err := d.echoPortOn(e.seen.ifindex)
	if err != nil {
		return err
	}
	if now := time.Now(); now.Sub(e.seen.macAt) > macAge {
		if err := e.seen.resolve(e.path.Remote); err != nil {
			return err
		}
		e.seen.macAt = now
	}
	kind := uint16(unix.ETH_P_IP)
	if e.path.Remote.Is6() {
		kind = unix.ETH_P_IPV6
		if err := d.listen(echoListener(e.path)); err != nil {
			return err
		}
	}
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(kind), Ifindex: e.seen.ifindex, Halen: uint8(e.seen.macLength), Addr: e.seen.mac}
	return unix.Sendto(p.fd, datagram(e.seen.source, e.seen.local, payload), 0, to)
}

// resolve asks the kernel for the peer's hardware address, which the control
// packets keep known, and for the source to use.
func (s *seen) resolve(remote netip.Addr) error {
	family := unix.AF_INET
	if remote.Is6() {
		family = unix.AF_INET6
	}
	request := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	request.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(s.ifindex)})
	request.AddData(nl.NewRtAttr(netlink.NDA_DST, remote.AsSlice()))
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return fmt.Errorf("asking for the hardware address: %w", err)
	}
	for _, a := range answers {
		if n, err := netlink.NeighDeserialize(a); err == nil && len(n.HardwareAddr) > 0 {
			s.macLength = copy(s.mac[:], n.HardwareAddr)
		}
	}
	if s.macLength == 0 {
		return fmt.Errorf("no hardware address: %w", unix.EHOSTUNREACH)
	}
	s.source = echoSource(s.local)
	return nil
}

// echoSource is what echo packets are sent from. It should be no address of the
// link's subnet, so that the peer does not answer with redirects (RFC 5881
// section 4): an address of the loopback interface is one, where the node has
// it, and routers know of those. Else it is the session's own: other addresses
// of the node, as those of its pods' bridge, a router that checks sources would
// drop. Linux sends a handful of redirects then, and no more, and none of them
// can divert what is addressed to this node.
func echoSource(local netip.Addr) netip.Addr {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return local
	}
	addrs, err := lo.Addrs()
	if err != nil {
		return local
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				if ip = ip.Unmap(); ip.Is4() == local.Is4() && ip.IsGlobalUnicast() {
					return ip
				}
			}
		}
	}
	return local
}

// datagram builds the IP packet.
func datagram(from, to netip.Addr, payload []byte) []byte {
	size := udpHeader + len(payload)
	udp := make([]byte, size)
	binary.BigEndian.PutUint16(udp[0:], bfd.PortEcho)
	binary.BigEndian.PutUint16(udp[2:], bfd.PortEcho)
	binary.BigEndian.PutUint16(udp[4:], uint16(size))
	copy(udp[udpHeader:], payload)
	// The pseudo header of RFC 768, and of RFC 8200 section 8.1, which sums up
	// to the same where the length is below 2^16.
	pseudo := append(from.AsSlice(), to.AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_UDP, byte(size>>8), byte(size))
	sum := checksum(pseudo, udp)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)

	var ip []byte
	if from.Is4() {
		ip = make([]byte, ipv4Header)
		ip[0] = 4<<4 | ipv4Header/4
		ip[1] = networkControl
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Header+size))
		ip[8], ip[9] = bfd.TTL, unix.IPPROTO_UDP
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	} else {
		ip = make([]byte, ipv6Header)
		binary.BigEndian.PutUint32(ip, 6<<28|networkControl<<20)
		binary.BigEndian.PutUint16(ip[4:], uint16(size))
		ip[6], ip[7] = unix.IPPROTO_UDP, bfd.TTL
		copy(ip[8:], from.AsSlice())
		copy(ip[24:], to.AsSlice())
	}
	return append(ip, udp...)
}

// checksum is that of RFC 1071, over parts of even length but the last.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for len(b) > 1 {
			sum += uint32(b[0])<<8 | uint32(b[1])
			b = b[2:]
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func (p *echoPort) descriptor() int { return p.fd }

// receive takes IPv4 echo packets. Those of others pass here too, on their way
// to be forwarded: only what is addressed to a session's end counts.
func (p *echoPort) receive() {
	d := p.d
	for range burst {
		n, _, err := unix.Recvfrom(p.fd, d.buffer[:], 0)
		if err != nil {
			return
		}
		to, payload, ok := echoPayload(d.buffer[:n])
		if ok && d.hasEchoEnd(to) {
			d.echoArrived(payload)
		}
	}
}

// echoPayload takes an IPv4 packet apart, which the filter let through.
func echoPayload(b []byte) (to netip.Addr, payload []byte, ok bool) {
	if len(b) < ipv4Header {
		return to, nil, false
	}
	header := int(b[0]&0xf) * 4
	if header < ipv4Header || len(b) < header+udpHeader {
		return to, nil, false
	}
	size := int(binary.BigEndian.Uint16(b[header+4:]))
	if size < udpHeader || header+size > len(b) {
		return to, nil, false
	}
	return netip.AddrFrom4([4]byte(b[16:20])), b[header+udpHeader : header+size], true
}

func (d *Detector) hasEchoEnd(local netip.Addr) bool {
	for _, e := range d.ends {
		if e.echoes() && e.seen.local == local {
			return true
		}
	}
	return false
}

func (d *Detector) echoArrived(payload []byte) {
	if drop := d.table.ReceiveEcho(d.now(), payload); drop != "" {
		d.dropped[drop]++
	}
	d.perform()
}

// receiveEcho takes what came to the UDP port: an echo packet of a session's
// peer, fresh as its hop limit says, goes back; the others are ours.
func (d *Detector) receiveEcho(l *listener, from bfd.Arrival, ifindex int, payload []byte) {
	for _, e := range d.ends {
		if from.TTL == bfd.TTL && e.echoes() && e.path.Remote == from.Remote && e.path.VRF == l.vrf && e.seen.ifindex == ifindex {
			// One that does not get through is as one that was lost.
			_ = unix.Sendto(l.fd, payload, 0, sockaddr(from.Remote, bfd.PortEcho, 0))
			return
		}
	}
	d.echoArrived(payload)
}
