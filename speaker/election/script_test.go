package election

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/internal/script"
)

// TestScripts runs the stories in testdata. Their commands are
//
//	nodes N                 so many nodes, n1 …, without loss and with equal clocks
//	addresses IP…           announced from every node
//	prefer NODE IP…         announced from every node, NODE preferred, with failback
//	local NODE IP           announced where the endpoint is
//	run DURATION            lets time pass; gives who started and stopped to answer
//	crash, start, drain, freeze, thaw NODE
//	cut-gossip, cut-link, partition NODE; heal
//	exclude, include NODE
//	proxy-down, proxy-up NODE
//	behind NODE IP DURATION  the node's proxy learns of the address after that
//	owners                  who answers, and what the lowest live node explains
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t *testing.T, out *bytes.Buffer) func([]string) {
		s := &story{out: out}
		t.Cleanup(func() {
			if s.c.failure != "" {
				t.Error(s.c.failure)
			}
		})
		return func(command []string) {
			words := strings.Fields(command[0])
			if !s.do(words[0], words[1:]) {
				t.Fatalf("no such command: %s", command[0])
			}
		}
	})
}

type story struct {
	c   *cluster
	out *bytes.Buffer
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
			fmt.Fprintf(s.out, "%7.1fs ", s.c.now.Seconds())
			fmt.Fprintf(s.out, format+"\n", args...)
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
	case "proxy-down", "proxy-up":
		h.noProxy = command == "proxy-down"
		s.c.step(h, SetProxy{h.noProxy})
		s.c.changedNode(h)
	case "behind":
		d, err := time.ParseDuration(args[2])
		if err != nil {
			return false
		}
		s.c.fallBehind(h, netip.MustParseAddr(args[1]), d)
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
		fmt.Fprintf(s.out, "%s %s: %s, %s writes;", ip, names(s.c.owners(ip)), v.Reason, v.Writer)
		for _, n := range v.Nodes {
			fmt.Fprintf(s.out, " %s %s", n.Node, n.Reason)
		}
		fmt.Fprintln(s.out)
	}
}
