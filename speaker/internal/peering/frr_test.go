package peering

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// six has FRR exchange IPv6 with a neighbor that it is told of.
const six = "\n neighbor fd00:a::11 timers connect 1\n address-family ipv6 unicast\n  neighbor fd00:a::11 activate\n exit-address-family"

// accept has FRR accept a node of AS 64600 from either family.
const accept = `neighbor nodes peer-group
 neighbor nodes remote-as 64600
 bgp listen range 10.0.0.0/24 peer-group nodes
 bgp listen range fd00:a::/64 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
 exit-address-family
 address-family ipv6 unicast
  neighbor nodes activate
 exit-address-family`

func TestFRRLearnsAnAddress(t *testing.T) {
	r := frr(t, accept)
	n := newNode(t, peer("frr", "10.0.0.1", 64512, nil), advertisement("all", func(a *bgp.Advertisement) {
		med := uint32(7)
		a.Communities, a.MED, a.Prepend = []string{"64600:1", "no-export", "large:64600:2:3"}, &med, 1
	}), address("192.0.2.1", "all"))
	since := n.awaitUp("frr")
	await(t, "FRR has the route", func() bool { return r.route("192.0.2.1/32") != nil })
	got := r.route("192.0.2.1/32")
	if got.Path.String != "64600 64600" || *got.Metric != 7 || got.Community.String != "64600:1 no-export" ||
		got.LargeCommunity.String != "64600:2:3" || got.NextHops[0].IP != "10.0.0.11" {
		t.Errorf("%+v", got)
	}

	n.Post(address("192.0.2.2", "all"))
	n.Post(bgp.DeleteAddress{IP: address("192.0.2.1").Address.IP})
	await(t, "the routes follow", func() bool { return r.route("192.0.2.1/32") == nil && r.route("192.0.2.2/32") != nil })
	n.undisturbed("frr", since)
	n.stop()
	await(t, "FRR forgets", func() bool { return r.route("192.0.2.2/32") == nil })
	if state, _, _ := r.neighbor("10.0.0.11"); strings.EqualFold(state, "established") {
		t.Errorf("session is %s", state)
	}
}

// Either family over a session of either.
func TestFamilies(t *testing.T) {
	r := frr(t, accept)
	n := newNode(t, advertisement("all", nil), address("192.0.2.1", "all"), address("2001:db8::1", "all"),
		peer("four", "10.0.0.1", 64512, func(p *bgp.Peer) { p.DualStack = true }))
	n.awaitUp("four")
	await(t, "both are there over IPv4", func() bool { return r.route("192.0.2.1/32") != nil && r.route("2001:db8::1/128") != nil })
	if hop := r.route("2001:db8::1/128").NextHops[0].IP; hop != "fd00:a::11" {
		t.Errorf("IPv6 next hop %s", hop)
	}
	n.Post(bgp.DeletePeer{Name: "four"})
	await(t, "they are gone", func() bool { return r.route("192.0.2.1/32") == nil })
	n.Post(peer("six", "fd00:a::1", 64512, func(p *bgp.Peer) { p.DualStack = true }))
	n.awaitUp("six")
	await(t, "both are there over IPv6", func() bool { return r.route("192.0.2.1/32") != nil && r.route("2001:db8::1/128") != nil })
	if hop := r.route("192.0.2.1/32").NextHops[0].IP; hop != "10.0.0.11" {
		t.Errorf("IPv4 next hop %s", hop)
	}
}

// One interface, no addresses on it: the router is found, and takes IPv4 by an
// IPv6 next hop (RFC 8950).
func TestUnnumbered(t *testing.T) {
	r := frr(t, `neighbor eth0 interface remote-as 64600
 address-family ipv6 unicast
  neighbor eth0 activate
 exit-address-family`)
	n := newNode(t, advertisement("all", nil), address("192.0.2.1", "all"), address("2001:db8::1", "all"),
		peer("link", "", 64512, func(p *bgp.Peer) { p.Interface = "br0" }),
		peer("none", "", 64512, func(p *bgp.Peer) { p.Interface = "eth7" }))
	n.awaitUp("link")
	await(t, "both are there", func() bool { return r.route("192.0.2.1/32") != nil && r.route("2001:db8::1/128") != nil })
	if hop := r.route("192.0.2.1/32").NextHops[0].IP; !netip.MustParseAddr(hop).Is6() {
		t.Errorf("next hop %s", hop)
	}
	await(t, "the missing interface is named", func() bool { return n.state("none").Refused.Reason == reason.InterfaceNotFound })
}

func TestDefaultGateway(t *testing.T) {
	r := frr(t, accept)
	run(t, "ip", "route", "add", "default", "via", "10.0.0.1")
	t.Cleanup(func() { run(t, "ip", "route", "del", "default") })
	n := newNode(t, advertisement("all", nil), address("192.0.2.1", "all"),
		peer("gateway", "", 64512, func(p *bgp.Peer) { p.DefaultGateway = true }),
		peer("six", "", 64512, func(p *bgp.Peer) { p.DefaultGateway, p.Source = true, netip.MustParseAddr("fd00:a::11") }),
		peer("vrf", "10.0.0.1", 64512, func(p *bgp.Peer) { p.VRF = "red" }))
	n.awaitUp("gateway")
	await(t, "the route is there", func() bool { return r.route("192.0.2.1/32") != nil })
	await(t, "the reasons are said", func() bool {
		return n.state("six").Refused.Reason == reason.NoDefaultGateway && n.state("vrf").Refused.Reason == reason.VRFNotFound
	})
}

// A password that changes restarts its session alone.
func TestPassword(t *testing.T) {
	r := frr(t, "neighbor 10.0.0.11 remote-as 64600\n neighbor 10.0.0.11 password first\n neighbor fd00:a::11 remote-as 64600\n neighbor fd00:a::11 password other"+six)
	n := newNode(t, bgp.SetSecret{Name: "s", Password: "first"}, peer("six", "fd00:a::1", 64512, func(p *bgp.Peer) { p.Password = "other" }),
		peer("signed", "10.0.0.1", 64512, func(p *bgp.Peer) { p.Secret = "s" }), advertisement("all", nil), address("192.0.2.1", "all"))
	n.awaitUp("signed")
	n.awaitUp("six")
	n.Post(bgp.SetSecret{Name: "s", Password: "second"})
	await(t, "the wrong password is suspected", func() bool { return strings.Contains(n.state("signed").Err, "may have another password") })
	r.run("vtysh", "-c", "configure", "-c", "router bgp 64512", "-c", "neighbor 10.0.0.11 password second")
	n.awaitUp("signed")
	if _, times, _ := r.neighbor("fd00:a::11"); times != 1 {
		t.Errorf("another session was established %d times", times)
	}
	n.Post(bgp.DeleteSecret{Name: "s"})
	await(t, "a Secret that is gone ends the session", func() bool { return n.state("signed").Refused.Reason == reason.SecretNotFound })
}

func TestTTL(t *testing.T) {
	r := frr(t, "neighbor 10.0.0.11 remote-as 64600\n neighbor 10.0.0.11 ttl-security hops 1\n neighbor fd00:a::11 remote-as external\n neighbor fd00:a::11 ebgp-multihop 5"+six)
	n := newNode(t, peer("secure", "10.0.0.1", 64512, func(p *bgp.Peer) { p.TTLSecurity = true }),
		peer("far", "fd00:a::1", 64512, func(p *bgp.Peer) { p.MultiHop, p.Source = true, netip.MustParseAddr("fd00:a::11") }))
	n.awaitUp("secure")
	n.awaitUp("far")
	if state, _, _ := r.neighbor("10.0.0.11"); state != "Established" {
		t.Error(state)
	}
}

func TestAutonomousSystems(t *testing.T) {
	r := frr(t, "neighbor 10.0.0.11 remote-as 64512\n neighbor fd00:a::11 remote-as 65000"+six)
	n := newNode(t, advertisement("all", func(a *bgp.Advertisement) { a.LocalPref, a.Prepend = 300, 2 }), address("192.0.2.1", "all"), address("2001:db8::1", "all"),
		peer("internal", "10.0.0.1", 0, func(p *bgp.Peer) { p.LocalAS, p.PeerType = 64512, bgp.Internal }),
		peer("external", "fd00:a::1", 0, func(p *bgp.Peer) {
			p.LocalAS, p.PeerType, p.RouterID = 65000, bgp.External, netip.MustParseAddr("1.2.3.4")
		}))
	n.awaitUp("internal")
	n.awaitUp("external")
	await(t, "both routes are there", func() bool { return r.route("192.0.2.1/32") != nil && r.route("2001:db8::1/128") != nil })
	if got := r.route("192.0.2.1/32"); got.Path.String != "Local" || got.LocalPref == nil || *got.LocalPref != 300 {
		t.Errorf("within the AS: %+v", got)
	}
	if got := r.route("2001:db8::1/128"); got.Path.String != "65000 65000 65000" {
		t.Errorf("from another: %+v", got)
	}
	n.Post(peer("external", "fd00:a::1", 64999, func(p *bgp.Peer) { p.LocalAS = 65000 }))
	await(t, "the wrong number is said", func() bool { return strings.Contains(n.state("external").Err, "the peer's AS is 64512, not 64999") })
}

// A speaker that restarts takes its connection away, and FRR keeps the routes
// until the next one told it what is still so.
func TestGracefulRestart(t *testing.T) {
	r := frr(t, "bgp graceful-restart", accept)
	graceful := peer("frr", "10.0.0.1", 64512, func(p *bgp.Peer) { p.GracefulRestart = true })
	n := newNode(t, graceful, advertisement("all", nil), address("192.0.2.1", "all"), address("192.0.2.2", "all"))
	n.awaitUp("frr")
	await(t, "the routes are there", func() bool { return r.route("192.0.2.1/32") != nil && r.route("192.0.2.2/32") != nil })
	// FRR helps only with what it heard the end of.
	await(t, "FRR heard the end", func() bool {
		return strings.Contains(r.try("vtysh", "-c", "show bgp neighbors 10.0.0.11 graceful-restart"), "End-of-RIB received: Yes") ||
			strings.Contains(r.try("vtysh", "-c", "show bgp neighbors 10.0.0.11"), "End-of-RIB received: IPv4")
	})
	n.stop()
	await(t, "FRR sees the end of the session", func() bool { state, _, _ := r.neighbor("10.0.0.11"); return state != "Established" })
	if r.route("192.0.2.1/32") == nil {
		t.Fatal("FRR forgot the routes")
	}
	n = newNode(t, graceful, advertisement("all", nil), address("192.0.2.1", "all"))
	n.awaitUp("frr")
	await(t, "what is no more is forgotten", func() bool { return r.route("192.0.2.2/32") == nil })
	if r.route("192.0.2.1/32") == nil {
		t.Error("FRR forgot the route")
	}
}

// A restarting router is told everything again.
func TestRouterRestarts(t *testing.T) {
	r := frr(t, accept)
	n := newNode(t, peer("frr", "10.0.0.1", 64512, nil), advertisement("all", nil), address("192.0.2.1", "all"))
	n.awaitUp("frr")
	r.run("vtysh", "-c", "clear bgp *")
	await(t, "the session was down", func() bool { return n.state("frr").Err != "" })
	if err := n.state("frr").Err; !strings.Contains(err, "the peer closed the session") {
		t.Error(err)
	}
	await(t, "the route is back", func() bool { return r.route("192.0.2.1/32") != nil })
	r.run("vtysh", "-c", "clear bgp * soft in")
	n.Post(address("192.0.2.2", "all"))
	await(t, "the session goes on", func() bool { return r.route("192.0.2.2/32") != nil })
}

// What a router sends is not kept.
func TestFlood(t *testing.T) {
	const routes = 20000
	var b strings.Builder
	b.WriteString("address-family ipv4 unicast\n")
	for i := range routes {
		fmt.Fprintf(&b, "  network 100.%d.%d.0/24\n", 64+i/256, i%256)
	}
	b.WriteString(" exit-address-family")
	r := frr(t, accept, b.String())
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	n := newNode(t, peer("frr", "10.0.0.1", 64512, nil), advertisement("all", nil), address("192.0.2.1", "all"))
	before := heap()
	n.awaitUp("frr")
	await(t, "FRR sent them all", func() bool {
		return strings.Contains(r.try("vtysh", "-c", "show bgp ipv4 unicast neighbors 10.0.0.11 advertised-routes json"), fmt.Sprintf(`"totalPrefixCounter":%d`, routes+1)) ||
			strings.Contains(r.try("vtysh", "-c", "show bgp ipv4 unicast summary json"), fmt.Sprintf(`"pfxSnt":%d`, routes+1))
	})
	await(t, "the route is there", func() bool { return r.route("192.0.2.1/32") != nil })
	if after := heap(); after > before+1<<20 {
		t.Errorf("%d KiB are kept of %d routes", (after-before)>>10, routes)
	}
}

// The first word to a new peer has everything; a burst goes in few messages.
func TestManyPrefixes(t *testing.T) {
	r := frr(t, accept)
	const many = 5000
	events := []any{peer("frr", "10.0.0.1", 64512, nil), advertisement("all", nil)}
	ip := netip.MustParseAddr("10.1.0.0")
	for range many {
		events = append(events, address(ip.String(), "all"))
		ip = ip.Next()
	}
	n := newNode(t, events...)
	since := n.awaitUp("frr")
	await(t, "FRR has them all", func() bool { _, _, prefixes := r.neighbor("10.0.0.11"); return prefixes == many })
	await(t, "the state says so", func() bool { return n.state("frr").Prefixes == many })
	n.Post(bgp.Withdraw{})
	await(t, "FRR has none", func() bool { _, _, prefixes := r.neighbor("10.0.0.11"); return prefixes == 0 })
	n.undisturbed("frr", since)
}

// Draining asks for other paths first.
func TestDrain(t *testing.T) {
	r := frr(t, accept)
	n := newNode(t, peer("frr", "10.0.0.1", 64512, nil), advertisement("all", nil), address("192.0.2.1", "all"))
	n.Drain = time.Minute
	n.awaitUp("frr")
	await(t, "the route is there", func() bool { return r.route("192.0.2.1/32") != nil })
	n.Post(bgp.Drain{})
	await(t, "the community is there", func() bool {
		got := r.route("192.0.2.1/32")
		return got != nil && strings.Contains(strings.ToLower(got.Community.String), "graceful-shutdown")
	})
	n.Post(bgp.Withdraw{})
	await(t, "the route is gone", func() bool { return r.route("192.0.2.1/32") == nil })
	n.Drain = 0
}

func TestBIRD(t *testing.T) {
	r := bird(t, `
protocol bgp nodes4 { local 10.0.0.2 as 64513; neighbor range 10.0.0.0/24 as 64600; dynamic name "four"; direct; password "word"; ipv4 { import all; export none; }; ipv6 { import all; export none; }; }
protocol bgp nodes6 { local fd00:a::2 as 64513; neighbor range fd00:a::/64 as 64600; dynamic name "six"; direct; ipv4 { import all; export none; extended next hop; }; ipv6 { import all; export none; }; }
`)
	n := newNode(t, advertisement("all", func(a *bgp.Advertisement) { a.Communities = []string{"64600:1", "large:64600:2:3"} }),
		address("192.0.2.1", "all"), address("2001:db8::1", "all"),
		peer("four", "10.0.0.2", 64513, func(p *bgp.Peer) { p.Password = "word" }), peer("six", "fd00:a::2", 64513, func(p *bgp.Peer) { p.DualStack = true }))
	n.awaitUp("four")
	n.awaitUp("six")
	has := func(prefix string, words ...string) {
		t.Helper()
		await(t, fmt.Sprintf("%s has %v", prefix, words), func() bool {
			out := r.try("birdc", "show", "route", "for", prefix, "all")
			for _, w := range words {
				if !strings.Contains(out, w) {
					return false
				}
			}
			return true
		})
	}
	has("192.0.2.1/32", "BGP.as_path: 64600", "BGP.next_hop: 10.0.0.11", "BGP.community: (64600,1)", "BGP.large_community: (64600, 2, 3)")
	has("2001:db8::1/128", "BGP.as_path: 64600", "BGP.next_hop: fd00:a::11")
	n.Post(bgp.DeleteAddress{IP: netip.MustParseAddr("192.0.2.1")})
	await(t, "the route is gone", func() bool {
		return strings.Contains(r.try("birdc", "show", "route", "for", "192.0.2.1/32"), "Network not found")
	})
}

// A router that was told off refuses connections for a minute; what it was told
// is said all the same.
func TestReasonIsKept(t *testing.T) {
	bird(t, "protocol bgp node { local 10.0.0.2 as 64513; neighbor 10.0.0.11 as 64600; direct; ipv4 { import all; export none; }; }\n")
	n := newNode(t, peer("bird", "10.0.0.2", 64999, nil))
	await(t, "both are said", func() bool {
		return strings.Contains(n.state("bird").Err, "the connection ended") && strings.Contains(n.state("bird").Err, "before that: the peer's AS is 64513, not 64999")
	})
}

// Of an advertisement that cannot be used it is said also where there is nothing
// to announce.
func TestJudged(t *testing.T) {
	judged := make(chan struct{}, 10)
	n := newNode(t, func(p *Peering) {
		p.Touched = func([]netip.Addr) { judged <- struct{}{} }
	})
	n.Do(func(*bgp.Planner) {})
	for len(judged) > 0 {
		<-judged
	}
	n.Post(advertisement("all", func(a *bgp.Advertisement) { a.Communities = []string{"nowhere"} }))
	select {
	case <-judged:
	case <-time.After(30 * time.Second):
		t.Error("nobody is told of it")
	}
	n.Do(func(*bgp.Planner) {})
	if len(judged) > 0 {
		t.Error("told again, though nothing changed")
	}
}

// A peer that takes the place of another before the node has looked takes its
// session, too, and it is said whose it is.
func TestPeerReplaced(t *testing.T) {
	bird(t, "protocol bgp node { local 10.0.0.2 as 64513; neighbor 10.0.0.11 as 64600; direct; ipv4 { import all; export none; }; }\n")
	uid := func(s string) func(*bgp.Peer) { return func(p *bgp.Peer) { p.UID = s } }
	n := newNode(t, peer("bird", "10.0.0.2", 64513, uid("first")))
	since := n.awaitUp("bird")
	if s := n.state("bird"); s.UID != "first" {
		t.Errorf("%+v is said of the first", s)
	}
	n.Do(func(plan *bgp.Planner) {
		plan.Step(bgp.DeletePeer{Name: "bird"})
		plan.Step(peer("bird", "10.0.0.2", 64513, uid("second")))
	})
	await(t, "it is said of the second", func() bool { return n.state("bird").UID == "second" })
	n.undisturbed("bird", since)
}
