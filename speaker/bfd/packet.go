package bfd

import (
	"encoding/binary"
	"time"
)

// UDP ports, and the range that source ports are taken from (RFC 5881
// section 4, RFC 5883 section 5).
const (
	PortSingleHop = 3784
	PortEcho      = 3785
	PortMultihop  = 4784
	SourcePortMin = 49152
	SourcePortMax = 65535
)

// TTL is what packets are sent with, and, over a single hop, must arrive with
// (RFC 5881 section 5).
const TTL = 255

// State is the state of a session (RFC 5880 section 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

func (s State) String() string {
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s&3]
}

// Diag is why a session went down last (RFC 5880 section 4.1).
type Diag uint8

// The diagnostics.
const (
	NoDiagnostic Diag = iota
	ControlDetectionTimeExpired
	EchoFunctionFailed
	NeighborSignaledSessionDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

var diags = [...]string{
	"NoDiagnostic", "ControlDetectionTimeExpired", "EchoFunctionFailed", "NeighborSignaledSessionDown",
	"ForwardingPlaneReset", "PathDown", "ConcatenatedPathDown", "AdministrativelyDown", "ReverseConcatenatedPathDown",
}

func (d Diag) String() string {
	if int(d) < len(diags) {
		return diags[d]
	}
	return "Reserved"
}

// Packet is a BFD control packet (RFC 5880 section 4.1), without
// authentication. Intervals go over the wire in microseconds, up to 71 minutes.
type Packet struct {
	Diag                        Diag
	State                       State
	Poll, Final                 bool
	ControlPlaneIndependent     bool
	Demand                      bool
	DetectMult                  uint8
	MyDiscriminator             uint32
	YourDiscriminator           uint32
	DesiredMinTx, RequiredMinRx time.Duration
	RequiredMinEchoRx           time.Duration
}

// Drop is why a packet was not acted upon. It is a metric label.
type Drop string

// The reasons to drop a packet. Those of control packets are in the order of
// RFC 5880 section 6.8.6.
const (
	// BadVersion: the version is not 1.
	BadVersion Drop = "BadVersion"
	// BadLength: shorter than a control packet, or than it says.
	BadLength Drop = "BadLength"
	// ZeroDetectMult: the detection multiplier is zero.
	ZeroDetectMult Drop = "ZeroDetectMult"
	// Multipoint: the multipoint bit is set.
	Multipoint Drop = "Multipoint"
	// ZeroMyDiscriminator: the sender has no discriminator.
	ZeroMyDiscriminator Drop = "ZeroMyDiscriminator"
	// ZeroYourDiscriminator: the sender is Init or Up and does not say with whom.
	ZeroYourDiscriminator Drop = "ZeroYourDiscriminator"
	// AuthenticationUnsupported: the authentication bit is set.
	AuthenticationUnsupported Drop = "AuthenticationUnsupported"
	// NoSession: it belongs to no session.
	NoSession Drop = "NoSession"
	// BadTTL: it may have come from farther away than its session allows
	// (RFC 5881 section 5, RFC 5883 section 5.2).
	BadTTL Drop = "BadTTL"
	// SessionAdminDown: its session is administratively down.
	SessionAdminDown Drop = "SessionAdminDown"
	// BadEcho: an echo packet that this node did not send.
	BadEcho Drop = "BadEcho"
	// StaleEcho: an echo packet that took longer than the detection time, or is
	// a copy.
	StaleEcho Drop = "StaleEcho"
)

// Drops are all reasons, in order.
var Drops = [...]Drop{
	BadVersion, BadLength, ZeroDetectMult, Multipoint, ZeroMyDiscriminator, ZeroYourDiscriminator,
	AuthenticationUnsupported, NoSession, BadTTL, SessionAdminDown, BadEcho, StaleEcho,
}

const (
	version    = 1
	packetSize = 24
)

// Bits of the second octet, below the state.
const (
	bitMultipoint = 1 << iota
	bitDemand
	bitAuthentication
	bitControlPlaneIndependent
	bitFinal
	bitPoll
)

// Marshal returns the packet as it goes over the wire. Intervals above what 32
// bits of microseconds hold are sent as the most that they hold.
func (p Packet) Marshal() []byte {
	b := make([]byte, packetSize)
	b[0] = version<<5 | uint8(p.Diag)&0x1f
	b[1] = uint8(p.State) << 6
	for _, flag := range []struct {
		set bool
		bit byte
	}{{p.Poll, bitPoll}, {p.Final, bitFinal}, {p.ControlPlaneIndependent, bitControlPlaneIndependent}, {p.Demand, bitDemand}} {
		if flag.set {
			b[1] |= flag.bit
		}
	}
	b[2] = p.DetectMult
	b[3] = packetSize
	binary.BigEndian.PutUint32(b[4:], p.MyDiscriminator)
	binary.BigEndian.PutUint32(b[8:], p.YourDiscriminator)
	binary.BigEndian.PutUint32(b[12:], micros(p.DesiredMinTx))
	binary.BigEndian.PutUint32(b[16:], micros(p.RequiredMinRx))
	binary.BigEndian.PutUint32(b[20:], micros(p.RequiredMinEchoRx))
	return b
}

func micros(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), 1<<32-1))
}

// Unmarshal reads a packet, and makes those checks of RFC 5880 section 6.8.6
// that need no session. Octets after the packet's own length are ignored.
func Unmarshal(b []byte) (Packet, Drop) {
	if len(b) < packetSize {
		return Packet{}, BadLength
	}
	if b[0]>>5 != version {
		return Packet{}, BadVersion
	}
	shortest := packetSize
	if b[1]&bitAuthentication != 0 {
		shortest = packetSize + 2
	}
	if length := int(b[3]); length < shortest || length > len(b) {
		return Packet{}, BadLength
	}
	duration := func(at int) time.Duration {
		return time.Duration(binary.BigEndian.Uint32(b[at:])) * time.Microsecond
	}
	p := Packet{
		Diag:                    Diag(b[0] & 0x1f),
		State:                   State(b[1] >> 6),
		Poll:                    b[1]&bitPoll != 0,
		Final:                   b[1]&bitFinal != 0,
		ControlPlaneIndependent: b[1]&bitControlPlaneIndependent != 0,
		Demand:                  b[1]&bitDemand != 0,
		DetectMult:              b[2],
		MyDiscriminator:         binary.BigEndian.Uint32(b[4:]),
		YourDiscriminator:       binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:            duration(12),
		RequiredMinRx:           duration(16),
		RequiredMinEchoRx:       duration(20),
	}
	switch {
	case p.DetectMult == 0:
		return Packet{}, ZeroDetectMult
	case b[1]&bitMultipoint != 0:
		return Packet{}, Multipoint
	case p.MyDiscriminator == 0:
		return Packet{}, ZeroMyDiscriminator
	case p.YourDiscriminator == 0 && p.State != Down && p.State != AdminDown:
		return Packet{}, ZeroYourDiscriminator
	case b[1]&bitAuthentication != 0:
		return Packet{}, AuthenticationUnsupported
	}
	return p, ""
}
