package bfd

import (
	"fmt"
	"net/netip"
	"time"
)

// Path says between whom a session is, and is its name.
type Path struct {
	// Remote is the peer's address, without a zone.
	Remote netip.Addr
	// Local is the address to send from. The zero Addr leaves it to the
	// routing table, and takes packets to any address.
	Local netip.Addr
	// Interface is what the peer is reached over; empty takes packets from any.
	// Link-local addresses need it. Sessions over several hops have none.
	Interface string
	// VRF is the device of the routing domain; empty is the default one.
	VRF string
	// Multihop selects RFC 5883.
	Multihop bool
}

func (p Path) String() string {
	s := p.Remote.String()
	if p.Interface != "" {
		s += "%" + p.Interface
	}
	if p.Local.IsValid() {
		s += " from " + p.Local.String()
	}
	if p.VRF != "" {
		s += " in " + p.VRF
	}
	if p.Multihop {
		s += " multihop"
	}
	return s
}

// canEcho: over several hops there is no echo (RFC 5883 section 3), and no
// router forwards from or to a link-local address.
func (p Path) canEcho() bool {
	return !p.Multihop && !p.Remote.IsLinkLocalUnicast()
}

// Refusal is why a session is not there as asked.
type Refusal string

// The refusals.
const (
	// InvalidPath: the addresses and the interface make no path.
	InvalidPath Refusal = "InvalidPath"
	// InvalidConfig: an interval or the multiplier is out of range.
	InvalidConfig Refusal = "InvalidConfig"
	// SessionExists: there is such a session.
	SessionExists Refusal = "SessionExists"
	// UnknownSession: there is none.
	UnknownSession Refusal = "UnknownSession"
)

func (r Refusal) Error() string { return string(r) }

func (p Path) check() error {
	switch {
	case !p.Remote.IsValid() || p.Remote.Zone() != "" || p.Remote.Is4In6() || p.Remote.IsUnspecified() || p.Remote.IsMulticast():
		return fmt.Errorf("%w: remote address %s", InvalidPath, p.Remote)
	case p.Local.IsValid() && (p.Local.Zone() != "" || p.Local.Is4() != p.Remote.Is4()):
		return fmt.Errorf("%w: local address %s to %s", InvalidPath, p.Local, p.Remote)
	case p.Remote.IsLinkLocalUnicast() && p.Remote.Is6() && p.Interface == "":
		return fmt.Errorf("%w: link-local %s without an interface", InvalidPath, p.Remote)
	case p.Multihop && p.Interface != "":
		return fmt.Errorf("%w: interface %s over several hops", InvalidPath, p.Interface)
	}
	return nil
}

// Config is what a session is asked to do. It may change at any time.
type Config struct {
	// TransmitInterval is the least time between control packets to the peer
	// that is wanted, and ReceiveInterval between those from it. While the
	// session is not Up, no less than a second is used to send.
	TransmitInterval, ReceiveInterval time.Duration
	// DetectMultiplier is after how many missing packets the peer shall give up.
	DetectMultiplier uint8
	// Echo sends echo packets, and lets the peer do so, EchoInterval apart.
	Echo         bool
	EchoInterval time.Duration
	// Passive waits for the peer to speak first.
	Passive bool
	// MinimumTTL is what packets must arrive with over several hops.
	MinimumTTL uint8
}

// DefaultConfig is a profile in which nothing is set.
func DefaultConfig() Config {
	return Config{
		TransmitInterval: 300 * time.Millisecond, ReceiveInterval: 300 * time.Millisecond,
		DetectMultiplier: 3, EchoInterval: 50 * time.Millisecond, MinimumTTL: 254,
	}
}

const (
	// slowest is the longest interval that the wire can carry; a zero interval
	// to send is reserved (RFC 5880 section 4.1), and one to receive would ask
	// the peer for silence.
	slowest  = (1<<32 - 1) * time.Microsecond
	shortest = time.Millisecond
	// slow is what is at least used to send while a session is not Up, and to
	// receive while echo packets do the detection (RFC 5880 section 6.8.3).
	slow = time.Second
)

func (c Config) check() error {
	for _, i := range []struct {
		name string
		d    time.Duration
	}{{"transmit", c.TransmitInterval}, {"receive", c.ReceiveInterval}, {"echo", c.EchoInterval}} {
		if i.d < shortest || i.d > slowest {
			return fmt.Errorf("%w: %s interval %s, want %s to %s", InvalidConfig, i.name, i.d, shortest, slowest)
		}
	}
	if c.DetectMultiplier == 0 {
		return fmt.Errorf("%w: detection multiplier 0", InvalidConfig)
	}
	return nil
}
