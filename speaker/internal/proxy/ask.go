package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Answer is what becomes on this node of a packet to an address.
type Answer string

const (
	// Translated: it goes to a backend.
	Translated Answer = "Translated"
	// Refused: the service proxy knows the address, and nobody to send it to; or
	// it drops what is of this node.
	Refused Answer = "Refused"
	// Untouched: nothing on the node knows the address.
	Untouched Answer = "Untouched"
	// Unknown: the node could not be asked.
	Unknown Answer = "Unknown"
)

// Kernel asks this node's kernel what becomes of a packet to an address, with one
// that nobody is to get: it goes to the loopback interface, whatever address its
// header has, where it is seen. One that the service proxy translates on its way
// out (iptables, nftables and IPVS do what the node itself sends, too) is sent
// elsewhere. There it is dropped: its checksum is wrong, so that no application
// hears of it, and its time to live is 1. What can be asked so is neither the
// proxy's kind nor its state, but the outcome.
//
// It needs the capability NET_RAW, and is for one goroutine.
type Kernel struct {
	tap  int // sees what is on the loopback interface
	ipv4 int // -1: the kernel has no such family
	ipv6 int
	id   uint32
	port uint16
}

// NewKernel returns a Kernel, having seen that it sees what it is to see.
func NewKernel() (*Kernel, error) {
	k := &Kernel{ipv4: -1, ipv6: -1, tap: -1}
	if err := k.open(); err != nil {
		k.Close()
		return nil, fmt.Errorf("preparing to ask the kernel what becomes of packets: %w", err)
	}
	return k, nil
}

func (k *Kernel) open() (err error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	// Of protocol 0 it hears nothing until it is bound.
	if k.tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return fmt.Errorf("opening a raw socket: %w", err)
	}
	program, err := bpf.Assemble(expiring)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	if err := unix.SetsockoptSockFprog(k.tap, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
		return fmt.Errorf("filtering what a raw socket hears: %w", err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(k.tap, &unix.SockaddrLinklayer{Protocol: all, Ifindex: lo.Index}); err != nil {
		return fmt.Errorf("listening on the loopback interface: %w", err)
	}
	// IPPROTO_RAW: packets come with their headers (raw(7)).
	if k.ipv4, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
		return fmt.Errorf("opening a raw socket: %w", err)
	}
	if k.ipv6, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW); err != nil {
		k.ipv6 = -1 // there is no IPv6 here
	}
	// Nobody translates this; who does not see it would take it for translated.
	own := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if answer := k.outcome(own, own, watch.Port{Number: 9}); answer != Untouched {
		return fmt.Errorf("a packet to %s is %s", own, answer)
	}
	return nil
}

// expiring accepts IPv4 and IPv6 packets that no router forwards.
var expiring = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 0, Size: 1},
	bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 2},
	bpf.LoadAbsolute{Off: 8, Size: 1},
	bpf.Jump{Skip: 1},
	bpf.LoadAbsolute{Off: 7, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: timeToLive, SkipFalse: 1},
	bpf.RetConstant{Val: 128},
	bpf.RetConstant{Val: 0},
}

// Close releases the sockets.
func (k *Kernel) Close() {
	for _, fd := range [...]int{k.tap, k.ipv4, k.ipv6} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Ask tells what becomes of a packet of this node to a port of an address.
func (k *Kernel) Ask(ip netip.Addr, port watch.Port) Answer {
	from, err := source(ip)
	if err != nil {
		return Unknown
	}
	return k.outcome(from, ip, port)
}

// source is the address that this node would send from. Nothing is sent for
// that.
func source(to netip.Addr) (netip.Addr, error) {
	c, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func (k *Kernel) outcome(from, to netip.Addr, port watch.Port) Answer {
	// A port that has been asked from before would, for two minutes, go the way
	// that it went then. The ports below 1024 are of no client.
	k.id++
	k.port = k.port%1023 + 1
	packet := k.packet(from, to, port)
	var err error
	if to.Is4() {
		err = unix.Sendto(k.ipv4, packet, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	} else {
		if k.ipv6 < 0 {
			return Unknown
		}
		err = unix.Sendto(k.ipv6, packet, 0, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()})
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return Refused
	case err != nil:
		return Unknown
	}
	// What was sent over the loopback interface was seen before Sendto returned.
	answer := Translated
	b := make([]byte, 128)
	for {
		n, _, err := unix.Recvfrom(k.tap, b, unix.MSG_DONTWAIT)
		if err != nil {
			return answer
		}
		if k.same(b[:n], to) {
			answer = Untouched
		}
	}
}

const (
	tcpLength, udpLength = 20, 12
	timeToLive           = 1
)

// packet is a SYN, or a datagram with four bytes.
func (k *Kernel) packet(from, to netip.Addr, port watch.Port) []byte {
	protocol, segment, sum := uint8(unix.IPPROTO_TCP), make([]byte, tcpLength), 16 // where the checksum is
	if port.UDP {
		protocol, segment, sum = unix.IPPROTO_UDP, make([]byte, udpLength), 6
		binary.BigEndian.PutUint16(segment[4:], udpLength)
	} else {
		segment[12], segment[13] = tcpLength/4<<4, 0x02
		binary.BigEndian.PutUint16(segment[14:], 1024) // window
	}
	binary.BigEndian.PutUint32(segment[8:], k.id) // the number that a SYN does not acknowledge; the four bytes
	binary.BigEndian.PutUint16(segment, k.port)
	binary.BigEndian.PutUint16(segment[2:], port.Number)
	wrong := checksum(from, to, protocol, segment) ^ 0x5555
	if wrong == 0 { // which is none, in a datagram
		wrong = 0xffff
	}
	binary.BigEndian.PutUint16(segment[sum:], wrong)
	if to.Is4() {
		header := make([]byte, 20) // the kernel sets length, identification and checksum
		header[0], header[8], header[9] = 0x45, timeToLive, protocol
		copy(header[12:], from.AsSlice())
		copy(header[16:], to.AsSlice())
		return append(header, segment...)
	}
	header := make([]byte, 40)
	header[0], header[6], header[7] = 0x60, protocol, timeToLive
	binary.BigEndian.PutUint16(header[4:], uint16(len(segment)))
	copy(header[8:], from.AsSlice())
	copy(header[24:], to.AsSlice())
	return append(header, segment...)
}

// checksum is that of RFC 1071 over a segment and its pseudo header, where the
// segment's own is 0.
func checksum(from, to netip.Addr, protocol uint8, segment []byte) uint16 {
	sum := uint32(protocol) + uint32(len(segment))
	for _, b := range [...][]byte{from.AsSlice(), to.AsSlice(), segment} {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// same says whether a packet is the last one asked with, and goes to the same
// address still.
func (k *Kernel) same(packet []byte, to netip.Addr) bool {
	header, address := 20, 16
	if to.Is6() {
		header, address = 40, 24
	}
	return len(packet) >= header+udpLength && binary.BigEndian.Uint32(packet[header+8:]) == k.id &&
		bytes.Equal(packet[address:address+to.BitLen()/8], to.AsSlice())
}
