package segment

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is a network interface that can announce.
type link struct {
	election.Interface
	index int
	mtu   int
}

func (l link) mac() net.HardwareAddr { return net.HardwareAddr(l.MAC[:]) }

// links lists the interfaces that can announce, by name: up, with a carrier, of
// Ethernet, and no loopback. Left out are the members of bridges and bonds,
// since what comes in there is answered on the bridge or bond; and the host's
// ends of pods' veth pairs, which have no subnet, and where nobody but the pod
// lives.
func links() ([]link, error) {
	all, err := dump(netlink.LinkList)
	if err != nil {
		return nil, err
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	prefixes := map[int][]netip.Prefix{}
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok {
			prefixes[a.LinkIndex] = append(prefixes[a.LinkIndex], p)
		}
	}
	kinds := map[int]string{}
	for _, l := range all {
		kinds[l.Attrs().Index] = l.Type()
	}
	var out []link
	for _, l := range all {
		at := l.Attrs()
		on := prefixes[at.Index]
		up := at.Flags&net.FlagUp != 0 && at.RawFlags&iffLowerUp != 0 && at.RawFlags&iffNoARP == 0
		switch {
		case !up || at.Flags&net.FlagLoopback != 0 || len(at.HardwareAddr) != 6:
			continue
		case swallows(kinds[at.MasterIndex]):
			continue
		case l.Type() == "veth" && len(on) == 0:
			continue
		}
		slices.SortFunc(on, func(a, b netip.Prefix) int {
			return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
		})
		out = append(out, link{
			Interface: election.Interface{Name: at.Name, MAC: election.MAC(at.HardwareAddr), Prefixes: slices.Compact(on)},
			index:     at.Index,
			mtu:       at.MTU,
		})
	}
	slices.SortFunc(out, func(a, b link) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// dumps is how often a table is read that changes meanwhile.
const dumps = 10

// dump reads a table of the kernel. What changed while it was read may be in it
// in part, and the kernel says so (NLM_F_DUMP_INTR): the table is read again. It
// fails with [unix.EINTR] where the table never stands still.
func dump[T any](read func() ([]T, error)) (table []T, err error) {
	for range dumps {
		if table, err = read(); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return table, err
}

// swallows says whether an interface of this kind takes over what its members
// receive. A VRF, which is a master too, leaves it to them.
func swallows(kind string) bool {
	switch kind {
	case "bridge", "bond", "team", "openvswitch":
		return true
	}
	return false
}

const (
	iffNoARP   = 0x80
	iffLowerUp = 0x10000
)

// prefix is the subnet of an address, where it has one: no host routes, and
// nothing that is on every link.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	addr = addr.Unmap()
	if !ok || ones >= addr.BitLen() || addr.IsLinkLocalUnicast() || addr.IsLoopback() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, ones).Masked(), true
}
