//go:build e2e

package bgp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// whole is the prefix of one address.
func whole(ip netip.Addr) netip.Prefix { return netip.PrefixFrom(ip, ip.BitLen()) }

// forwards says to which nodes a router's kernel forwards a prefix, in order.
func (f *fabric) forwards(ctx context.Context, router string, prefix netip.Prefix) ([]string, error) {
	out, err := f.On(ctx, router, "ip", "-j", family(prefix), "route", "show", "exact", prefix.String())
	if err != nil {
		return nil, err
	}
	type hop struct {
		Gateway string `json:"gateway"`
		Via     struct {
			Host string `json:"host"`
		} `json:"via"` // a gateway of the other family
	}
	var routes []struct {
		hop
		NextHops []hop `json:"nexthops"`
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return nil, fmt.Errorf("routes of %s: %w: %s", router, err, out)
	}
	var nodes []string
	for _, r := range routes {
		for _, h := range append(r.NextHops, r.hop) {
			gateway := h.Gateway + h.Via.Host
			if gateway == "" {
				continue
			}
			ip, err := netip.ParseAddr(gateway)
			if err != nil || f.nodes[ip] == "" {
				return nil, fmt.Errorf("%s forwards %s to %s, which is no node", router, prefix, gateway)
			}
			nodes = append(nodes, f.nodes[ip])
		}
	}
	slices.Sort(nodes)
	return nodes, nil
}

func family(p netip.Prefix) string {
	if p.Addr().Is4() {
		return "-4"
	}
	return "-6"
}

// hops waits until a router forwards a prefix to exactly these nodes.
func (f *fabric) hops(t *testing.T, router string, prefix netip.Prefix, nodes ...string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("%s forwards %s to %v", router, prefix, nodes), func(ctx context.Context) error {
		got, err := f.forwards(ctx, router, prefix)
		if err == nil && !slices.Equal(got, nodes) {
			err = fmt.Errorf("it forwards to %v", got)
		}
		return err
	})
}

// everywhere waits until both routers forward each address to exactly these
// nodes.
func (f *fabric) everywhere(t *testing.T, ips []netip.Addr, nodes ...string) {
	t.Helper()
	for _, router := range routers {
		for _, ip := range ips {
			f.hops(t, router, whole(ip), nodes...)
		}
	}
}

// path is what a router's BGP table has of one node's announcement.
type path struct {
	ASPath      string // "64600 64600"
	Communities string // "64600:1 64600:2", in order
	Large       string // "64600:1:2"
	LocalPref   int
	MED         int // -1: none
}

// paths are what a router's BGP table has of a prefix, by node.
func (f *fabric) paths(ctx context.Context, router string, prefix netip.Prefix) (map[string]path, error) {
	if router == lab.HostBIRD {
		return f.birdPaths(ctx, prefix)
	}
	return f.frrPaths(ctx, prefix)
}

func (f *fabric) vtysh(ctx context.Context, commands ...string) (string, error) {
	words := []string{"vtysh"}
	for _, c := range commands {
		words = append(words, "-c", c)
	}
	return f.On(ctx, lab.HostFRR, words...)
}

func (f *fabric) frrPaths(ctx context.Context, prefix netip.Prefix) (map[string]path, error) {
	unicast := map[bool]string{true: "ipv4", false: "ipv6"}[prefix.Addr().Is4()]
	out, err := f.vtysh(ctx, fmt.Sprintf("show bgp %s unicast %s json", unicast, prefix))
	if err != nil {
		return nil, err
	}
	type text struct {
		String string `json:"string"`
	}
	var answer struct {
		Prefix string `json:"prefix"`
		Paths  []struct {
			ASPath    text `json:"aspath"`
			Community text `json:"community"`
			Large     text `json:"largeCommunity"`
			LocalPref int  `json:"locPrf"`
			Metric    *int `json:"metric"`
			NextHops  []struct {
				IP netip.Addr `json:"ip"`
			} `json:"nexthops"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, fmt.Errorf("FRR on %s: %w: %s", prefix, err, out)
	}
	all := map[string]path{}
	if answer.Prefix != prefix.String() {
		return all, nil
	}
	for _, p := range answer.Paths {
		got := path{p.ASPath.String, words(p.Community.String), words(p.Large.String), p.LocalPref, -1}
		if p.Metric != nil {
			got.MED = *p.Metric
		}
		if got.ASPath == "Local" {
			got.ASPath = ""
		}
		for _, h := range p.NextHops {
			if node := f.nodes[h.IP]; node != "" {
				all[node] = got
			}
		}
	}
	return all, nil
}

// wellKnown are FRR's names of communities.
var wellKnown = map[string]string{
	"gracefulShutdown": "65535:0", "graceful-shutdown": "65535:0", "no-export": "65535:65281", "noExport": "65535:65281", "blackhole": "65535:666",
}

// words puts the communities of a router in order.
func words(text string) string {
	all := strings.Fields(text)
	for i, w := range all {
		if number, ok := wellKnown[w]; ok {
			all[i] = number
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

var (
	birdAttribute = regexp.MustCompile(`^BGP\.([a-z_]+): *(.*)$`)
	birdCommunity = regexp.MustCompile(`[(), ]+`)
)

func (f *fabric) birdPaths(ctx context.Context, prefix netip.Prefix) (map[string]path, error) {
	out, err := f.On(ctx, lab.HostBIRD, "birdc", "show", "route", prefix.String(), "all")
	if err != nil {
		if strings.Contains(out, "Network not found") {
			return map[string]path{}, nil
		}
		return nil, err
	}
	all := map[string]path{}
	current, node := path{MED: -1}, ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "unicast [") || strings.Contains(line, "unreachable [") {
			current, node = path{MED: -1}, ""
		}
		m := birdAttribute.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var failed error
		switch m[1] {
		case "as_path":
			current.ASPath = m[2]
		case "next_hop":
			for _, w := range strings.Fields(m[2]) {
				if ip, err := netip.ParseAddr(w); err == nil && f.nodes[ip] != "" {
					node = f.nodes[ip]
				}
			}
		case "local_pref":
			current.LocalPref, failed = strconv.Atoi(m[2])
		case "med":
			current.MED, failed = strconv.Atoi(m[2])
		case "community", "large_community":
			var list []string
			for c := range strings.SplitSeq(m[2], ")") {
				if c = strings.Trim(birdCommunity.ReplaceAllString(c, ":"), ":"); c != "" {
					list = append(list, c)
				}
			}
			slices.Sort(list)
			if m[1] == "community" {
				current.Communities = strings.Join(list, " ")
			} else {
				current.Large = strings.Join(list, " ")
			}
		}
		if failed != nil {
			return nil, fmt.Errorf("BIRD on %s: %q: %w", prefix, line, failed)
		}
		if node != "" {
			all[node] = current
		}
	}
	return all, nil
}

// table waits until a router's BGP table has a prefix from exactly these nodes,
// of each as ok wants it.
func (f *fabric) table(t *testing.T, router string, prefix netip.Prefix, nodes []string, ok func(path) error) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("%s has %s in its table", router, prefix), func(ctx context.Context) error {
		paths, err := f.paths(ctx, router, prefix)
		if err != nil {
			return err
		}
		if len(paths) != len(nodes) {
			return fmt.Errorf("it has %+v; want it from %v", paths, nodes)
		}
		for _, n := range nodes {
			p, there := paths[n]
			if !there {
				return fmt.Errorf("it has none from %s", n)
			}
			if err := ok(p); err != nil {
				return fmt.Errorf("from %s: %+v: %w", n, p, err)
			}
		}
		return nil
	})
}

// absent waits until a router's BGP table does not have a prefix.
func (f *fabric) absent(t *testing.T, router string, prefix netip.Prefix) {
	t.Helper()
	f.table(t, router, prefix, nil, nil)
}

// configureFRR runs commands of FRR's configuration below its router bgp, and
// those that undo them when the test ends.
func (f *fabric) configureFRR(t *testing.T, commands, undo []string) {
	t.Helper()
	configure := func(ctx context.Context, commands []string) error {
		out, err := f.vtysh(ctx, append([]string{"configure", fmt.Sprintf("router bgp %d", lab.ASNFRR)}, commands...)...)
		if err == nil && strings.Contains(out, "%") {
			err = errors.New(out)
		}
		return err
	}
	if len(undo) > 0 {
		t.Cleanup(func() {
			if err := configure(context.Background(), undo); err != nil {
				t.Errorf("FRR: undoing what the test configured: %v", err)
			}
		})
	}
	// A neighbor of an earlier session may have to go first.
	cluster.Eventually(t, "FRR takes the configuration", func(ctx context.Context) error { return configure(ctx, commands) })
}
