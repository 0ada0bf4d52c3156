package session

import (
	"net/netip"
	"time"
)

// Family is an address family, unicast.
type Family int

// The families, in the order in which their paths are sent.
const (
	IPv4 Family = iota
	IPv6
)

// FamilyOf is the family of a prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// PeerType is what is known of a peer whose number is not.
type PeerType int

// A peer whose number is not configured is of the own autonomous system or of
// another.
const (
	Exactly PeerType = iota
	Internal
	External
)

// Config is what a session is made with.
type Config struct {
	// LocalAS is the number that the peer sees.
	LocalAS uint32
	// PeerAS is the number the peer must have, where PeerType is Exactly.
	PeerAS   uint32
	PeerType PeerType
	// RouterID is an IPv4 address.
	RouterID netip.Addr
	// HoldTime to offer, whole seconds: 0 for none, else 3 s or more. The
	// smaller one of both sides counts.
	HoldTime time.Duration
	// Keepalive is the time between keepalives; a third of the hold time where
	// it is 0 or the peer wants a shorter hold time.
	Keepalive time.Duration
	// Families to announce.
	Families []Family
	// RestartTime is how long the peer shall keep forwarding while this
	// speaker restarts (RFC 4724); 0: it shall not.
	RestartTime time.Duration
	// Restarting says that this is the first session since the speaker
	// started.
	Restarting bool
	// NextHop are the own addresses to announce.
	NextHop NextHop
}

// NextHop are the own addresses that the peer can reach.
type NextHop struct {
	// IPv4 may be invalid: IPv4 paths then go with an IPv6 next hop, where the
	// peer can take that (RFC 8950), and are not announced else.
	IPv4 netip.Addr
	// IPv6 is a global address; invalid where there is none.
	IPv6 netip.Addr
	// LinkLocal is announced beside IPv6, or instead of it (RFC 2545 section
	// 3); invalid where the peer does not share the link.
	LinkLocal netip.Addr
}

// ipv6 reports whether IPv6 next hops can be announced.
func (n NextHop) ipv6() bool { return n.IPv6.IsValid() || n.LinkLocal.IsValid() }

// State of a session.
type State int

// The states that a session with a connection goes through (RFC 4271 section
// 8.2.2). A Closed session is over; Err says why.
const (
	OpenSent State = iota
	OpenConfirm
	Established
	Closed
)

func (s State) String() string {
	return [...]string{"OpenSent", "OpenConfirm", "Established", "Closed"}[s]
}
