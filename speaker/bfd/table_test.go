package bfd

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestStateMachine is the diagram of RFC 5880 section 6.2 and the procedure of
// section 6.8.6: every state with every state that the peer may report.
func TestStateMachine(t *testing.T) {
	reach := map[State][]State{Down: nil, Init: {Down}, Up: {Down, Init}}
	for _, c := range []struct {
		from, hears, to State
		diag            Diag
	}{
		{Down, AdminDown, Down, NoDiagnostic},
		{Down, Down, Init, NoDiagnostic},
		{Down, Init, Up, NoDiagnostic},
		{Down, Up, Down, NoDiagnostic},
		{Init, AdminDown, Down, NeighborSignaledSessionDown},
		{Init, Down, Init, NoDiagnostic},
		{Init, Init, Up, NoDiagnostic},
		{Init, Up, Up, NoDiagnostic},
		{Up, AdminDown, Down, NeighborSignaledSessionDown},
		{Up, Down, Down, NeighborSignaledSessionDown},
		{Up, Init, Up, NoDiagnostic},
		{Up, Up, Up, NoDiagnostic},
	} {
		t.Run(c.from.String()+" hears "+c.hears.String(), func(t *testing.T) {
			n := begin(t, nil)
			for _, s := range reach[c.from] {
				n.receive(n.says(s))
			}
			n.want("state before", n.status().State, c.from)
			n.receive(n.says(c.hears))
			n.want("state", n.status().State, c.to)
			n.want("diagnostic", n.status().Diag, c.diag)
			n.want("reported remote state", n.status().RemoteState, c.hears)
			if c.from != c.to {
				last := n.changes[len(n.changes)-1]
				n.want("change", last, Change{Path: singleHop, At: n.now, From: c.from, To: c.to, Diag: c.diag, Remote: c.hears})
			}
		})
	}
	t.Run("AdminDown hears anything", func(t *testing.T) {
		for _, s := range []State{AdminDown, Down, Init, Up} {
			n := begin(t, nil).up()
			p := n.says(s)
			p.Poll = true
			n.table.Remove(n.now, singleHop)
			n.collect()
			n.forget()
			n.want("drop", n.receive(p), SessionAdminDown)
			n.want("packets sent in answer", len(n.sent), 0)
			n.want("changes", len(n.changes), 0)
		}
	})
}

// TestDemultiplexing is RFC 5880 section 6.8.6, RFC 5881 section 3 and RFC 5883
// section 4: which session a packet that names none is for.
func TestDemultiplexing(t *testing.T) {
	addr := netip.MustParseAddr
	paths := []Path{
		{Remote: addr("192.0.2.2")},
		{Remote: addr("192.0.2.2"), Interface: "eth1"},
		{Remote: addr("192.0.2.2"), Interface: "eth1", Local: addr("192.0.2.9")},
		{Remote: addr("fe80::1"), Interface: "eth0"},
		{Remote: addr("fe80::1"), Interface: "eth1"},
		{Remote: addr("198.51.100.1"), Local: addr("192.0.2.1"), Multihop: true},
		{Remote: addr("198.51.100.1"), Local: addr("192.0.2.9"), Multihop: true},
		{Remote: addr("192.0.2.2"), VRF: "red"},
		{Remote: addr("192.0.2.2"), Multihop: true},
	}
	for _, c := range []struct {
		name string
		from Arrival
		want int // of paths; -1: none
	}{
		{"by address alone", Arrival{Remote: addr("192.0.2.2"), Interface: "eth0", Local: addr("192.0.2.1")}, 0},
		{"the interface's session before that of any", Arrival{Remote: addr("192.0.2.2"), Interface: "eth1", Local: addr("192.0.2.1")}, 1},
		{"the local address's before that of any", Arrival{Remote: addr("192.0.2.2"), Interface: "eth1", Local: addr("192.0.2.9")}, 2},
		{"link-local, by interface", Arrival{Remote: addr("fe80::1"), Interface: "eth0"}, 3},
		{"link-local, the same address elsewhere", Arrival{Remote: addr("fe80::1"), Interface: "eth1"}, 4},
		{"link-local, an interface without a session", Arrival{Remote: addr("fe80::1"), Interface: "eth2"}, -1},
		{"over several hops, by both addresses", Arrival{Remote: addr("198.51.100.1"), Local: addr("192.0.2.1"), Multihop: true}, 5},
		{"over several hops, another local address", Arrival{Remote: addr("198.51.100.1"), Local: addr("192.0.2.9"), Multihop: true}, 6},
		{"over several hops, to an address of no session", Arrival{Remote: addr("198.51.100.1"), Local: addr("192.0.2.3"), Multihop: true}, -1},
		{"a multihop session's peer at the single hop port", Arrival{Remote: addr("198.51.100.1"), Local: addr("192.0.2.1")}, -1},
		{"another routing domain", Arrival{Remote: addr("192.0.2.2"), VRF: "red"}, 7},
		{"an unknown routing domain", Arrival{Remote: addr("192.0.2.2"), VRF: "blue"}, -1},
		{"both ports of one peer", Arrival{Remote: addr("192.0.2.2"), Multihop: true}, 8},
		{"an unknown address", Arrival{Remote: addr("192.0.2.3")}, -1},
	} {
		table := New(rand.New(rand.NewPCG(1, 1)))
		for _, p := range paths {
			if err := table.Add(0, p, DefaultConfig()); err != nil {
				t.Fatal(err)
			}
		}
		table.Ready()
		c.from.TTL = 255
		_, drop := table.Receive(1, c.from, Packet{State: Down, DetectMult: 3, MyDiscriminator: 5, DesiredMinTx: slow, RequiredMinRx: slow}.Marshal())
		changes := table.Ready().Changes
		if c.want < 0 {
			if drop != NoSession || len(changes) > 0 {
				t.Errorf("%s: dropped as %q, and %v", c.name, drop, changes)
			}
		} else if drop != "" || len(changes) != 1 || changes[0].Path != paths[c.want] {
			t.Errorf("%s: dropped as %q, changes %v, want one of %s", c.name, drop, changes, paths[c.want])
		}
	}
}

// TestDiscriminatorOfAnotherPort: a discriminator leads to its session from the
// session's own port and routing domain alone.
func TestDiscriminatorOfAnotherPort(t *testing.T) {
	n := begin(t, nil).up()
	for _, from := range []Arrival{{Multihop: true}, {VRF: "red"}} {
		from.Remote, from.Interface, from.TTL = singleHop.Remote, "eth0", 255
		n.want("drop", n.arrives(from), NoSession)
	}
	n.want("state", n.status().State, Up)
}

// TestRefusals names each.
func TestRefusals(t *testing.T) {
	addr := netip.MustParseAddr
	for name, c := range map[string]struct {
		path   Path
		change func(*Config)
		want   Refusal
	}{
		"no remote address":            {Path{}, nil, InvalidPath},
		"a zone in the remote address": {Path{Remote: addr("fe80::1%eth0")}, nil, InvalidPath},
		"multicast":                    {Path{Remote: addr("224.0.0.1")}, nil, InvalidPath},
		"unspecified":                  {Path{Remote: addr("::")}, nil, InvalidPath},
		"two families":                 {Path{Remote: addr("192.0.2.2"), Local: addr("2001:db8::1")}, nil, InvalidPath},
		"link-local, no interface":     {Path{Remote: addr("fe80::1")}, nil, InvalidPath},
		"multihop on an interface":     {Path{Remote: addr("192.0.2.2"), Interface: "eth0", Multihop: true}, nil, InvalidPath},
		"multiplier 0":                 {Path{Remote: addr("192.0.2.2")}, func(c *Config) { c.DetectMultiplier = 0 }, InvalidConfig},
		"transmit interval 0":          {Path{Remote: addr("192.0.2.2")}, func(c *Config) { c.TransmitInterval = 0 }, InvalidConfig},
		"receive interval 0":           {Path{Remote: addr("192.0.2.2")}, func(c *Config) { c.ReceiveInterval = 0 }, InvalidConfig},
		"echo interval too long":       {Path{Remote: addr("192.0.2.2")}, func(c *Config) { c.EchoInterval = 2 * slowest }, InvalidConfig},
		"a second time":                {singleHop, nil, SessionExists},
	} {
		n := begin(t, nil)
		cfg := DefaultConfig()
		if c.change != nil {
			c.change(&cfg)
		}
		err := n.table.Add(0, c.path, cfg)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		n.want("sessions", len(n.table.Statuses()), 1)
	}
	if err := New(rand.New(rand.NewPCG(1, 1))).Change(0, singleHop, DefaultConfig()); !errors.Is(err, UnknownSession) {
		t.Errorf("changing what is not there: %v", err)
	}
}
