package leader

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lease is the Lease as an API server keeps it.
type lease struct {
	mu      sync.Mutex
	version int
	record  resourcelock.LeaderElectionRecord
}

// candidate is the lease as one replica sees it.
type candidate struct {
	*lease
	name string

	mu     sync.Mutex
	read   int  // the version that was read last
	cutOff bool // the API server is out of reach
	log    bytes.Buffer
}

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

func (c *candidate) away() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cutOff {
		return errors.New("connection refused")
	}
	return nil
}

func (c *candidate) cut(off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutOff = off
}

func (c *candidate) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if err := c.away(); err != nil {
		return nil, nil, err
	}
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	if c.version == 0 {
		return nil, nil, apierrors.NewNotFound(leases, Lease)
	}
	c.read = c.version
	record := c.record
	raw, err := json.Marshal(record) // as client-go does
	return &record, raw, err
}

func (c *candidate) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return c.write(r, 0)
}

func (c *candidate) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return c.write(r, c.read)
}

func (c *candidate) write(r resourcelock.LeaderElectionRecord, about int) error {
	if err := c.away(); err != nil {
		return err
	}
	c.lease.mu.Lock()
	defer c.lease.mu.Unlock()
	if c.version != about {
		return apierrors.NewConflict(leases, Lease, nil)
	}
	c.version++
	c.read, c.record = c.version, r
	return nil
}

func (c *candidate) RecordEvent(string) {}
func (c *candidate) Identity() string   { return c.name }
func (c *candidate) Describe() string   { return "porchlight-system/" + Lease }

// stage is replicas on one lease.
type stage struct {
	t       *testing.T
	lease   *lease
	mu      sync.Mutex
	leading map[string]bool
	began   chan string
	ended   chan string
}

func newStage(t *testing.T) *stage {
	return &stage{t: t, lease: &lease{}, leading: map[string]bool{}, began: make(chan string, 100), ended: make(chan string, 100)}
}

// lead is a term: nobody else may be in one.
func (s *stage) lead(ctx context.Context, name string) error {
	s.mu.Lock()
	if s.leading[name] = true; len(s.leading) > 1 {
		s.t.Errorf("leading at once: %v", s.leading)
	}
	s.mu.Unlock()
	s.began <- name
	<-ctx.Done()
	s.mu.Lock()
	delete(s.leading, name)
	s.mu.Unlock()
	s.ended <- name
	return nil
}

// replica starts one, and returns it and how to stop it.
func (s *stage) replica(name string, term func(context.Context, func() bool) error) (*candidate, context.CancelFunc) {
	c := &candidate{lease: s.lease, name: name}
	if term == nil {
		term = func(ctx context.Context, _ func() bool) error { return s.lead(ctx, name) }
	}
	e := New(nil, "porchlight-system", term, slog.New(slog.NewTextHandler(&c.log, nil)))
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.campaign(ctx, c); err != nil {
			s.t.Error(err)
		}
	}()
	<-e.Ready()
	return c, func() { cancel(); <-done }
}

func within(t *testing.T, limit time.Duration, from time.Time) {
	t.Helper()
	if took := time.Since(from); took > limit {
		t.Errorf("took %v, want at most %v", took, limit)
	}
}

// Nobody takes the Lease from a leader that renews it.
func TestStandbyStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		_, stopA := s.replica("a", nil)
		defer stopA()
		<-s.began
		_, stopB := s.replica("b", nil)
		defer stopB()
		select {
		case who := <-s.began:
			t.Errorf("%s leads too", who)
		case <-time.After(time.Hour):
		}
	})
}

// A leader that can no longer renew stops before another one starts, which is
// soon.
func TestLeaderThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		replicas := map[string]*candidate{}
		for _, name := range []string{"a", "b"} {
			c, stop := s.replica(name, nil)
			defer stop()
			replicas[name] = c
		}
		for range 20 {
			leader := <-s.began
			time.Sleep(3 * time.Second)
			cut := time.Now()
			replicas[leader].cut(true)
			if who := <-s.ended; who != leader {
				t.Errorf("%s ended, %s was cut off", who, leader)
			}
			next := <-s.began
			within(t, 2*time.Second, cut)
			if next == leader {
				t.Errorf("%s leads again", next)
			}
			replicas[leader].cut(false)
			s.began <- next
		}
	})
}

// A leader that is stopped ends its work, gives the Lease back, and need not be
// waited for.
func TestLeaderThatIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		_, stopA := s.replica("a", nil)
		<-s.began
		_, stopB := s.replica("b", nil)
		defer stopB()
		time.Sleep(time.Minute) // b stands by
		at := time.Now()
		stopA()
		<-s.ended
		if who := <-s.began; who != "b" {
			t.Errorf("%s leads", who)
		}
		within(t, 500*time.Millisecond, at)
	})
}

// A term that takes its time to end is waited for, by its own replica and by
// the Lease where that can be reached.
func TestTermThatEndsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		slow := func(ctx context.Context, _ func() bool) error {
			s.began <- "slow"
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			s.ended <- "slow"
			return nil
		}
		_, stop := s.replica("a", slow)
		<-s.began
		_, stopB := s.replica("b", nil)
		defer stopB()
		go stop()
		select {
		case who := <-s.began:
			t.Errorf("%s leads while a still works", who)
		case <-s.ended:
		}
		<-s.began
	})
}

// A replica whose term fails stands again.
func TestTermThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		terms := 0
		_, stop := s.replica("a", func(ctx context.Context, _ func() bool) error {
			if terms++; terms == 1 {
				return errors.New("it does not work")
			}
			return s.lead(ctx, "a")
		})
		defer stop()
		<-s.began
		if terms != 2 {
			t.Errorf("%d terms", terms)
		}
	})
}

// A leader that is cut off knows that it may no longer write before another one
// may, though it ends later; while it renews, it may all the time.
func TestLeaderKnowsWhetherItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		asked := make(chan func() bool, 1)
		c, stop := s.replica("a", func(ctx context.Context, holds func() bool) error {
			asked <- holds
			<-ctx.Done()
			return nil
		})
		defer stop()
		holds := <-asked
		for range 1000 {
			if !holds() {
				t.Fatal("it renews, and does not hold")
			}
			time.Sleep(7 * time.Millisecond)
		}
		c.cut(true)
		time.Sleep(actLimit)
		if holds() {
			t.Errorf("it holds %v after the last renewal", actLimit)
		}
	})
}

// A leader that was frozen for longer than its Lease does not hold it when it
// goes on, and its term ends, though the other one is gone and the Lease could
// be had again: what that one did is not in what this one knows. It does not
// give back what is not its own.
func TestLeaderThatWasFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &candidate{lease: &lease{}, name: "a"}
		lost := false
		l := &held{Interface: c, lost: func() { lost = true }}
		record := func(who string) resourcelock.LeaderElectionRecord {
			return resourcelock.LeaderElectionRecord{HolderIdentity: who, RenewTime: metav1.Now()}
		}
		write := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		if l.holds() {
			t.Error("it holds what is not there")
		}
		write(l.Create(t.Context(), record("a")))
		write(l.Update(t.Context(), record("a")))
		if !l.holds() || lost {
			t.Error("it renewed, and does not hold")
		}
		time.Sleep(5 * time.Second) // frozen
		other := &candidate{lease: c.lease, name: "b", read: c.read}
		write(other.Update(t.Context(), record("b")))
		if l.holds() {
			t.Error("it holds after it was frozen")
		}
		if err := l.Update(t.Context(), record("a")); err == nil || l.holds() {
			t.Error("it renewed what is another's")
		}
		if _, _, err := l.Get(t.Context()); err != nil || !lost || l.holds() {
			t.Errorf("%v; lost: %v, holds: %v", err, lost, l.holds())
		}
		if err := l.Update(t.Context(), record("")); err == nil || c.record.HolderIdentity != "b" {
			t.Errorf("it gave back what is another's: %v", err)
		}
	})
}

// While the API server is away, nobody leads, the log says so, and is not full
// of it; then it goes on.
func TestAPIServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		c, stop := s.replica("a", nil)
		<-s.began
		c.cut(true)
		<-s.ended
		time.Sleep(5 * time.Minute)
		back := time.Now()
		c.cut(false)
		<-s.began
		within(t, time.Second, back)
		stop()
		<-s.ended
		lines := strings.Count(c.log.String(), "\n")
		if lines > 40 || !strings.Contains(c.log.String(), "connection refused") {
			t.Errorf("%d lines in 5 minutes:\n%s", lines, c.log.String())
		}
	})
}

func TestSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(newSparse(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
					return slog.Attr{}
				}
				return a
			},
		}), 10*time.Second)).With("lock", "l")
		for i := range 25 {
			log.Info("away", "n", i)
			if i == 3 {
				log.Info("other")
			}
			time.Sleep(time.Second)
		}
		want := "msg=away lock=l n=0\nmsg=other lock=l\n"
		for _, n := range []int{10, 20} {
			want += fmt.Sprintf("msg=away lock=l n=%d repeated=9\n", n)
		}
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", out.String(), want)
		}
	})
}
