package election

import (
	"net/netip"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Event is something that happened. The types of this file are all there are.
type Event interface{ event() }

type (
	// Tick lets time pass. It is due every 50 ms or so; a gap much longer than
	// that says that the process was frozen.
	Tick struct{}

	// Join says that the speaker takes part: it has the API's objects, and the
	// state of the other speakers as far as they could be reached. Before it,
	// nothing is claimed. Others says how many other speakers there should be.
	Join struct{ Others int }

	// MemberUp and MemberDown come from membership.
	MemberUp   struct{ Node string }
	MemberDown struct{ Node string }

	// SetAbsent says how many other speakers there should be, by the API, that
	// are no live members.
	SetAbsent struct{ Speakers int }

	// SetNode is what the API says of a node: Reason is empty where it may
	// announce.
	SetNode struct {
		Name   string
		Reason reason.Reason
	}
	// DeleteNode says that the API has no such node any more.
	DeleteNode struct{ Name string }

	// SetAddress adds an address or changes what is known of it.
	SetAddress struct{ Address Address }
	// DeleteAddress says that nobody wants the address announced any more.
	DeleteAddress struct{ IP netip.Addr }

	// SetInterfaces lists the node's interfaces that can announce.
	SetInterfaces struct{ Interfaces []Interface }
	// SetProxy says whether the node's service proxy is down.
	SetProxy struct{ Down bool }

	// Receive is a message of another speaker, a delta or its full state.
	Receive struct{ Message Message }
	// Resynced ends a Ready.Resync: full state was exchanged, or could not be.
	Resynced struct{}

	// SawAnnouncement says that another host answered or announced for an
	// address. Mine is the hardware address of the interface that heard it.
	SawAnnouncement struct {
		IP         netip.Addr
		Mine, From MAC
	}

	// Drain says that the speaker will stop: hand everything over.
	Drain struct{}
)

func (Tick) event()            {}
func (Join) event()            {}
func (MemberUp) event()        {}
func (MemberDown) event()      {}
func (SetAbsent) event()       {}
func (SetNode) event()         {}
func (DeleteNode) event()      {}
func (SetAddress) event()      {}
func (DeleteAddress) event()   {}
func (SetInterfaces) event()   {}
func (SetProxy) event()        {}
func (Receive) event()         {}
func (Resynced) event()        {}
func (SawAnnouncement) event() {}
func (Drain) event()           {}

// Message is what speakers tell each other.
type Message struct {
	Claims []Claim
	States []NodeState
}

// Empty reports whether the message says nothing.
func (m Message) Empty() bool { return len(m.Claims) == 0 && len(m.States) == 0 }

// Ready is what is to be done, in the order of the fields: in particular an
// address is announced before Send tells the others, whose predecessor stops
// only then (property 5).
type Ready struct {
	// Answer are addresses to answer for from now on, or to answer for on
	// other interfaces than before. New pairs are announced gratuitously.
	Answer []Answer
	// Defend are addresses to announce once more, now.
	Defend []netip.Addr
	// Probe are addresses to ask the segment for (RFC 5227 section 2.1.1; for
	// IPv6 a solicitation from the unspecified address).
	Probe []Answer
	// Withdraw are addresses to answer for no more.
	Withdraw []netip.Addr
	// Send goes to all live members.
	Send Message
	// Resync names speakers to exchange full state with, now, though they may
	// not be live members; Resynced follows.
	Resync []string
	// Moves are the changes of owner, as this node learned of them.
	Moves []Move
	// Changed are the addresses whose Explain may differ, in order.
	Changed []netip.Addr
}

// Answer names the interfaces on which to answer for an address, in order.
type Answer struct {
	IP         netip.Addr
	Interfaces []string
}

// Move is a change of owner. From and To are empty where there is none.
type Move struct {
	IP       netip.Addr
	From, To string
	Cause    Cause
}
