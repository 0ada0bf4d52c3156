package peering

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/internal/detector"
)

// A path that BFD finds broken takes the session down long before its hold
// time; another profile does not.
func TestBFD(t *testing.T) {
	r := frr(t, accept, "neighbor nodes bfd profile fast")
	profile := bfd.DefaultConfig()
	profile.TransmitInterval, profile.ReceiveInterval = 50*time.Millisecond, 50*time.Millisecond
	hour := func(p *bgp.Peer) { p.HoldTime, p.Profile = time.Hour, "fast" }
	n := newNode(t, watched(t), bgp.SetProfile{Name: "fast", Profile: profile}, peer("frr", "10.0.0.1", 64512, hour), advertisement("all", nil), address("192.0.2.1", "all"))
	since := n.awaitUp("frr")
	await(t, "BFD is up", func() bool { return n.state("frr").BFD == v1beta1.BFDUp })
	await(t, "the route is there", func() bool { return r.route("192.0.2.1/32") != nil })
	profile.TransmitInterval = 100 * time.Millisecond
	n.Post(bgp.SetProfile{Name: "fast", Profile: profile})
	n.Post(address("192.0.2.2", "all"))
	await(t, "the route is there", func() bool { return r.route("192.0.2.2/32") != nil })
	if s := n.state("frr"); s.BFD != v1beta1.BFDUp || s.Err != "" {
		t.Errorf("another profile: %+v", s)
	}
	n.undisturbed("frr", since)
	// That the router takes its BFD down on purpose is no failure of the path
	// (RFC 5882 section 3.2).
	r.run("vtysh", "-c", "configure", "-c", "bfd", "-c", "profile fast", "-c", "shutdown")
	await(t, "BFD is down", func() bool { return n.state("frr").BFD == v1beta1.BFDDown })
	n.Post(address("192.0.2.3", "all"))
	await(t, "the route is there", func() bool { return r.route("192.0.2.3/32") != nil })
	n.undisturbed("frr", since)
	r.run("vtysh", "-c", "configure", "-c", "bfd", "-c", "profile fast", "-c", "no shutdown")
	await(t, "BFD is up", func() bool { return n.state("frr").BFD == v1beta1.BFDUp })
	run(t, "ip", "link", "set", r.port, "down")
	await(t, "both ends are down", func() bool {
		s := n.state("frr")
		return s.State != v1beta1.SessionEstablished && s.BFD == v1beta1.BFDDown && r.route("192.0.2.1/32") == nil
	})
	if err := n.state("frr").Err; !strings.Contains(err, "BFD is down") && !strings.Contains(err, "connecting") {
		t.Error(err)
	}
	run(t, "ip", "link", "set", r.port, "up")
	n.awaitUp("frr")
	await(t, "BFD is up again", func() bool { return n.state("frr").BFD == v1beta1.BFDUp })
	n.Post(bgp.DeleteProfile{Name: "fast"})
	await(t, "the missing profile is named", func() bool { return n.state("frr").Refused.Reason == reason.BFDProfileNotFound })
}

// A profile that is added to a peer whose session is up disturbs nothing, and
// BFD watches from then on.
func TestBFDAdded(t *testing.T) {
	r := frr(t, accept, "neighbor nodes bfd profile fast")
	n := newNode(t, watched(t), fast, peer("frr", "10.0.0.1", 64512, nil), advertisement("all", nil), address("192.0.2.1", "all"))
	since := n.awaitUp("frr")
	await(t, "the route is there", func() bool { return r.route("192.0.2.1/32") != nil })
	n.Post(peer("frr", "10.0.0.1", 64512, func(p *bgp.Peer) { p.Profile = "fast" }))
	await(t, "BFD is up", func() bool { return n.state("frr").BFD == v1beta1.BFDUp })
	n.undisturbed("frr", since)
	run(t, "ip", "link", "set", r.port, "down")
	await(t, "the route is gone", func() bool { return r.route("192.0.2.1/32") == nil })
}

// The profile that a peer names may be seen after the peer: its session goes on
// until then, and the router hears of what changed meanwhile. Where there is none
// any more, the session ends.
func TestProfileAfterPeer(t *testing.T) {
	r := frr(t, accept, "neighbor nodes bfd profile fast")
	n := newNode(t, watched(t), peer("frr", "10.0.0.1", 64512, nil), advertisement("all", nil), address("192.0.2.1", "all"), address("192.0.2.2", "all"))
	since := n.awaitUp("frr")
	await(t, "the routes are there", func() bool { return r.route("192.0.2.1/32") != nil && r.route("192.0.2.2/32") != nil })
	n.Post(peer("frr", "10.0.0.1", 64512, func(p *bgp.Peer) { p.Profile = "fast" }))
	n.Post(bgp.DeleteAddress{IP: netip.MustParseAddr("192.0.2.2")})
	n.Do(func(*bgp.Planner) {}) // what comes now is seen later
	n.Post(fast)
	await(t, "BFD is up", func() bool { return n.state("frr").BFD == v1beta1.BFDUp })
	await(t, "one route is gone", func() bool { return r.route("192.0.2.2/32") == nil })
	n.undisturbed("frr", since)
	if r.route("192.0.2.1/32") == nil {
		t.Error("the other one is gone, too")
	}
	n.Post(bgp.DeleteProfile{Name: "fast"})
	await(t, "the session is refused", func() bool { return n.state("frr").Refused.Reason == reason.BFDProfileNotFound })
	await(t, "the route is gone", func() bool { return r.route("192.0.2.1/32") == nil })
}

// FRR keeps the BFD of a session that follows another, however soon that is
// wanted: with other parameters, or as another peer.
func TestBFDOfTheNextSession(t *testing.T) {
	r := frr(t, accept, "neighbor nodes bfd profile fast")
	n := newNode(t, watched(t), fast, advertisement("all", nil), address("192.0.2.1", "all"))
	again := func(name string, hold time.Duration) {
		t.Helper()
		n.Post(peer(name, "10.0.0.1", 64512, func(p *bgp.Peer) { p.Profile, p.HoldTime = "fast", hold }))
		await(t, "BFD is up", func() bool {
			return n.state(name).State == v1beta1.SessionEstablished && n.state(name).BFD == v1beta1.BFDUp
		})
		await(t, "the route is there", func() bool { return r.route("192.0.2.1/32") != nil })
	}
	again("frr", time.Hour)
	again("frr", 2*time.Hour)
	n.Post(bgp.DeletePeer{Name: "frr"})
	again("other", time.Hour)
	n.Post(bgp.DeletePeer{Name: "other"})
	n.Do(func(*bgp.Planner) {})
	again("other", time.Hour)
}

// fast is the profile of that name.
var fast = func() bgp.SetProfile {
	profile := bfd.DefaultConfig()
	profile.TransmitInterval, profile.ReceiveInterval = 50*time.Millisecond, 50*time.Millisecond
	return bgp.SetProfile{Name: "fast", Profile: profile}
}()

// watched gives a node BFD.
func watched(t *testing.T) func(*Peering) {
	t.Helper()
	paths, err := detector.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return func(p *Peering) {
		p.BFD, paths.Changed = paths, p.BFDChanged
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- paths.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// BIRD takes the end of BFD for that of the path, and then refuses sessions for a
// minute, unless it learned before that the session ended.
func TestBFDEndsAfterTheSession(t *testing.T) {
	bird(t, `
protocol bfd { interface "eth0" { min rx interval 50 ms; min tx interval 50 ms; multiplier 10; }; }
protocol bgp node { local 10.0.0.2 as 64513; neighbor 10.0.0.11 as 64600; direct; bfd on; ipv4 { import all; export none; }; }
`)
	profile := bfd.DefaultConfig()
	profile.TransmitInterval, profile.ReceiveInterval, profile.DetectMultiplier = 50*time.Millisecond, 50*time.Millisecond, 10
	n := newNode(t, watched(t), bgp.SetProfile{Name: "fast", Profile: profile})
	for range 5 {
		n.Post(peer("bird", "10.0.0.2", 64513, func(p *bgp.Peer) { p.HoldTime, p.Profile = time.Hour, "fast" }))
		n.awaitUp("bird")
		await(t, "BFD is up", func() bool { return n.state("bird").BFD == v1beta1.BFDUp })
		n.Post(bgp.DeletePeer{Name: "bird"})
		await(t, "the peer is gone", func() bool { return n.state("bird").Peer == "" })
	}
}
