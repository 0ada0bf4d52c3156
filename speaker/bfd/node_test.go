package bfd

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// node is one session whose peer the test plays.
type node struct {
	*testing.T
	table *Table
	path  Path
	now   time.Duration
	// sent are the packets since the last look, and when.
	sent    []Packet
	at      []time.Duration
	echoes  [][]byte
	echoAt  []time.Duration
	changes []Change
	gone    int
}

const peerDiscr = 77

var singleHop = Path{Remote: netip.MustParseAddr("192.0.2.2"), Interface: "eth0"}

// begin adds a session, after change had its way with the configuration.
func begin(t *testing.T, change func(*Config)) *node {
	return beginOn(t, singleHop, change)
}

func beginOn(t *testing.T, path Path, change func(*Config)) *node {
	t.Helper()
	n := &node{T: t, table: New(rand.New(rand.NewPCG(1, 2))), path: path, now: time.Hour}
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := n.table.Add(n.now, path, cfg); err != nil {
		t.Fatal(err)
	}
	n.collect()
	return n
}

func (n *node) collect() {
	r := n.table.Ready()
	for _, s := range r.Send {
		n.sent = append(n.sent, s.Packet)
		n.at = append(n.at, n.now)
	}
	for _, e := range r.Echo {
		n.echoes = append(n.echoes, e.Payload)
		n.echoAt = append(n.echoAt, n.now)
	}
	n.changes = append(n.changes, r.Changes...)
	n.gone += len(r.Gone)
}

// forget what was sent so far.
func (n *node) forget() { n.sent, n.at, n.echoes, n.echoAt, n.changes = nil, nil, nil, nil, nil }

func (n *node) run(d time.Duration) {
	for until := n.now + d; ; {
		at, ok := n.table.Next()
		if !ok || at > until {
			n.now = until
			return
		}
		n.now = max(n.now, at)
		n.table.Advance(n.now)
		n.collect()
	}
}

func (n *node) status() Status { return n.table.Statuses()[0] }

// says is a packet from the peer, which knows this session.
func (n *node) says(state State) Packet {
	return Packet{
		State: state, DetectMult: 3, MyDiscriminator: peerDiscr, YourDiscriminator: n.status().Local,
		DesiredMinTx: time.Second, RequiredMinRx: 300 * time.Millisecond,
	}
}

func (n *node) receive(p Packet) Drop {
	_, drop := n.table.Receive(n.now, Arrival{Remote: n.path.Remote, Interface: n.path.Interface, TTL: 255, Multihop: n.path.Multihop}, p.Marshal())
	n.collect()
	return drop
}

// arrives is a Down packet that comes another way.
func (n *node) arrives(from Arrival) Drop {
	_, drop := n.table.Receive(n.now, from, n.says(Down).Marshal())
	n.collect()
	return drop
}

// up brings the session Up, with its first Poll Sequence over.
func (n *node) up() *node { return n.upWith(func(*Packet) {}) }

func (n *node) upWith(change func(*Packet)) *node {
	n.Helper()
	for _, state := range []State{Down, Init, Up} {
		p := n.says(state)
		change(&p)
		p.Final = state == Up
		n.receive(p)
	}
	p := n.says(Up)
	change(&p)
	n.receive(p)
	if n.status().State != Up {
		n.Fatalf("the session is %s", n.status().State)
	}
	n.forget()
	return n
}

func (n *node) want(what string, got, want any) {
	n.Helper()
	if got != want {
		n.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (n *node) lastSent() Packet {
	n.Helper()
	if len(n.sent) == 0 {
		n.Fatal("nothing was sent")
	}
	return n.sent[len(n.sent)-1]
}

func withEcho(p *Packet) { p.RequiredMinEchoRx = 50 * time.Millisecond }

func (n *node) comesBack(b []byte) {
	n.Helper()
	if drop := n.table.ReceiveEcho(n.now, b); drop != "" {
		n.Fatalf("the echo packet was dropped: %s", drop)
	}
	n.collect()
}

// gaps checks the times between packets, and that they fill the range.
func (n *node) gaps(interval time.Duration, least, most float64) {
	n.Helper()
	for range 100 {
		n.run(10 * time.Second)
		p := n.says(Up)
		p.DetectMult = 255
		n.receive(p)
	}
	low, high := 1.0, 0.0
	for i := 1; i < len(n.at); i++ {
		f := float64(n.at[i]-n.at[i-1]) / float64(interval)
		low, high = min(low, f), max(high, f)
	}
	span := most - least
	if low < least-1e-6 || high > most+1e-6 || low > least+span/20 || high < most-span/20 {
		n.Errorf("gaps are %.3f to %.3f of the interval, want all of %.2f to %.2f", low, high, least, most)
	}
}
