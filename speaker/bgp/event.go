package bgp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// Event is something that happened. The types of this file are all there are.
type Event interface{ event() }

type (
	// SetNode is what the API says of a node: Reason is empty where it may
	// announce.
	SetNode struct {
		Name   string
		Reason reason.Reason
	}
	// DeleteNode says that the API has no such node any more.
	DeleteNode struct{ Name string }

	// SetProxy says whether this node's service proxy is down.
	SetProxy struct{ Down bool }

	// SetPeer adds a peer or changes it.
	SetPeer struct{ Peer Peer }
	// DeletePeer says that there is no such peer any more.
	DeletePeer struct{ Name string }

	// SetAdvertisement adds an advertisement or changes it.
	SetAdvertisement struct{ Advertisement Advertisement }
	// DeleteAdvertisement says that there is no such advertisement any more.
	DeleteAdvertisement struct{ Name string }

	// SetCommunities are the aliases of one object: values by name.
	SetCommunities struct {
		Name    string
		Aliases map[string]string
	}
	// DeleteCommunities says that there is no such object any more.
	DeleteCommunities struct{ Name string }

	// SetProfile adds a BFD profile or changes it.
	SetProfile struct {
		Name    string
		Profile bfd.Config
	}
	// DeleteProfile says that there is no such profile any more.
	DeleteProfile struct{ Name string }

	// SetSecret is a Secret that a peer may name. Invalid says that it cannot
	// be used as a password.
	SetSecret struct {
		Name     string
		Password Password
		Invalid  bool
	}
	// DeleteSecret says that there is no such Secret any more.
	DeleteSecret struct{ Name string }

	// SetAddress adds an address or changes what is known of it.
	SetAddress struct{ Address Address }
	// DeleteAddress says that nobody wants the address announced any more.
	DeleteAddress struct{ IP netip.Addr }

	// SetSession says whether the session of a node to a peer is up, for
	// Explain, and why it is not, or why the node, of itself, can have none,
	// for PeerStates; it changes no path. The zero value beside Node and Peer:
	// nothing is known.
	SetSession struct {
		Node, Peer string
		Up         bool
		Refused    Refusal
		Error      string
	}

	// Drain has every path ask the peers for another (RFC 8326): the speaker
	// will stop.
	Drain struct{}
	// Withdraw takes every path back, for good.
	Withdraw struct{}
)

func (SetNode) event()             {}
func (DeleteNode) event()          {}
func (SetProxy) event()            {}
func (SetPeer) event()             {}
func (DeletePeer) event()          {}
func (SetAdvertisement) event()    {}
func (DeleteAdvertisement) event() {}
func (SetCommunities) event()      {}
func (DeleteCommunities) event()   {}
func (SetProfile) event()          {}
func (DeleteProfile) event()       {}
func (SetSecret) event()           {}
func (DeleteSecret) event()        {}
func (SetAddress) event()          {}
func (DeleteAddress) event()       {}
func (SetSession) event()          {}
func (Drain) event()               {}
func (Withdraw) event()            {}

// Address is an address to announce.
type Address struct {
	IP netip.Addr
	// Advertisements that select it, by name, in order.
	Advertisements []string
	// Local are the nodes with an endpoint, where only those may announce
	// (externalTrafficPolicy Local); nil where any node may.
	Local map[string]bool
	// NoEndpoints says that there is nobody to serve it, on any node.
	NoEndpoints bool
	// Behind says that the address is new, and that this node's service proxy does
	// not know it yet.
	Behind bool
}

// Advertisement is a BGPAdvertisement with its selectors resolved.
type Advertisement struct {
	Name string
	// Nodes that it selects; nil: every node.
	Nodes map[string]bool
	// Peers by name; empty: every peer.
	Peers []string
	// Lengths of the prefix that an IPv4 and an IPv6 address is announced in.
	Length, LengthV6 int
	// LocalPref 0 stands for the usual.
	LocalPref uint32
	// MED is sent where it is not nil.
	MED         *uint32
	Prepend     int
	Communities []string
	// Refused says why the advertisement cannot be used as it is written, as
	// far as that is known before.
	Refused Refusal
}

// Refusal is why something cannot be used. The zero value is none.
type Refusal struct {
	Reason  reason.Reason
	Message string
}

func refusal(r reason.Reason, format string, args ...any) Refusal {
	return Refusal{r, fmt.Sprintf(format, args...)}
}

// PeerType is how the peer's number is judged.
type PeerType int

// The peer's number is PeerAS, or the own, or any other.
const (
	Exactly PeerType = iota
	Internal
	External
)

// Peer is a BGPPeer with its selectors resolved.
type Peer struct {
	Name string
	// UID tells peers of one name apart that come one after the other.
	UID string
	// Nodes that keep a session to it; nil: every node.
	Nodes map[string]bool

	// Exactly one of Address, Interface and DefaultGateway says where it is.
	Address        netip.Addr
	Interface      string
	DefaultGateway bool
	Port           uint16
	VRF            string
	Source         netip.Addr // invalid: any

	// LocalAS is the number that the peer sees.
	LocalAS  uint32
	PeerAS   uint32
	PeerType PeerType
	RouterID netip.Addr // invalid: the node's

	// HoldTime 0 is none. Keepalive 0 is a third of the hold time.
	HoldTime, Keepalive, Connect time.Duration
	GracefulRestart              bool
	MultiHop                     bool
	TTLSecurity                  bool
	DualStack                    bool

	// Password, or the Secret that has it.
	Password Password
	Secret   string
	// Profile of BFD, by name; empty: no BFD.
	Profile string
	Refused Refusal
}

// External reports whether the peer is surely of another autonomous system.
func (p *Peer) External() bool {
	return p.PeerType == External || p.PeerType == Exactly && p.PeerAS != p.LocalAS
}

// Families that go over a session to the peer.
func (p *Peer) Families() (ipv4, ipv6 bool) {
	switch {
	case p.DualStack || p.Interface != "":
		return true, true
	case p.Address.IsValid():
		return p.Address.Is4(), !p.Address.Is4()
	case p.Source.IsValid():
		return p.Source.Is4(), !p.Source.Is4()
	}
	return true, true // the default gateway's, whichever that is
}

// carries says whether a prefix can go over a session to the peer.
func (p *Peer) carries(prefix netip.Prefix) bool {
	ipv4, ipv6 := p.Families()
	return prefix.Addr().Is4() && ipv4 || !prefix.Addr().Is4() && ipv6
}

// where names the one place at which the router is; two peers of a node must
// not have one.
func (p *Peer) where() string {
	switch {
	case p.Interface != "":
		return "interface " + p.Interface
	case p.DefaultGateway:
		return fmt.Sprintf("default gateway, vrf %q, from %s", p.VRF, p.Source)
	}
	return fmt.Sprintf("address %s, port %d, vrf %q", p.Address, p.Port, p.VRF)
}

// Password of a session. It does not show itself.
type Password string

func (Password) String() string { return "[redacted]" }

// GoString keeps a Password out of %#v.
func (Password) GoString() string { return "[redacted]" }
