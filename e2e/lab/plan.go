package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Role is what a host of the lab is for.
type Role string

// The roles.
const (
	Switch       Role = "switch" // holds the bridges that the others hang on
	ControlPlane Role = "control plane"
	Node         Role = "node"
	Client       Role = "client"
	Router       Role = "router"
	Far          Role = "far client"
)

// Names of the hosts that are not nodes.
const (
	HostSwitch       = "lan"
	HostControlPlane = "cp"
	HostClient       = "client"
	HostFar          = "far"
	HostFRR          = "frr"
	HostBIRD         = "bird"
)

// Bridges of the switch, and so the lab's two segments.
const (
	bridgeLAN = "lan"
	bridgeFar = "far"
)

// MaxNodes is how many nodes have addresses in the plan.
const MaxNodes = 80

// ServiceCIDRs are the cluster's, IPv4 first; DNSAddress is the cluster
// resolver's in the first.
var (
	ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}
	PodCIDRs     = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/56")}
	DNSAddress   = netip.MustParseAddr("10.96.0.10")
)

// Port is a host's interface and where it is plugged in.
type Port struct {
	Interface string
	// Bridge is the segment; Peer the name of the other end, on the switch.
	Bridge, Peer string
	Addresses    []netip.Prefix
}

// Route is a static route of a host.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Host is one host of the plan.
type Host struct {
	Name   string
	Role   Role
	Ports  []Port
	Routes []Route
	// Forwards says that the host passes on packets of others.
	Forwards bool
	// PodCIDRs of a node, IPv4 first.
	PodCIDRs []netip.Prefix
}

// Address returns the host's first address of the family of like on the LAN,
// or the invalid address.
func (h Host) address(v6 bool) netip.Addr {
	for _, p := range h.Ports {
		for _, a := range p.Addresses {
			if a.Addr().Is6() == v6 {
				return a.Addr()
			}
		}
	}
	return netip.Addr{}
}

// Addresses returns the host's addresses on its first segment, IPv4 first.
func (h Host) Addresses() []netip.Addr {
	var as []netip.Addr
	for _, v6 := range []bool{false, true} {
		if a := h.address(v6); a.IsValid() {
			as = append(as, a)
		}
	}
	return as
}

// Plan lists all hosts of a lab with nodes nodes and the given routers (of
// frr and bird), in the order in which they are made.
func Plan(nodes int, routers []string) ([]Host, error) {
	if nodes < 1 || nodes > MaxNodes {
		return nil, fmt.Errorf("%d nodes: want 1 to %d", nodes, MaxNodes)
	}
	for _, r := range routers {
		if r != HostFRR && r != HostBIRD {
			return nil, fmt.Errorf("router %q: want %s or %s", r, HostFRR, HostBIRD)
		}
	}
	hosts := []Host{{Name: HostSwitch, Role: Switch}}
	// Both always have their addresses; the order decides who is the gateway.
	numbers := map[string]int{HostFRR: 1, HostBIRD: 2}
	for _, r := range []string{HostFRR, HostBIRD} {
		if slices.Contains(routers, r) {
			hosts = append(hosts, Host{Name: r, Role: Router, Forwards: true,
				Ports: []Port{lanPort(r, numbers[r]), farPort(r, "eth1", numbers[r])}})
		}
	}
	cp := Host{Name: HostControlPlane, Role: ControlPlane, Forwards: true, Ports: []Port{lanPort(HostControlPlane, 10)}}
	if len(routers) == 0 {
		cp.Ports = append(cp.Ports, farPort(HostControlPlane, "eth1", 10))
	}
	hosts = append(hosts, cp)
	for i := 1; i <= nodes; i++ {
		name := fmt.Sprintf("node%d", i)
		hosts = append(hosts, Host{Name: name, Role: Node, Forwards: true,
			Ports: []Port{lanPort(name, 10+i)}, PodCIDRs: podCIDRs(i)})
	}
	hosts = append(hosts,
		Host{Name: HostClient, Role: Client, Ports: []Port{lanPort(HostClient, 100)}},
		Host{Name: HostFar, Role: Far, Ports: []Port{farPort(HostFar, "eth0", 100)}})
	addRoutes(hosts)
	return hosts, nil
}

// addRoutes gives every host of the LAN the way to the pods of each node, and
// every host a way out through the gateway.
func addRoutes(hosts []Host) {
	gateway := hosts[1] // the first router, or the control plane
	for i := range hosts {
		h := &hosts[i]
		if h.Role == Switch {
			continue
		}
		if h.Role == Far {
			for j, p := range gateway.Ports[1].Addresses {
				h.Routes = append(h.Routes, Route{To: anywhere(j == 1), Via: p.Addr()})
			}
			continue
		}
		for _, n := range hosts {
			if n.Role != Node || n.Name == h.Name || h.Role == Client {
				continue
			}
			for j, cidr := range n.PodCIDRs {
				h.Routes = append(h.Routes, Route{To: cidr, Via: n.Ports[0].Addresses[j].Addr()})
			}
		}
		if h.Name != gateway.Name {
			for j, p := range gateway.Ports[0].Addresses {
				h.Routes = append(h.Routes, Route{To: anywhere(j == 1), Via: p.Addr()})
			}
		}
	}
}

func anywhere(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// The last part of a host's two addresses is the same text: .100 and ::100.
func lanPort(host string, n int) Port {
	return Port{Interface: "eth0", Bridge: bridgeLAN, Peer: host, Addresses: []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("172.30.0.%d/24", n)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:30::%d/64", n)),
	}}
}

func farPort(host, iface string, n int) Port {
	return Port{Interface: iface, Bridge: bridgeFar, Peer: host + "-far", Addresses: []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("172.31.0.%d/24", n)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:31::%d/64", n)),
	}}
}

func podCIDRs(node int) []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", node)),
		netip.MustParsePrefix(fmt.Sprintf("fd00:244:0:%x::/64", node)),
	}
}

// joined writes values with commas between, the form of most flags.
func joined[T fmt.Stringer](values []T) string {
	var s []string
	for _, v := range values {
		s = append(s, v.String())
	}
	return strings.Join(s, ",")
}
