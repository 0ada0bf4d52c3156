package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// links is a netlink handle on one host's interfaces.
type links struct {
	*netlink.Handle
	ns *os.File
}

func openLinks(pid int) (*links, error) {
	ns, err := host.OpenNetwork(pid)
	if err != nil {
		return nil, fmt.Errorf("network of process %d: %w", pid, err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("network of process %d: %w", pid, err)
	}
	return &links{h, ns}, nil
}

func (l *links) Close() {
	l.Handle.Close()
	l.ns.Close()
}

// makeBridges prepares the switch.
func makeBridges(pid int) error {
	sw, err := openLinks(pid)
	if err != nil {
		return err
	}
	defer sw.Close()
	for _, name := range []string{bridgeLAN, bridgeFar} {
		snooping := false
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-" + name}, MulticastSnooping: &snooping}
		if err := sw.LinkAdd(br); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("bridge %s: %w", name, err)
		}
		if err := sw.LinkSetUp(br); err != nil {
			return fmt.Errorf("bridge %s: %w", name, err)
		}
	}
	return nil
}

// plug connects the host whose process 1 is pid to the switch and gives it
// its addresses and routes. Both ends of a link are made in their namespaces.
func plug(switchPID, pid int, h Host) error {
	sw, err := openLinks(switchPID)
	if err != nil {
		return err
	}
	defer sw.Close()
	own, err := openLinks(pid)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := setUp(own, "lo"); err != nil {
		return err
	}
	for i, p := range h.Ports {
		if err := plugPort(sw, own, p, hardwareAddress(h, i)); err != nil {
			return fmt.Errorf("interface %s: %w", p.Interface, err)
		}
	}
	for _, r := range h.Routes {
		route := &netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice(), Protocol: unix.RTPROT_STATIC}
		if err := own.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s via %s: %w", r.To, r.Via, err)
		}
	}
	return nil
}

func plugPort(sw, own *links, p Port, hw net.HardwareAddr) error {
	// The other end of a host that was switched off goes in its own time.
	if old, err := sw.LinkByName(p.Peer); err == nil {
		if err := sw.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove the old link: %w", err)
		}
	}
	bridge, err := sw.LinkByName("br-" + p.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", p.Bridge, err)
	}
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: p.Peer, MasterIndex: bridge.Attrs().Index},
		PeerName:         p.Interface,
		PeerHardwareAddr: hw,
		PeerNamespace:    netlink.NsFd(own.ns.Fd()),
	}
	if err := sw.LinkAdd(veth); err != nil {
		return fmt.Errorf("add link: %w", err)
	}
	if err := sw.LinkSetUp(veth); err != nil {
		return fmt.Errorf("set the switch's end up: %w", err)
	}
	link, err := own.LinkByName(p.Interface)
	if err != nil {
		return err
	}
	if err := own.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for _, a := range p.Addresses {
		addr := &netlink.Addr{IPNet: ipNetAddr(a)}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := own.AddrReplace(link, addr); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

// unplug removes the host's links: from the outside, its cables are cut.
func unplug(switchPID int, h Host) error {
	sw, err := openLinks(switchPID)
	if err != nil {
		return err
	}
	defer sw.Close()
	for _, p := range h.Ports {
		link, err := sw.LinkByName(p.Peer)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			continue
		}
		if err == nil {
			err = sw.LinkDel(link)
		}
		if err != nil {
			return fmt.Errorf("unplug %s: %w", p.Peer, err)
		}
	}
	return nil
}

// setCarrier turns the switch's ends of the host's links on or off.
func setCarrier(switchPID int, h Host, up bool) error {
	sw, err := openLinks(switchPID)
	if err != nil {
		return err
	}
	defer sw.Close()
	for _, p := range h.Ports {
		link, err := sw.LinkByName(p.Peer)
		if err == nil && up {
			err = sw.LinkSetUp(link)
		} else if err == nil {
			err = sw.LinkSetDown(link)
		}
		if err != nil {
			return fmt.Errorf("port %s of the switch: %w", p.Peer, err)
		}
	}
	return nil
}

// plugged reports whether the host has all its links.
func plugged(switchPID int, h Host) (bool, error) {
	sw, err := openLinks(switchPID)
	if err != nil {
		return false, err
	}
	defer sw.Close()
	for _, p := range h.Ports {
		if _, err := sw.LinkByName(p.Peer); err != nil {
			return false, nil
		}
	}
	return true, nil
}

func setUp(l *links, name string) error {
	link, err := l.LinkByName(name)
	if err == nil {
		err = l.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// hardwareAddress is the same at every start of the host, and tells whoever
// reads a capture which host it is: the last byte of its IPv4 address.
func hardwareAddress(h Host, port int) net.HardwareAddr {
	a := h.Ports[port].Addresses[0].Addr().As4()
	return net.HardwareAddr{0x02, 0x70, 0x6c, byte(port), a[1], a[3]}
}

func ipNet(p netip.Prefix) *net.IPNet { return ipNetAddr(p.Masked()) }

func ipNetAddr(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
