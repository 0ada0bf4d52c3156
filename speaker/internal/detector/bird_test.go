//go:build e2e

package detector

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// bird is BIRD in a namespace.
type bird struct {
	t      *testing.T
	socket string
	config string
	kill   func()
}

const birdConfig = `
router id 10.0.0.2;
protocol device {}
protocol bfd {
	interface "*" { min rx interval %[2]s; min tx interval %[2]s; multiplier %[3]d; };
	multihop { min rx interval %[2]s; min tx interval %[2]s; multiplier %[3]d; };
	neighbor %[1]s;
}
`

func startBIRD(t *testing.T, neighbor, interval string) *bird {
	t.Helper()
	b := &bird{t: t, socket: "/run/bird.ctl", config: write(t, "bird.conf", fmt.Sprintf(birdConfig, neighbor, interval, patient))}
	b.kill = daemon(t, "router", "bird", "-f", "-c", b.config, "-s", b.socket, "-P", "/run/bird.pid")
	return b
}

// sessions is what BIRD says of its sessions.
func (b *bird) sessions() string {
	out, err := try("", "birdc", "-s", b.socket, "show", "bfd", "sessions")
	if err != nil {
		return err.Error()
	}
	return out
}

func (b *bird) awaits(what, state string) {
	b.t.Helper()
	await(b.t, "BIRD: "+what, func() string {
		for line := range strings.SplitSeq(b.sessions(), "\n") {
			// Address, interface, state, since, interval, timeout.
			if words := strings.Fields(line); len(words) >= 6 && words[2] == state {
				return ""
			}
		}
		return b.sessions()
	})
}

// TestBIRD is a session with BIRD from its beginning to its end.
func TestBIRD(t *testing.T) {
	for _, c := range []struct {
		name     string
		path     bfd.Path
		neighbor string
	}{
		{"IPv4", v4, `10.0.0.1 dev "eth0"`},
		{"IPv6", v6, `fd00::1 dev "eth0"`},
		{"link-local", linkLocal, `fe80::1 dev "eth0"`},
		{"multihop", bfd.Path{Remote: netip.MustParseAddr("10.0.0.2"), Multihop: true}, "10.0.0.1 local 10.0.0.2 multihop yes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			router(t)
			d := run(t)
			// Over several hops BIRD sends with a TTL of 64.
			timers := func(c *bfd.Config) { c.MinimumTTL = 64 }
			slower := config(timers)
			slower.TransmitInterval, slower.ReceiveInterval = 400*time.Millisecond, 300*time.Millisecond
			d.set(c.path, config(timers))
			b := startBIRD(t, c.neighbor, "50 ms")
			d.awaitUp(c.path)
			b.awaits("up", "Up")
			d.awaits(c.path, "timers", func(s Status) bool {
				return s.Transmit == 50*time.Millisecond && s.Detection == patient*50*time.Millisecond
			})
			d.set(c.path, slower)
			d.awaits(c.path, "slower timers", func(s Status) bool {
				return s.Transmit == 400*time.Millisecond && s.Detection == patient*300*time.Millisecond
			})
			d.set(c.path, config(timers))
			d.awaits(c.path, "faster timers", func(s Status) bool {
				return s.Transmit == 50*time.Millisecond && s.Detection == patient*50*time.Millisecond
			})
			if at, change := d.left(); !at.IsZero() {
				t.Fatalf("the session flapped: %+v", change)
			}
			d.Remove(c.path)
			b.awaits("our AdminDown", "Down")
			d.set(c.path, config(timers))
			d.awaitUp(c.path)

			b.kill()
			d.awaits(c.path, "Down", func(s Status) bool { return s.State == bfd.Down && s.Diag == bfd.ControlDetectionTimeExpired })
		})
	}
}
