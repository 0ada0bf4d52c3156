//go:build e2e

package detector

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// frr is FRR's bfdd in a namespace.
type frr struct {
	t         *testing.T
	namespace string
	dir       string
	kill      func()
}

func startFRR(t *testing.T, namespace, config string) *frr {
	t.Helper()
	f := &frr{t: t, namespace: namespace, dir: "/run/frr/" + namespace}
	if err := os.MkdirAll(f.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(f.dir) })
	if err := os.Chmod(f.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	none := f.dir + "/none.conf"
	if err := os.WriteFile(none, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	common := []string{"-z", f.dir + "/zserv.api", "--vty_socket", f.dir, "-P", "0", "--log", "stdout"}
	daemon(t, namespace, append([]string{"/usr/lib/frr/zebra", "-f", none, "-i", f.dir + "/zebra.pid"}, common...)...)
	await(t, "zebra", f.answers("zebra", "show version"))
	f.kill = daemon(t, namespace, append([]string{"/usr/lib/frr/bfdd", "-f", none, "-i", f.dir + "/bfdd.pid", "--bfdctl", f.dir + "/bfdd.sock"}, common...)...)
	await(t, "bfdd", f.answers("bfdd", "show bfd peers"))
	f.configure(config)
	return f
}

func (f *frr) answers(daemon, question string) func() string {
	return func() string {
		if _, err := try("", "vtysh", "--vty_socket", f.dir, "-d", daemon, "-c", question); err != nil {
			return err.Error()
		}
		return ""
	}
}

// configure gives bfdd lines of configuration.
func (f *frr) configure(config string) {
	f.t.Helper()
	words := []string{"vtysh", "--vty_socket", f.dir, "-d", "bfdd", "-c", "configure terminal", "-c", "bfd"}
	for line := range strings.SplitSeq(strings.TrimSpace(config), "\n") {
		words = append(words, "-c", strings.TrimSpace(line))
	}
	command(f.t, "", words...)
}

// frrPeer is what bfdd says of a session.
type frrPeer struct {
	Peer             string
	Status           string
	Diagnostic       string
	RemoteDiagnostic string `json:"remote-diagnostic"`
	ReceiveInterval  int    `json:"receive-interval"`
	RemoteReceive    int    `json:"remote-receive-interval"`
	RemoteTransmit   int    `json:"remote-transmit-interval"`
	RemoteMultiplier int    `json:"remote-detect-multiplier"`
	RemoteEcho       int    `json:"remote-echo-receive-interval"`
	EchoPackets      int    `json:"-"`
}

func (f *frr) peer() frrPeer {
	f.t.Helper()
	var peers []frrPeer
	out := command(f.t, "", "vtysh", "--vty_socket", f.dir, "-d", "bfdd", "-c", "show bfd peers json")
	if err := json.Unmarshal([]byte(out), &peers); err != nil || len(peers) != 1 {
		f.t.Fatalf("bfdd says %s: %v", out, err)
	}
	return peers[0]
}

func (f *frr) awaits(what string, ok func(frrPeer) bool) {
	f.t.Helper()
	await(f.t, "FRR: "+what, func() string {
		p := f.peer()
		if ok(p) {
			return ""
		}
		return fmt.Sprintf("%+v", p)
	})
}

func (f *frr) awaitUp() {
	f.t.Helper()
	f.awaits("up", func(p frrPeer) bool { return p.Status == "up" })
}

// counters are the packets that bfdd sent and received.
func (f *frr) counters() map[string]int {
	f.t.Helper()
	var all []map[string]any
	out := command(f.t, "", "vtysh", "--vty_socket", f.dir, "-d", "bfdd", "-c", "show bfd peers counters json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
		f.t.Fatalf("bfdd says %s: %v", out, err)
	}
	n := map[string]int{}
	for key, value := range all[0] {
		if v, ok := value.(float64); ok {
			n[key] = int(v)
		}
	}
	return n
}

var (
	v4        = bfd.Path{Remote: netip.MustParseAddr("10.0.0.2"), Interface: "eth0"}
	v6        = bfd.Path{Remote: netip.MustParseAddr("fd00::2"), Local: netip.MustParseAddr("fd00::1")}
	linkLocal = bfd.Path{Remote: netip.MustParseAddr("fe80::2"), Interface: "eth0"}
)

const frrFast = `
	transmit-interval 50
	receive-interval 50
	detect-multiplier 20
`

// TestFRR is a session over a single hop, in every family, from its beginning
// to its end: up, other timers without a flap, the peer's death.
func TestFRR(t *testing.T) {
	for _, c := range []struct {
		name string
		path bfd.Path
		peer string
	}{
		{"IPv4", v4, "peer 10.0.0.1 interface eth0"},
		{"IPv6", v6, "peer fd00::1 local-address fd00::2 interface eth0"},
		{"link-local", linkLocal, "peer fe80::1 interface eth0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			router(t)
			d := run(t)
			d.set(c.path, config(nil))
			f := startFRR(t, "router", c.peer+frrFast)
			d.awaitUp(c.path)
			f.awaitUp()
			f.awaits("our timers", func(p frrPeer) bool {
				return p.RemoteReceive == 50 && p.RemoteTransmit == 50 && p.RemoteMultiplier == patient
			})

			// Slower, with another multiplier, and then faster again.
			d.set(c.path, config(func(c *bfd.Config) {
				c.TransmitInterval, c.ReceiveInterval, c.DetectMultiplier = 400*time.Millisecond, 500*time.Millisecond, 5
			}))
			d.awaits(c.path, "slower timers", func(s Status) bool {
				return s.Transmit == 400*time.Millisecond && s.Detection == patient*500*time.Millisecond
			})
			f.awaits("slower timers", func(p frrPeer) bool {
				return p.RemoteReceive == 500 && p.RemoteTransmit == 400 && p.RemoteMultiplier == 5
			})
			d.set(c.path, config(nil))
			d.awaits(c.path, "faster timers", func(s Status) bool {
				return s.Transmit == 50*time.Millisecond && s.Detection == patient*50*time.Millisecond
			})
			// The peer changes its own.
			f.configure(c.peer + "\n transmit-interval 200\n receive-interval 300")
			d.awaits(c.path, "the peer's timers", func(s Status) bool {
				return s.Transmit == 300*time.Millisecond && s.Detection == patient*200*time.Millisecond
			})
			if at, change := d.left(); !at.IsZero() {
				t.Fatalf("the session flapped: %+v", change)
			}

			f.kill()
			killed := time.Now()
			d.awaits(c.path, "Down", func(s Status) bool { return s.State == bfd.Down })
			at, change := d.left()
			if change.Diag != bfd.ControlDetectionTimeExpired || at.Sub(killed) > 10*time.Second {
				t.Errorf("left Up %s after the peer's death: %+v", at.Sub(killed), change)
			}
		})
	}
}

// TestFRRSeesRemoval: a session that is removed is no failure of the path to
// the peer.
func TestFRRSeesRemoval(t *testing.T) {
	router(t)
	d := run(t)
	d.set(v4, config(nil))
	f := startFRR(t, "router", "peer 10.0.0.1 interface eth0"+frrFast)
	d.awaitUp(v4)
	f.awaitUp()
	d.Remove(v4)
	f.awaits("our AdminDown", func(p frrPeer) bool {
		return p.Status == "down" && p.RemoteDiagnostic == "administratively down" && p.Diagnostic == "neighbor signaled session down"
	})
	if s := d.Statuses(); len(s) != 0 {
		t.Errorf("sessions are left: %+v", s)
	}
	d.set(v4, config(nil))
	d.awaitUp(v4)
	f.awaitUp()
}

// TestFRRShutdown: that the peer is taken down on purpose is told.
func TestFRRShutdown(t *testing.T) {
	router(t)
	d := run(t)
	d.set(v4, config(nil))
	f := startFRR(t, "router", "peer 10.0.0.1 interface eth0"+frrFast)
	d.awaitUp(v4)
	f.configure("peer 10.0.0.1 interface eth0\n shutdown")
	d.awaits(v4, "Down", func(s Status) bool { return s.State == bfd.Down && s.RemoteState == bfd.AdminDown })
	if _, change := d.left(); change.Remote != bfd.AdminDown || change.Diag != bfd.NeighborSignaledSessionDown {
		t.Errorf("left Up by %+v", change)
	}
	f.configure("peer 10.0.0.1 interface eth0\n no shutdown")
	d.awaitUp(v4)
}

// TestFRRPassive: whichever side is passive, the other begins.
func TestFRRPassive(t *testing.T) {
	for name, c := range map[string]struct {
		passive bool
		frr     string
	}{
		"we": {true, "peer 10.0.0.1 interface eth0" + frrFast},
		"it": {false, "peer 10.0.0.1 interface eth0" + frrFast + "\n passive-mode"},
	} {
		t.Run(name, func(t *testing.T) {
			router(t)
			d := run(t)
			d.set(v4, config(func(cfg *bfd.Config) { cfg.Passive = c.passive }))
			f := startFRR(t, "router", c.frr)
			d.awaitUp(v4)
			f.awaitUp()
		})
	}
}

// TestFRRMultihop has a router in the middle, which takes one off the TTL.
func TestFRRMultihop(t *testing.T) {
	for name, c := range map[string]struct {
		path bfd.Path
		peer string
	}{
		"IPv4": {bfd.Path{Remote: netip.MustParseAddr("10.0.1.2"), Local: netip.MustParseAddr("10.0.0.1"), Multihop: true}, "peer 10.0.0.1 multihop local-address 10.0.1.2"},
		"IPv6": {bfd.Path{Remote: netip.MustParseAddr("fd01::2"), Local: netip.MustParseAddr("fd00::1"), Multihop: true}, "peer fd00::1 multihop local-address fd01::2"},
	} {
		t.Run(name, func(t *testing.T) {
			router(t)
			lines(t, `
				- ip netns add far
				router ip link add eth1 type veth peer name eth0 netns far
				router ip addr add 10.0.1.1/24 dev eth1
				router ip addr add fd01::1/64 dev eth1
				router ip link set eth1 up
				far ip link set lo up
				far set ipv6/conf/all/accept_dad 0
				far ip addr add 10.0.1.2/24 dev eth0
				far ip addr add fd01::2/64 dev eth0
				far ip link set eth0 up
				far ip route add 10.0.0.0/24 via 10.0.1.1
				far ip route add fd00::/64 via fd01::1
				- ip route add 10.0.1.0/24 via 10.0.0.2
				- ip route add fd01::/64 via fd00::2
			`)
			t.Cleanup(func() { command(t, "", "ip", "netns", "del", "far") })
			d := run(t)
			d.set(c.path, config(nil))
			f := startFRR(t, "far", c.peer+frrFast)
			d.awaitUp(c.path)
			f.awaitUp()
			// A peer may be no farther than that.
			d.set(c.path, config(func(c *bfd.Config) { c.MinimumTTL = 255 }))
			d.awaits(c.path, "Down for the TTL", func(s Status) bool { return s.State == bfd.Down })
			if d.Dropped()[bfd.BadTTL] == 0 {
				t.Errorf("dropped: %v", d.Dropped())
			}
		})
	}
}

// TestFRREcho: echo packets take over the detection on both sides, and find
// that the router forwards no more, while control packets go on.
func TestFRREcho(t *testing.T) {
	for _, c := range []struct {
		name    string
		path    bfd.Path
		forward string
		peer    string
	}{
		{"IPv4", v4, "ipv4/ip_forward", "peer 10.0.0.1 interface eth0"},
		{"IPv6", v6, "ipv6/conf/all/forwarding", "peer fd00::1 local-address fd00::2 interface eth0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			router(t)
			lines(t, "- set "+c.forward+" 1") // as the nodes of a cluster do
			d := run(t)
			echo := config(func(c *bfd.Config) { c.Echo = true })
			d.set(c.path, echo)
			f := startFRR(t, "router", c.peer+frrFast+"\n echo-mode\n echo transmit-interval 50\n echo receive-interval 50")
			d.awaitUp(c.path)
			f.awaitUp()
			s := d.awaits(c.path, "echo", func(s Status) bool { return s.EchoDetection == patient*50*time.Millisecond && s.EchoesReceived >= 20 })
			before := f.counters()
			await(t, "echo packets of FRR come back", func() string {
				if now := f.counters(); now["echo-packet-input"] < before["echo-packet-input"]+20 {
					return fmt.Sprintf("%v", now)
				}
				return ""
			})
			if at, change := d.left(); !at.IsZero() {
				t.Fatalf("the session flapped: %+v, %+v", change, s)
			}
			lines(t, "router set "+c.forward+" 0")
			await(t, "Down by echo", func() string {
				if _, change := d.left(); change.Diag == bfd.EchoFunctionFailed {
					return ""
				}
				return fmt.Sprintf("%+v", d.status(c.path))
			})
		})
	}
}
