package election

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestBurst: 4,000 addresses that come within a second are few messages, of which
// each fits a packet.
func TestBurst(t *testing.T) {
	e := large(3, 0)
	var claims, packets int
	for i := range 4000 {
		now := time.Duration(i) * 250 * time.Microsecond
		e.Step(now, SetAddress{Address{IP: nth(i), Advertisements: []*Advertisement{everyOf(3)}}})
		r := e.Ready()
		if i%200 == 199 {
			e.Step(now, Tick{})
		}
		claims += len(r.Send.Claims)
		for _, piece := range r.Send.Split() {
			packets++
			if len(piece) > 1200 {
				t.Errorf("a packet of %d bytes", len(piece))
			}
		}
	}
	if claims < 1000 {
		t.Errorf("%d claims of 4,000 addresses on 3 nodes", claims)
	}
	if packets > 60 {
		t.Errorf("%d packets for %d claims", packets, claims)
	}
}

func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

func everyOf(nodes int) *Advertisement {
	v := &Advertisement{Nodes: map[string]int{}}
	for i := range nodes {
		v.Nodes[fmt.Sprintf("n%d", i)] = 0
	}
	return v
}

var everyPrefix = []netip.Prefix{everywhere}

// large is n0 of a cluster in which the others hold the addresses.
func large(nodes, addresses int) *Election {
	e := New(Config{Node: "n0"}, 0)
	every := everyOf(nodes)
	on := []Interface{{Name: "eth0", Prefixes: everyPrefix}}
	var m Message
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		e.Step(0, SetNode{Name: name})
		e.Step(0, MemberUp{name})
		if i > 0 {
			m.States = append(m.States, NodeState{Node: name, Version: 1, Interfaces: on})
		}
	}
	e.Step(0, SetInterfaces{on})
	for i := range addresses {
		e.Step(0, SetAddress{Address{IP: nth(i), Advertisements: []*Advertisement{every}}})
		m.Claims = append(m.Claims, Claim{Address: nth(i), Term: 1, Node: fmt.Sprintf("n%d", 1+i%(nodes-1)), Phase: Held, Weight: nodes, Cause: CauseNew})
	}
	e.Step(0, Receive{m})
	e.Step(0, Join{nodes - 1})
	e.Ready()
	return e
}

// The benchmarks are of one event among 5,000 addresses of 200 nodes.

// BenchmarkNodeDies: this node takes its part of 25 addresses, and knows of the
// rest.
func BenchmarkNodeDies(b *testing.B) {
	e := large(200, 5000)
	for i := 0; b.Loop(); i++ {
		node := fmt.Sprintf("n%d", 1+i%199)
		e.Step(0, MemberDown{node})
		e.Ready()
		b.StopTimer()
		e.Step(0, MemberUp{node})
		e.Ready()
		b.StartTimer()
	}
}

// BenchmarkNodeNotReady: another's node, and back.
func BenchmarkNodeNotReady(b *testing.B) {
	e := large(200, 5000)
	for b.Loop() {
		e.Step(0, SetNode{"n7", "NodeNotReady"})
		e.Step(0, SetNode{"n7", ""})
		e.Ready()
	}
}

// BenchmarkClaim: another node takes an address.
func BenchmarkClaim(b *testing.B) {
	e := large(200, 5000)
	for i := 0; b.Loop(); i++ {
		e.Step(0, Receive{Message{Claims: []Claim{{
			Address: nth(i % 5000), Term: uint64(i + 2), Node: fmt.Sprintf("n%d", 1+i%199), Phase: Held, Weight: 200, Cause: CauseRebalance,
		}}}})
		e.Ready()
	}
}

// BenchmarkNewAddress: an address comes and goes, among 5,000.
func BenchmarkNewAddress(b *testing.B) {
	e := large(200, 5000)
	a := Address{IP: nth(6000), Advertisements: []*Advertisement{everyOf(200)}}
	for b.Loop() {
		e.Step(0, SetAddress{a})
		e.Step(0, DeleteAddress{a.IP})
		e.Ready()
	}
}

// BenchmarkTick: nothing happens.
func BenchmarkTick(b *testing.B) {
	e := large(200, 5000)
	for i := 0; b.Loop(); i++ {
		e.Step(time.Duration(i)*50*time.Millisecond, Tick{})
		e.Ready()
	}
}

// BenchmarkFullState: another's full state, in which nothing is new.
func BenchmarkFullState(b *testing.B) {
	e := large(200, 5000)
	m := e.State()
	for b.Loop() {
		e.Step(0, Receive{m})
		e.Ready()
	}
}
