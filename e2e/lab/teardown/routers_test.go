//go:build e2e

package teardown

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// nodeBIRD makes a node a BGP speaker towards both routers, over both
// families, with BFD.
const nodeBIRD = `
router id 172.30.0.11;
protocol device {}
protocol static announced { ipv4; route 203.0.113.7/32 unreachable; }
protocol bfd { interface "eth0" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }
template bgp peer_router { local as 64600; bfd on; connect delay time 1; connect retry time 1; ipv4 { import none; export all; next hop self; }; ipv6 { import none; export all; }; }
protocol bgp frr4 from peer_router { neighbor 172.30.0.1 as 64512; }
protocol bgp frr6 from peer_router { neighbor fd00:30::1 as 64512; }
protocol bgp bird4 from peer_router { neighbor 172.30.0.2 as 64513; }
protocol bgp bird6 from peer_router { neighbor fd00:30::2 as 64513; }
`

func TestRoutersAcceptANode(t *testing.T) {
	l, _ := open(t, "bgp")
	o := options()
	o.Nodes = 1
	if err := l.Up(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "bird.conf")
	if err := os.WriteFile(config, []byte(nodeBIRD), 0o644); err != nil {
		t.Fatal(err)
	}
	speaker, err := l.Exec(t.Context(), "node1", "bird", "-f", "-c", config, "-s", filepath.Join(t.TempDir(), "bird.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	speaker.Stdout, speaker.Stderr = &log, &log
	if err := speaker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = speaker.Process.Kill()
		_ = speaker.Wait()
		if t.Failed() {
			t.Logf("the node's BIRD: %s", log.String())
		}
	})
	for _, want := range []struct {
		host    string
		command []string
		words   []string
	}{
		{lab.HostFRR, []string{"vtysh", "-c", "show ip route bgp"}, []string{"203.0.113.7/32"}},
		{lab.HostFRR, []string{"vtysh", "-c", "show bgp summary"}, []string{"*172.30.0.11", "*fd00:30::11"}},
		{lab.HostBIRD, []string{"birdc", "show", "bfd", "sessions"}, []string{"172.30.0.11", "fd00:30::11", "Up"}},
		{lab.HostBIRD, []string{"ip", "route"}, []string{"203.0.113.7 via 172.30.0.11"}},
	} {
		expectSoon(t, want.host+": "+strings.Join(want.command, " "), func() bool {
			out, err := run(t, l, want.host, want.command...)
			for _, word := range want.words {
				if !strings.Contains(out, word) {
					return false
				}
			}
			return err == nil
		})
	}
	// A person's changes are taken at once.
	if out, err := run(t, l, lab.HostFRR, "vtysh", "-c", "configure terminal", "-c", "router bgp 64512", "-c", "neighbor 172.30.0.55 remote-as 64600"); err != nil {
		t.Errorf("vtysh: %v: %s", err, out)
	}
	if out, err := run(t, l, lab.HostBIRD, "birdc", "disable", "nodes6"); err != nil || !strings.Contains(out, "disabled") {
		t.Errorf("birdc: %v: %s", err, out)
	}
}
