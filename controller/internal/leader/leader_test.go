package leader

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lease is the Lease as an API server keeps it.
type lease struct {
	mu       sync.Mutex
	version  int // 0: there is none
	versions int // that there were
	record   resourcelock.LeaderElectionRecord
}

func (l *lease) delete() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version = 0
}

func (l *lease) holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.HolderIdentity
}

// candidate is the lease as one replica sees it.
type candidate struct {
	*lease
	name string
	stop func() // stops the replica, and waits until it has

	mu     sync.Mutex
	read   int           // the version that was read last
	cutOff bool          // the API server is out of reach
	deaf   bool          // its answers are
	frozen time.Duration // the next request goes out after that
	log    bytes.Buffer
}

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

// fault is a way in which a candidate's requests fail.
func (c *candidate) fault(is func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is()
}

func (c *candidate) cut(off bool) { c.fault(func() { c.cutOff = off }) }

// request carries one out.
func (c *candidate) request(do func() error) error {
	c.mu.Lock()
	frozen := c.frozen
	c.frozen = 0
	c.mu.Unlock()
	time.Sleep(frozen)
	c.mu.Lock()
	cutOff, deaf := c.cutOff, c.deaf
	c.mu.Unlock()
	if cutOff {
		return errors.New("connection refused")
	}
	c.lease.mu.Lock()
	read := c.read
	err := do()
	if deaf {
		c.read = read
	}
	c.lease.mu.Unlock()
	if deaf {
		time.Sleep(requestTimeout)
		return context.DeadlineExceeded
	}
	return err
}

func (c *candidate) Get(context.Context) (record *resourcelock.LeaderElectionRecord, raw []byte, err error) {
	err = c.request(func() error {
		if c.version == 0 {
			return apierrors.NewNotFound(leases, Lease)
		}
		c.read = c.version
		now := c.record
		record = &now
		raw, err = json.Marshal(record) // as client-go does
		return err
	})
	return record, raw, err
}

func (c *candidate) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return c.write(r, 0)
}

func (c *candidate) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return c.write(r, c.read)
}

func (c *candidate) write(r resourcelock.LeaderElectionRecord, about int) error {
	return c.request(func() error {
		if c.version != about {
			return apierrors.NewConflict(leases, Lease, nil)
		}
		c.versions++
		c.version = c.versions
		c.read, c.record = c.version, r
		return nil
	})
}

func (c *candidate) RecordEvent(string) {}
func (c *candidate) Identity() string   { return c.name }
func (c *candidate) Describe() string   { return "porchlight-system/" + Lease }

// stage is replicas on one lease.
type stage struct {
	t     *testing.T
	lease *lease
	mu    sync.Mutex
	terms map[string]*Held // of those whose work goes on
	began chan string
	ended chan string
}

// newStage is a stage on which no two replicas ever hold the Lease.
func newStage(t *testing.T) *stage {
	s := &stage{t: t, lease: &lease{}, terms: map[string]*Held{}, began: make(chan string, 100), ended: make(chan string, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if holders := s.holders(); len(holders) > 1 {
				t.Errorf("%v hold the Lease at once", holders)
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-watched })
	return s
}

func (s *stage) holders() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, held := range s.terms {
		if held.Holds() {
			all = append(all, name)
		}
	}
	return all
}

// lead is a term.
func (s *stage) lead(ctx context.Context, name string, held *Held) error {
	s.mu.Lock()
	s.terms[name] = held
	s.mu.Unlock()
	s.began <- name
	<-ctx.Done()
	s.mu.Lock()
	delete(s.terms, name)
	s.mu.Unlock()
	s.ended <- name
	return nil
}

// replica starts one, which the end of the test stops.
func (s *stage) replica(name string, term func(context.Context, *Held) error) *candidate {
	c := &candidate{lease: s.lease, name: name}
	if term == nil {
		term = func(ctx context.Context, held *Held) error { return s.lead(ctx, name, held) }
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
	c.stop = func() { cancel(); <-done }
	s.t.Cleanup(c.stop)
	<-e.Ready()
	return c
}

// leads starts a, which leads.
func (s *stage) leads() *candidate {
	a := s.replica("a", nil)
	s.next(s.began)
	return a
}

// pair starts a, which leads, and b, which stands by.
func (s *stage) pair() (a, b *candidate) {
	a = s.leads()
	return a, s.replica("b", nil)
}

// next is whose term begins, or ends, next.
func (s *stage) next(from <-chan string) string {
	s.t.Helper()
	select {
	case who := <-from:
		return who
	case <-time.After(time.Minute):
		s.t.Fatal("nothing happens")
		return ""
	}
}

// none fails if a term begins or ends.
func (s *stage) none(within time.Duration) {
	s.t.Helper()
	select {
	case who := <-s.began:
		s.t.Errorf("a term of %s began", who)
	case who := <-s.ended:
		s.t.Errorf("the term of %s ended", who)
	case <-time.After(within):
	}
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
		s.pair()
		select {
		case who := <-s.began:
			t.Errorf("%s leads too", who)
		case <-time.After(10 * time.Minute):
		}
	})
}

// When a leader can no longer renew the Lease, another one starts soon; the
// term of the first ends as soon as it sees that.
func TestLeaderThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		replicas := map[string]*candidate{}
		for _, name := range []string{"a", "b"} {
			replicas[name] = s.replica(name, nil)
		}
		for range 20 {
			leader := s.next(s.began)
			time.Sleep(3 * time.Second)
			cut := time.Now()
			replicas[leader].cut(true)
			next := s.next(s.began)
			within(t, 2*time.Second, cut)
			if next == leader {
				t.Errorf("%s leads again", next)
			}
			s.none(time.Minute)
			back := time.Now()
			replicas[leader].cut(false)
			if who := s.next(s.ended); who != leader {
				t.Errorf("%s ended, %s was cut off", who, leader)
			}
			within(t, 400*time.Millisecond, back)
			s.began <- next
		}
	})
}

// A leader that is stopped ends its work, gives the Lease back, and need not be
// waited for.
func TestLeaderThatIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		a, _ := s.pair()
		time.Sleep(time.Minute) // b stands by
		at := time.Now()
		a.stop()
		s.next(s.ended)
		if who := s.next(s.began); who != "b" {
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
		slow := func(ctx context.Context, held *Held) error {
			s.began <- "slow"
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			s.ended <- "slow"
			return nil
		}
		a := s.replica("a", slow)
		s.next(s.began)
		s.replica("b", nil)
		go a.stop()
		select {
		case who := <-s.began:
			t.Errorf("%s leads while a still works", who)
		case <-s.ended:
		}
		s.next(s.began)
	})
}

// A replica whose term fails stands again.
func TestTermThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		terms := 0
		s.replica("a", func(ctx context.Context, held *Held) error {
			if terms++; terms == 1 {
				return errors.New("it does not work")
			}
			return s.lead(ctx, "a", held)
		})
		s.next(s.began)
		if terms != 2 {
			t.Errorf("%d terms", terms)
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
