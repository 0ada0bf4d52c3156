package peering

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// connectWithin bounds an attempt to connect: long enough for three SYNs, of
// which the first may go before the neighbour's hardware address is known.
const connectWithin = 5 * time.Second

// dial connects to a peer.
func dial(ctx context.Context, peer bgp.PeerState, target target) (*net.TCPConn, error) {
	address := netip.AddrPortFrom(target.address, peer.Port)
	d := net.Dialer{
		Timeout:   min(connectWithin, max(peer.Connect, time.Second)),
		KeepAlive: -1, // the protocol has its own
		Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) { failed = prepare(int(fd), peer, target) })
			if err != nil {
				return err
			}
			return failed
		},
	}
	if peer.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(peer.Source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", address.String())
	if err != nil {
		var timeout net.Error
		if asTimeout(err, &timeout) && peer.Password != "" {
			// Segments that are signed with another password are dropped, on
			// either side, without a word.
			return nil, fmt.Errorf("connecting: %w (the peer may have another password)", err)
		}
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return conn.(*net.TCPConn), nil
}

// prepare sets a socket's options before it connects.
func prepare(fd int, peer bgp.PeerState, target target) error {
	device := target.device
	if device != "" {
		if err := unix.BindToDevice(fd, device); err != nil {
			if peer.VRF == device {
				return refused(reason.VRFNotFound, "binding to VRF %s: %v", device, err)
			}
			return refused(reason.InterfaceNotFound, "binding to interface %s: %v", device, err)
		}
	}
	if peer.Password != "" {
		if err := sign(fd, target.address, peer.Password); err != nil {
			return fmt.Errorf("setting the password (TCP MD5): %w", err)
		}
	}
	hops := 0 // the kernel's choice
	switch {
	case peer.TTLSecurity:
		hops = 255
	case peer.External() && !peer.MultiHop:
		hops = 1
	}
	level, ttl, least := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	if !target.address.Is4() {
		level, ttl, least = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
	}
	if hops > 0 {
		if err := unix.SetsockoptInt(fd, level, ttl, hops); err != nil {
			return fmt.Errorf("setting the TTL to %d: %w", hops, err)
		}
	}
	if peer.TTLSecurity { // RFC 5082
		if err := unix.SetsockoptInt(fd, level, least, 255); err != nil {
			return fmt.Errorf("requiring a TTL of 255: %w", err)
		}
	}
	return nil
}

// sign has segments from and to the address signed (RFC 2385).
func sign(fd int, address netip.Addr, password bgp.Password) error {
	var s unix.TCPMD5Sig
	if address.Is4() {
		s.Addr.Family = unix.AF_INET
		a := address.As4()
		copy(s.Addr.Data[2:], a[:]) // after the port
	} else {
		s.Addr.Family = unix.AF_INET6
		a := address.As16()
		copy(s.Addr.Data[6:], a[:]) // after the port and the flow
	}
	s.Keylen = uint16(copy(s.Key[:], password))
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &s)
}
