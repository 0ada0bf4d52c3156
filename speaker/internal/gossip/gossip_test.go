package gossip

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/sandbox"
)

func TestMain(m *testing.M) {
	if which := os.Getenv(asMember); which != "" {
		beMember(which)
		return
	}
	sandbox.Main(m)
}

// cluster is speakers on addresses of the loopback interface.
type cluster struct {
	t     *testing.T
	key   []byte
	port  int
	mu    sync.Mutex
	peers []Peer // that the API knows
}

func newCluster(t *testing.T, key string, nodes ...string) *cluster {
	c := &cluster{t: t, key: bytes.Repeat([]byte(key), 32)[:32], port: 7947}
	for i, n := range nodes {
		c.peers = append(c.peers, Peer{n, netip.AddrFrom4([4]byte{127, 0, key[0], byte(i + 1)})})
	}
	return c
}

// speaker is a member, and what its election was told.
type speaker struct {
	*Gossip
	t    *testing.T
	node string
	stop context.CancelFunc

	told sync.Mutex
	log  []election.Event
	news chan struct{}
}

func (s *speaker) post(ev election.Event) {
	s.told.Lock()
	defer s.told.Unlock()
	s.log = append(s.log, ev)
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// start starts the speaker of a node, and ends it with the test.
func (c *cluster) start(node string) *speaker {
	c.t.Helper()
	i := slices.IndexFunc(c.peers, func(p Peer) bool { return p.Node == node })
	s := &speaker{t: c.t, node: node, news: make(chan struct{}, 1)}
	g, err := Start(Config{
		Resolve: func(netip.Addr, netip.Addr) {},
		Node:    node, IP: c.peers[i].IP, Port: c.port, Key: c.key, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Post:  s.post,
		State: func() []byte { return election.Message{States: []election.NodeState{{Node: node}}}.Marshal() },
		Peers: func() []Peer {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.peers
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	s.Gossip = g
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { g.Run(ctx) })
	s.stop = func() {
		stop()
		run.Wait()
		_ = g.list.Shutdown()
	}
	c.t.Cleanup(s.stop)
	return s
}

// awaits waits until what the election was told so far is as wanted.
func (s *speaker) awaits(what string, want func([]election.Event) bool) {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.told.Lock()
		ok := want(s.log)
		s.told.Unlock()
		if ok {
			return
		}
		select {
		case <-s.news:
		case <-deadline:
			s.t.Fatalf("%s never hears %s", s.node, what)
		}
	}
}

// membership are the events about a node.
func membership(log []election.Event, node string) (out []election.Event) {
	for _, ev := range log {
		if ev == (election.MemberUp{Node: node}) || ev == (election.MemberDown{Node: node}) {
			out = append(out, ev)
		}
	}
	return out
}

func (s *speaker) awaitsLast(what string, last election.Event, node string) {
	s.t.Helper()
	s.awaits(what, func(log []election.Event) bool {
		m := membership(log, node)
		return len(m) > 0 && m[len(m)-1] == last
	})
}

func (s *speaker) awaitsUp(node string) {
	s.t.Helper()
	s.awaitsLast("that "+node+" is up", election.MemberUp{Node: node}, node)
}

func (s *speaker) awaitsDown(node string) {
	s.t.Helper()
	s.awaitsLast("that "+node+" is down", election.MemberDown{Node: node}, node)
}

// awaitsAbsent waits until the election knows that so many speakers are missing.
func (s *speaker) awaitsAbsent(n int) {
	s.t.Helper()
	s.awaits("how many are missing", func(log []election.Event) bool {
		for _, ev := range slices.Backward(log) {
			if absent, ok := ev.(election.SetAbsent); ok {
				return absent.Speakers == n
			}
		}
		return false
	})
}

// heard unites the messages of others.
func heard(log []election.Event) (m election.Message) {
	for _, ev := range log {
		if r, ok := ev.(election.Receive); ok {
			m.Claims = append(m.Claims, r.Message.Claims...)
			m.States = append(m.States, r.Message.States...)
		}
	}
	return m
}

func TestMembersTellEachOther(t *testing.T) {
	c := newCluster(t, "a", "n1", "n2", "n3")
	n1, n2, n3 := c.start("n1"), c.start("n2"), c.start("n3")
	for _, s := range []*speaker{n1, n2, n3} {
		for _, other := range []string{"n1", "n2", "n3"} {
			if other != s.node {
				s.awaitsUp(other)
			}
		}
	}
	// More than fits a packet.
	var m election.Message
	for i := range 200 {
		m.Claims = append(m.Claims, election.Claim{Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Term: 1, Node: "n1", Cause: election.CauseNew})
	}
	n1.Send(m)
	for _, s := range []*speaker{n2, n3} {
		s.awaits("all claims", func(log []election.Event) bool {
			of := map[netip.Addr]bool{}
			for _, c := range heard(log).Claims {
				of[c.Address] = true
			}
			return len(of) == len(m.Claims)
		})
	}
	exchanged := make(chan struct{})
	n2.Exchange("n3", func() { close(exchanged) })
	<-exchanged
	n3.awaits("the state of n2", func(log []election.Event) bool {
		return slices.ContainsFunc(heard(log).States, func(s election.NodeState) bool { return s.Node == "n2" })
	})
	n3.Leave(time.Second)
	n1.awaitsDown("n3")
	n2.awaitsDown("n3")
}

// A state larger than any packet arrives, and not by the next exchange of all.
func TestLargeState(t *testing.T) {
	c := newCluster(t, "g", "n1", "n2")
	n1, n2 := c.start("n1"), c.start("n2")
	n1.awaitsUp("n2")
	n2.awaitsUp("n1")
	s := election.NodeState{Node: "n1", Run: 2}
	for i := range 4000 {
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		s.Interfaces = append(s.Interfaces, election.Interface{Name: "vlan" + strconv.Itoa(i), Prefixes: []netip.Prefix{prefix}})
	}
	n1.Send(election.Message{States: []election.NodeState{s}})
	if n := n1.queue.NumQueued(); n != 0 {
		t.Errorf("%d messages in the queue, which none of them can leave", n)
	}
	n2.awaits("the state", func(log []election.Event) bool {
		return slices.ContainsFunc(heard(log).States, func(s election.NodeState) bool { return len(s.Interfaces) == 4000 })
	})
}

// A speaker that dies without a word is missed, and found again without being
// told where it is: by the others' calls, though the API server may be down.
func TestDiesAndComesBack(t *testing.T) {
	c := newCluster(t, "b", "n1", "n2", "n3")
	n1, n2, n3 := c.start("n1"), c.start("n2"), c.start("n3")
	for _, other := range []string{"n2", "n3"} {
		n1.awaitsUp(other)
	}
	n2.awaitsUp("n3")
	n3.stop()
	n1.awaitsDown("n3")
	n2.awaitsDown("n3")
	n1.awaitsAbsent(1)
	back := c.start("n3")
	n1.awaitsUp("n3")
	n2.awaitsUp("n3")
	back.awaitsUp("n1")
	n1.awaitsAbsent(0)
}

// Who the API does not know is called all the same, if it was a member.
func TestRemembersMembers(t *testing.T) {
	c := newCluster(t, "c", "n1", "n2")
	n1, n2 := c.start("n1"), c.start("n2")
	n1.awaitsUp("n2")
	n2.stop()
	n1.awaitsDown("n2")
	c.mu.Lock()
	c.peers = nil
	c.mu.Unlock()
	if absent := n1.absent(); len(absent) != 1 || absent[0].Node != "n2" {
		t.Errorf("calls %v", absent)
	}
}

// Two installations never merge, though they call each other.
func TestInstallationsStayApart(t *testing.T) {
	a, b := newCluster(t, "d", "n1", "n2"), newCluster(t, "e", "m1", "m2")
	a.peers = append(a.peers, b.peers...)
	b.peers = a.peers
	n1, m1 := a.start("n1"), b.start("m1")
	n2, m2 := a.start("n2"), b.start("m2")
	n1.awaitsUp("n2")
	m1.awaitsUp("m2")
	for _, s := range []*speaker{n1, m1, n2, m2} {
		if joined := s.call(t.Context(), s.absent()); joined != 0 {
			t.Errorf("%s joined %d of the others", s.node, joined)
		}
		if n := s.members(); n != 2 {
			t.Errorf("%s has %d members", s.node, n)
		}
	}
}

// A death that is doubted is not told; and not at all if it was none.
func TestDoubtedDeath(t *testing.T) {
	c := newCluster(t, "f", "n1", "n2")
	n1, n2 := c.start("n1"), c.start("n2")
	n1.awaitsUp("n2")
	member := n1.live["n2"]
	events := (*events)(n1.Gossip)
	n1.mu.Lock()
	n1.patience.ran(time.Hour, time.Now())
	n1.mu.Unlock()
	events.NotifyLeave(member)
	events.NotifyJoin(member)
	n1.mu.Lock()
	doubted := len(n1.doubted)
	n1.mu.Unlock()
	if doubted != 0 {
		t.Error("who is back is doubted")
	}
	n1.told.Lock()
	got := membership(n1.log, "n2")
	n1.told.Unlock()
	if len(got) != 1 {
		t.Errorf("of n2 it hears %v", got)
	}
	n2.stop()
	n1.awaitsDown("n2")
}

func TestLabelSaysNothingAboutTheKey(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	if l := label(key); l == label(bytes.Repeat([]byte("l"), 32)) || bytes.Contains([]byte(l), key[:4]) || len(l) > 255 {
		t.Errorf("label %q", l)
	}
}
