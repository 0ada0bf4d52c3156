//go:build e2e

package detector

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// captured is a packet that a router sees, as tcpdump prints it.
func captured(t *testing.T, filter string) string {
	t.Helper()
	return command(t, "router", "timeout", "30", "tcpdump", "-i", "eth0", "-n", "-vv", "-c", "1", filter)
}

// TestOnTheWire: what RFC 5881 sections 4 and 5 ask of a packet's outside.
func TestOnTheWire(t *testing.T) {
	router(t)
	d := run(t)
	for _, c := range []struct {
		path   bfd.Path
		filter string
		wants  []string
	}{
		{v4, "ip and udp dst port 3784", []string{"tos 0xc0", "ttl 255", "10.0.0.1.", "> 10.0.0.2.3784"}},
		{v6, "ip6 and dst host fd00::2 and udp dst port 3784", []string{"class 0xc0", "hlim 255", "fd00::1.", "> fd00::2.3784"}},
		{linkLocal, "ip6 and dst host fe80::2 and udp dst port 3784", []string{"hlim 255", "fe80::1.", "> fe80::2.3784"}},
		{bfd.Path{Remote: v4.Remote, Multihop: true}, "udp dst port 4784", []string{"ttl 255", "> 10.0.0.2.4784"}},
	} {
		d.set(c.path, config(nil))
		seen := captured(t, c.filter)
		for _, want := range c.wants {
			if !strings.Contains(seen, want) {
				t.Errorf("%s: %q is not in %s", c.path, want, seen)
			}
		}
		port := regexp.MustCompile(`\.(\d+) > `).FindStringSubmatch(seen)
		var number int
		if len(port) == 2 {
			_, _ = fmt.Sscan(port[1], &number)
		}
		if number < bfd.SourcePortMin {
			t.Errorf("%s: source port %d in %s", c.path, number, seen)
		}
	}
}

// TestEchoOnTheWire: an echo packet goes to the router's hardware address and
// this node's own network address, from an address that draws no redirects
// where the node has one (RFC 5881 section 4).
func TestEchoOnTheWire(t *testing.T) {
	for _, c := range []struct {
		name, loopback, want string
	}{
		{"from the session's address", "", "10.0.0.1.3785 > 10.0.0.1.3785"},
		{"from the loopback's address", "192.0.2.1/32", "192.0.2.1.3785 > 10.0.0.1.3785"},
	} {
		t.Run(c.name, func(t *testing.T) {
			router(t)
			if c.loopback != "" {
				lines(t, "- ip addr add "+c.loopback+" dev lo")
				t.Cleanup(func() { lines(t, "- ip addr del "+c.loopback+" dev lo") })
			}
			d := run(t)
			d.set(v4, config(func(c *bfd.Config) { c.Echo = true }))
			startFRR(t, "router", "peer 10.0.0.1 interface eth0"+frrFast+"\n echo receive-interval 50")
			d.awaits(v4, "echo", func(s Status) bool { return s.EchoDetection > 0 })
			seen := captured(t, "inbound and udp dst port 3785")
			for _, want := range []string{c.want, "ttl 255", "tos 0xc0", "[udp sum ok]"} {
				if !strings.Contains(seen, want) {
					t.Errorf("%q is not in %s", want, seen)
				}
			}
		})
	}
}

// TestDropped: what comes from farther away than the next hop, and what is no
// BFD, is dropped by name, and the session does not hear of it.
func TestDropped(t *testing.T) {
	router(t)
	d := run(t)
	d.set(v4, config(nil))
	down := bfd.Packet{State: bfd.Down, DetectMult: 3, MyDiscriminator: 1, DesiredMinTx: time.Second, RequiredMinRx: time.Second}.Marshal()
	authenticated := append(append([]byte(nil), down...), 1, 2)
	authenticated[1] |= 4
	authenticated[3] = 26
	for _, c := range []struct {
		ttl    int
		packet []byte
		want   bfd.Drop
	}{
		{64, down, bfd.BadTTL},
		{254, down, bfd.BadTTL},
		{255, down[:20], bfd.BadLength},
		{255, []byte("GET / HTTP/1.1\r\n\r\nHost: porchlight\r\n"), bfd.BadVersion},
		{255, authenticated, bfd.AuthenticationUnsupported},
	} {
		before := d.Dropped()[c.want]
		command(t, "router", "sh", "-c", fmt.Sprintf(`printf '%s' | socat -u - UDP:10.0.0.1:3784,ttl=%d`, octal(c.packet), c.ttl))
		await(t, string(c.want), func() string {
			if d.Dropped()[c.want] == before+1 {
				return ""
			}
			return fmt.Sprint(d.Dropped())
		})
	}
	if s := d.status(v4); s.State != bfd.Down || s.Received != 0 {
		t.Errorf("the session is %+v", s)
	}
	command(t, "router", "sh", "-c", fmt.Sprintf(`printf '%s' | socat -u - UDP:10.0.0.1:3784,ttl=255`, octal(down)))
	d.awaits(v4, "Init by a good packet", func(s Status) bool { return s.State == bfd.Init })
}

func octal(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\%03o`, c)
	}
	return s.String()
}

// TestInterfaceComesAndGoes: a session is there before its interface, and
// outlives it.
func TestInterfaceComesAndGoes(t *testing.T) {
	d := run(t)
	d.set(linkLocal, config(nil))
	if s := d.status(linkLocal); s.Err == nil {
		t.Errorf("no interface, and no error: %+v", s)
	}
	for _, when := range []string{"first", "second"} {
		t.Run(when, func(t *testing.T) {
			router(t)
			startBIRD(t, `fe80::1 dev "eth0"`, "50 ms")
			await(t, "Up", func() string {
				s := d.status(linkLocal)
				if s.State == bfd.Up && s.Err == nil {
					return ""
				}
				return fmt.Sprintf("%+v", s)
			})
		})
		d.awaits(linkLocal, "Down without the interface", func(s Status) bool { return s.State == bfd.Down && s.Err != nil })
	}
}

// TestPortInUse: another BFD on the node is said on the sessions, and waited
// for.
func TestPortInUse(t *testing.T) {
	router(t)
	other, err := net.ListenPacket("udp4", "0.0.0.0:3784")
	if err != nil {
		t.Fatal(err)
	}
	d := run(t)
	d.set(v4, config(nil))
	if s := d.status(v4); s.Err == nil || !strings.Contains(s.Err.Error(), "listening on UDP port 3784: address already in use") {
		t.Errorf("the session is %+v", s)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	startBIRD(t, `10.0.0.1 dev "eth0"`, "50 ms")
	d.awaitUp(v4)
}

// TestSocketsClose: the last session of a port takes its socket along.
func TestSocketsClose(t *testing.T) {
	router(t)
	d := run(t)
	d.set(v4, config(nil))
	if _, err := net.ListenPacket("udp4", "0.0.0.0:3784"); err == nil {
		t.Fatal("the port is free")
	}
	d.Remove(v4)
	// The peer was never heard, so there is nobody to tell.
	await(t, "the port is free", func() string {
		c, err := net.ListenPacket("udp4", "0.0.0.0:3784")
		if err != nil {
			return err.Error()
		}
		_ = c.Close()
		return ""
	})
}

// TestStopTells: a Detector that stops tells its peers on purpose.
func TestStopTells(t *testing.T) {
	router(t)
	d, err := New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	if err := d.Set(v4, config(nil)); err != nil {
		t.Fatal(err)
	}
	f := startFRR(t, "router", "peer 10.0.0.1 interface eth0"+frrFast)
	f.awaitUp()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	f.awaits("our AdminDown", func(p frrPeer) bool {
		return p.Status == "down" && p.RemoteDiagnostic == "administratively down"
	})
}
