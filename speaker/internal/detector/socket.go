package detector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"golang.org/x/sys/unix"
)

const (
	// networkControl is the class selector CS6, which control packets of
	// routing are sent with (RFC 4594 section 3.1).
	networkControl = 0xc0
	// priority is the highest that needs no capability; the kernel's queueing
	// serves it first.
	priority = 6
	// portTries is how many source ports are tried.
	portTries = 100
	// burst is how many packets of one socket are received before timers are
	// looked at: a flood on one must not stop the others.
	burst = 512
)

// port is where packets are received.
type port struct {
	number int
	ipv6   bool
	vrf    string
}

func (p port) String() string {
	s := fmt.Sprintf("UDP port %d", p.number)
	if p.ipv6 {
		s += ", IPv6"
	}
	if p.vrf != "" {
		s += ", of " + p.vrf
	}
	return s
}

// listener is the socket of a port.
type listener struct {
	port
	fd int
	d  *Detector
}

// listensOn is the port of a session's control packets.
func listensOn(path bfd.Path) port {
	p := port{bfd.PortSingleHop, path.Remote.Is6(), path.VRF}
	if path.Multihop {
		p.number = bfd.PortMultihop
	}
	return p
}

// socket opens a UDP socket for packets that are sent as RFC 5881 sections 4
// and 5 ask for.
func socket(ipv6 bool, device string) (int, error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	if ipv6 {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, bfd.TTL),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, networkControl),
		)
	} else {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, bfd.TTL),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, networkControl),
		)
	}
	// Setting the class changes the priority.
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, priority))
	if err == nil && device != "" {
		err = unix.BindToDevice(fd, device)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.Addr, number, zone int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: number}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: number, ZoneId: uint32(zone)}
}

// listen opens the socket of a port, where it is not open.
func (d *Detector) listen(p port) error {
	if d.listeners[p] != nil {
		return nil
	}
	fd, err := socket(p.ipv6, p.vrf)
	if err == nil {
		// Another program that has the port is to be noticed: no SO_REUSEADDR,
		// with which either would get the other's packets.
		any := netip.IPv4Unspecified()
		if p.ipv6 {
			any = netip.IPv6Unspecified()
			err = errors.Join(
				unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1),
				unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
			)
		} else {
			err = errors.Join(
				unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTTL, 1),
				unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1),
			)
		}
		if err == nil && p.ipv6 && p.number == bfd.PortEcho {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, looped)
		}
		if err == nil {
			err = unix.Bind(fd, sockaddr(any, p.number, 0))
		}
		if err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		return fmt.Errorf("listening on %s: %w", p, err)
	}
	d.listeners[p] = &listener{port: p, fd: fd, d: d}
	return nil
}

// open opens the sockets of a session.
func (d *Detector) open(e *end, cfg bfd.Config) {
	e.cfg = cfg
	e.retry = time.Now().Add(retryAfter)
	if e.err = d.listen(listensOn(e.path)); e.err != nil {
		return
	}
	if e.err = e.openSocket(); e.err != nil {
		e.err = fmt.Errorf("opening the socket to %s: %w", e.path, e.err)
	}
}

// openSocket opens the socket that a session's packets are sent from: one for
// each session, with a source port of its own (RFC 5881 section 4).
func (e *end) openSocket() error {
	index, err := e.index()
	if err != nil {
		return err
	}
	zone := 0
	if e.path.Interface != "" {
		zone = index
	}
	fd, err := socket(e.path.Remote.Is6(), e.device())
	if err != nil {
		return err
	}
	local := e.path.Local
	switch {
	case !local.IsValid() && e.path.Remote.Is4():
		local = netip.IPv4Unspecified()
	case !local.IsValid():
		local = netip.IPv6Unspecified()
	}
	for range portTries {
		number := bfd.SourcePortMin + rand.IntN(bfd.SourcePortMax-bfd.SourcePortMin+1)
		if err = unix.Bind(fd, sockaddr(local, number, zone)); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("binding to %s: %w", local, err)
	}
	e.fd, e.bound, e.to = fd, index, sockaddr(e.path.Remote, listensOn(e.path).number, zone)
	return nil
}

// device is what the session's socket is bound to; empty: nothing.
func (e *end) device() string {
	if e.path.Interface != "" {
		return e.path.Interface
	}
	return e.path.VRF
}

// index is the device's as it is now.
func (e *end) index() (int, error) {
	if e.device() == "" {
		return 0, nil
	}
	i, err := net.InterfaceByName(e.device())
	if err != nil {
		return 0, err
	}
	return i.Index, nil
}

func (e *end) closeSocket() {
	if e.fd >= 0 {
		_ = unix.Close(e.fd)
		e.fd = -1
	}
}

// send sends a control packet. A packet that cannot be sent is as one that was
// lost: the timers go on.
func (d *Detector) send(e *end, b []byte) {
	err := unix.Sendto(e.fd, b, 0, e.to)
	if err == nil {
		e.err = nil
		return
	}
	e.err = fmt.Errorf("sending to %s: %w", e.path, err)
	// The socket stays bound to an interface that went, and to an address, while
	// another of the same name comes. The errors for it are many, and most have
	// other causes too, which pass.
	if now, gone := e.index(); gone != nil || now != e.bound || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EINVAL) {
		e.closeSocket()
		e.retry = time.Now().Add(retryAfter)
	}
}

// closeUnused closes the sockets that no session has a use for.
func (d *Detector) closeUnused() {
	used, looped := map[port]bool{}, map[int]bool{}
	for _, e := range d.ends {
		used[listensOn(e.path)] = true
		if e.echoes() {
			used[echoListener(e.path)] = true
			looped[e.seen.ifindex] = true
		}
	}
	for p, l := range d.listeners {
		if !used[p] {
			_ = unix.Close(l.fd)
			delete(d.listeners, p)
		}
	}
	for index, p := range d.echoes {
		if !looped[index] {
			_ = unix.Close(p.fd)
			delete(d.echoes, index)
		}
	}
}

func (l *listener) descriptor() int { return l.fd }

func (l *listener) receive() {
	for range burst {
		n, from, index, ok := l.next()
		if !ok {
			return
		}
		payload := l.d.buffer[:n]
		if l.number == bfd.PortEcho {
			l.d.receiveEcho(l, from, index, payload)
		} else {
			l.d.receiveControl(l, from, index, payload)
		}
	}
}

// next receives a packet into the buffer.
func (l *listener) next() (n int, from bfd.Arrival, ifindex int, ok bool) {
	n, oobn, _, source, err := unix.Recvmsg(l.fd, l.d.buffer[:], l.d.control[:], 0)
	if err != nil {
		// EAGAIN: there is none. Whatever else there is, such as an ICMP error
		// of an earlier packet, was taken off the socket by asking.
		return 0, from, 0, errors.Is(err, unix.ECONNREFUSED)
	}
	switch s := source.(type) {
	case *unix.SockaddrInet4:
		from.Remote = netip.AddrFrom4(s.Addr)
	case *unix.SockaddrInet6:
		from.Remote = netip.AddrFrom16(s.Addr)
	}
	from.VRF, from.Multihop = l.vrf, l.number == bfd.PortMultihop
	messages, err := unix.ParseSocketControlMessage(l.d.control[:oobn])
	if err != nil {
		return n, from, 0, true
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TTL && len(m.Data) >= 4,
			m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			from.TTL = int(binary.NativeEndian.Uint32(m.Data))
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			ifindex = int(binary.NativeEndian.Uint32(m.Data))
			from.Local = netip.AddrFrom4([4]byte(m.Data[8:12]))
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			from.Local = netip.AddrFrom16([16]byte(m.Data[:16]))
			ifindex = int(binary.NativeEndian.Uint32(m.Data[16:]))
		}
	}
	return n, from, ifindex, true
}

func (d *Detector) receiveControl(l *listener, from bfd.Arrival, ifindex int, payload []byte) {
	from.Interface = l.interfaceName(ifindex)
	path, drop := d.table.Receive(d.now(), from, payload)
	if drop != "" {
		d.dropped[drop]++
	} else if e := d.ends[path]; e != nil && (e.seen.ifindex != ifindex || e.seen.local != from.Local) {
		e.seen = seen{ifindex: ifindex, local: from.Local}
		d.closeUnused()
	}
	d.perform()
}

// interfaceName is the name of an interface; empty where there is none such.
// The kernel is asked each time, as interfaces come and go.
func (l *listener) interfaceName(index int) string {
	request, _ := unix.NewIfreq("")
	request.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(l.fd, unix.SIOCGIFNAME, request); err != nil {
		return ""
	}
	return request.Name()
}
