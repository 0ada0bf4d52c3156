package election

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata give into them")

// TestScripts runs the stories in testdata. A script is commands, each followed
// by "----", what it gives, and an empty line:
//
//	nodes N                 so many nodes, n1 …, without loss and with equal clocks
//	addresses IP…           announced from every node
//	prefer NODE IP…         announced from every node, NODE preferred, with failback
//	local NODE IP           announced where the endpoint is
//	run DURATION            lets time pass; gives who started and stopped to answer
//	crash, start, drain, freeze, thaw NODE
//	cut-gossip, cut-link, partition NODE; heal
//	exclude, include NODE
//	owners                  who answers, and what the lowest live node explains
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(old))
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(old, got) {
				t.Errorf("%s gives\n%s\nsee what differs with: go test ./speaker/election -run TestScripts -rewrite; git diff", file, got)
			}
		})
	}
}

func runScript(t *testing.T, script string) []byte {
	var out bytes.Buffer
	var s story
	for block := range strings.SplitSeq(strings.TrimSpace(script), "\n\n") {
		command, _, _ := strings.Cut(block, "\n----")
		lines := strings.Split(strings.TrimSpace(command), "\n")
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintln(&out, strings.Join(lines, "\n"))
		if strings.HasPrefix(lines[len(lines)-1], "#") {
			continue
		}
		fmt.Fprintln(&out, "----")
		fields := strings.Fields(lines[len(lines)-1])
		s.out.Reset()
		if !s.do(fields[0], fields[1:]) {
			t.Fatalf("no such command: %s", lines[len(lines)-1])
		}
		out.Write(s.out.Bytes())
	}
	if s.c.failure != "" {
		t.Error(s.c.failure)
	}
	return out.Bytes()
}

type story struct {
	c   *cluster
	out bytes.Buffer
}

func (s *story) do(command string, args []string) bool {
	var h *host
	if s.c != nil && len(args) > 0 {
		h = s.c.byName[args[0]]
	}
	switch command {
	case "nodes":
		var n int
		fmt.Sscan(args[0], &n)
		s.c = newCluster(1, n)
		s.c.delay = 0
		s.c.trace = func(format string, args ...any) {
			fmt.Fprintf(&s.out, "%7.1fs ", s.c.now.Seconds())
			fmt.Fprintf(&s.out, format+"\n", args...)
		}
	case "addresses":
		every := s.c.everyNode()
		for _, ip := range args {
			s.c.setAddress(Address{IP: netip.MustParseAddr(ip), Advertisements: []*Advertisement{every}})
		}
	case "prefer":
		preferring := s.c.everyNode()
		preferring.Nodes[args[0]] = 10
		preferring.Failback = true
		for _, ip := range args[1:] {
			s.c.setAddress(Address{IP: netip.MustParseAddr(ip), Advertisements: []*Advertisement{preferring}})
		}
	case "local":
		s.c.setAddress(Address{IP: netip.MustParseAddr(args[1]), Advertisements: []*Advertisement{s.c.everyNode()}, Local: map[string]bool{args[0]: true}})
	case "run":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return false
		}
		s.c.runFor(d)
	case "crash":
		s.c.stop(h)
	case "start":
		s.c.start(h)
	case "drain":
		s.c.drain(h)
	case "freeze":
		s.c.freeze(h)
	case "thaw":
		s.c.thaw(h)
	case "cut-gossip":
		h.gossip = 9
		s.c.allMembership()
	case "partition":
		h.gossip, h.lan = 9, 9
		s.c.allMembership()
	case "cut-link":
		h.carrier = false
		s.c.sense(h)
		s.c.membership(h)
	case "exclude":
		s.c.setNode(args[0], reason.NodeExcluded)
	case "include":
		s.c.setNode(args[0], "")
	case "heal":
		s.c.heal()
	case "owners":
		s.owners()
	default:
		return false
	}
	return true
}

func (s *story) owners() {
	i := slices.IndexFunc(s.c.nodes, func(h *host) bool { return h.up && !h.frozen })
	for _, ip := range s.c.sorted() {
		v, _ := s.c.nodes[i].e.Explain(ip)
		fmt.Fprintf(&s.out, "%s %s: %s, %s writes;", ip, names(s.c.owners(ip)), v.Reason, v.Writer)
		for _, n := range v.Nodes {
			fmt.Fprintf(&s.out, " %s %s", n.Node, n.Reason)
		}
		fmt.Fprintln(&s.out)
	}
}
