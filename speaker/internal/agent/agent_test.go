package agent

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/election"
)

// recorder is everything that an agent acts on, and remembers in which order.
type recorder struct {
	mu   sync.Mutex
	did  []string
	left chan struct{}

	members []int // as reported
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, s)
}

func (r *recorder) Answer(a, _ []election.Answer) {
	for _, a := range a {
		r.note("answer " + a.IP.String())
	}
}
func (r *recorder) Probe([]election.Answer) {}
func (r *recorder) Withdraw(a []election.Answer) {
	for _, a := range a {
		r.note("withdraw " + a.IP.String())
	}
}
func (r *recorder) Send(m election.Message) {
	if len(m.Claims) > 0 {
		r.note("send a claim")
	}
}
func (r *recorder) Exchange(_ string, done func()) { done() }
func (r *recorder) Leave(time.Duration)            { r.note("leave"); close(r.left) }
func (r *recorder) Report(_ election.Ready, _, members int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members = append(r.members, members)
}

func TestAnnouncesBeforeItTells(t *testing.T) {
	r := &recorder{left: make(chan struct{})}
	a := New(slog.New(slog.NewTextHandler(io.Discard, nil)), "n1")
	a.Segment, a.Reporter = r, r
	a.Begin = func(context.Context, func(func(context.Context) error)) (int, error) {
		a.Connect(r)
		a.Post(election.SetNode{Name: "n1"})
		a.Post(election.SetInterfaces{Interfaces: []election.Interface{{Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}})
		a.Post(election.SetAddress{Address: election.Address{
			IP: netip.MustParseAddr("10.0.0.1"), Advertisements: []*election.Advertisement{{Nodes: map[string]int{"n1": 0}}},
		}})
		return 0, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	<-a.Ready()
	a.Do(func(*election.Election) {})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	<-r.left
	r.mu.Lock()
	defer r.mu.Unlock()
	if want := []string{"answer 10.0.0.1", "send a claim", "leave"}; !slices.Equal(r.did, want) {
		t.Errorf("did %q, want %q", r.did, want)
	}
}

// A member that comes when nothing moves is news, too.
func TestReportsMembers(t *testing.T) {
	r := &recorder{}
	a := New(slog.New(slog.NewTextHandler(io.Discard, nil)), "n1")
	a.Segment, a.Reporter = r, r
	a.Post(election.MemberUp{Node: "n2"})
	a.work()
	a.Post(election.Tick{})
	a.work()
	a.Post(election.MemberDown{Node: "n2"})
	a.work()
	if want := []int{2, 1}; !slices.Equal(r.members, want) {
		t.Errorf("reported %v members, want %v", r.members, want)
	}
}

// What a queue of events makes known goes out together.
func TestGather(t *testing.T) {
	state := func(node string, draining bool) election.NodeState {
		return election.NodeState{Node: node, Draining: draining}
	}
	m := gather(election.Message{}, election.Message{Claims: []election.Claim{{Term: 1}}, States: []election.NodeState{state("a", false)}})
	m = gather(m, election.Message{Claims: []election.Claim{{Term: 2}}, States: []election.NodeState{state("b", false), state("a", true)}})
	if len(m.Claims) != 2 || m.Claims[1].Term != 2 || len(m.States) != 2 || !m.States[0].Draining || m.States[1].Node != "b" {
		t.Errorf("gathered %+v", m)
	}
}

// A process that was frozen does not answer from what it knew before.
func TestFresh(t *testing.T) {
	r := &recorder{left: make(chan struct{})}
	a := New(slog.New(slog.NewTextHandler(io.Discard, nil)), "n1")
	a.Segment, a.Reporter = r, r
	a.work()
	if !a.Fresh() {
		t.Error("not fresh after work")
	}
	a.start = a.start.Add(-2 * stale) // time passes
	if a.Fresh() {
		t.Error("fresh though nothing was done for long")
	}
	a.work()
	if !a.Fresh() {
		t.Error("not fresh after work")
	}
}

func TestWithoutFlaps(t *testing.T) {
	down, up := item{event: election.MemberDown{Node: "a"}}, item{event: election.MemberUp{Node: "a"}}
	if got := withoutFlaps([]item{down, up}); got[0].event != (election.Tick{}) {
		t.Errorf("a member that is back went: %v", got)
	}
	if got := withoutFlaps([]item{up, down}); got[1].event != down.event {
		t.Errorf("a member that went stays: %v", got)
	}
}
