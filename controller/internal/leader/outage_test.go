package leader

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// A leader that is cut off knows that it may no longer write before another one
// may; while it renews, it may all the time.
func TestLeaderKnowsWhetherItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		c := s.leads()
		held := s.terms["a"]
		for range 1000 {
			if !held.Holds() || held.Await(t.Context()) != nil {
				t.Fatal("it renews, and does not hold")
			}
			time.Sleep(7 * time.Millisecond)
		}
		c.cut(true)
		time.Sleep(actLimit)
		if held.Holds() {
			t.Errorf("it holds %v after the last renewal", actLimit)
		}
	})
}

// Whatever keeps a leader from renewing, and for however long: where nobody
// else held the Lease, the same term goes on, and who waits for that goes on
// with the renewal.
func TestTermOutlivesMissedRenewals(t *testing.T) {
	for name, fault := range map[string]func(all []*candidate, on bool){
		"the API server is away": func(all []*candidate, on bool) {
			for _, c := range all {
				c.cut(on)
			}
		},
		"its answers are lost": func(all []*candidate, on bool) {
			for _, c := range all {
				c.fault(func() { c.deaf = on })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				a, b := s.pair()
				held := s.terms["a"]
				for _, outage := range []time.Duration{
					300 * time.Millisecond, 900 * time.Millisecond, 1200 * time.Millisecond, 2 * time.Second, 30 * time.Second, 5 * time.Minute,
				} {
					s.none(10 * time.Second)
					fault([]*candidate{a, b}, true)
					s.none(outage)
					if outage > time.Second && held.Holds() {
						t.Errorf("it holds %v after its renewals failed", outage)
					}
					fault([]*candidate{a, b}, false)
					back := time.Now()
					if err := held.Await(t.Context()); err != nil || !held.Holds() {
						t.Error(err)
					}
					within(t, time.Second, back)
				}
				s.none(10 * time.Second)
			})
		})
	}
}

// The API server stalls for 900 ms, again and again: nobody takes the Lease from
// the leader, though the Lease expires.
func TestStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		a, b := s.pair()
		for i := range 150 {
			s.none(time.Duration(500+7*i) * time.Millisecond)
			a.cut(true)
			b.cut(true)
			s.none(time.Duration(850+i) * time.Millisecond)
			a.cut(false)
			b.cut(false)
		}
	})
}

// A standby whose every second look fails takes the Lease of a leader that is
// gone all the same.
func TestStandbyThatSeesLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		a, b := s.pair()
		s.none(10 * time.Second)
		gone := time.Now()
		a.cut(true)
		off := false
		for len(s.began) == 0 && time.Since(gone) < time.Minute {
			off = !off
			b.cut(off)
			time.Sleep(250 * time.Millisecond)
		}
		if len(s.began) == 0 {
			t.Error("nobody leads")
		}
	})
}

// Somebody else held the Lease while a leader could not renew it, and has it no
// more: what that one did is not in what the first one knows. Its term ends as
// soon as it sees that, without having held the Lease again.
func TestTermEndsWhereAnotherHeldTheLease(t *testing.T) {
	for name, leave := range map[string]func(b *candidate){
		"it still has it": func(*candidate) {},
		"it gave it back": func(b *candidate) { b.stop() },
		"it is gone":      func(b *candidate) { b.cut(true) },
		"it gave it back, and the Lease was deleted": func(b *candidate) { b.stop(); b.lease.delete() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				a, b := s.pair()
				held := s.terms["a"]
				s.none(5 * time.Second)
				a.cut(true)
				if who := s.next(s.began); who != "b" {
					t.Errorf("%s leads", who)
				}
				s.none(5 * time.Second)
				leave(b)
				time.Sleep(5 * time.Second)
				if held.Holds() {
					t.Error("a holds the Lease")
				}
				waiting, waited := make(chan struct{}), make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { close(waiting); waited <- held.Await(ctx) }()
				<-waiting
				back := time.Now()
				a.cut(false)
				for s.next(s.ended) != "a" {
				}
				within(t, 400*time.Millisecond, back)
				time.Sleep(time.Minute)
				if held.Holds() || len(waited) > 0 {
					t.Error("the term that ended holds the Lease")
				}
				cancel()
				if err := <-waited; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

// A Lease that was deleted may have been another's: the term ends, and the next
// one makes it anew.
func TestLeaseThatWasDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.leads()
		s.lease.delete()
		s.next(s.ended)
		s.next(s.began)
		s.none(time.Minute)
	})
}

// A leader that was frozen for longer than its Lease does not hold it when it
// goes on. Its term goes on too if nobody led meanwhile.
func TestLeaderThatWasFrozen(t *testing.T) {
	for _, others := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t)
			a := s.leads()
			held := s.terms["a"]
			if others > 0 {
				s.replica("b", nil)
			}
			s.none(5 * time.Second)
			a.fault(func() { a.frozen = 5 * time.Second })
			time.Sleep(5 * time.Second)
			if held.Holds() {
				t.Error("it holds after it was frozen")
			}
			if others == 0 {
				s.none(time.Minute)
				return
			}
			if who := s.next(s.began); who != "b" {
				t.Errorf("%s leads", who)
			}
			if who := s.next(s.ended); who != "a" {
				t.Errorf("the term of %s ended", who)
			}
		})
	}
}

// What is another's is neither renewed nor given back.
func TestLeaseOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &candidate{lease: &lease{}, name: "a"}
		lost := 0
		l := &lock{Interface: c, held: newHeld(), lost: func() { lost++ }}
		record := func(who string, transitions int) resourcelock.LeaderElectionRecord {
			return resourcelock.LeaderElectionRecord{HolderIdentity: who, LeaderTransitions: transitions, RenewTime: metav1.Now()}
		}
		write := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		if l.held.Holds() {
			t.Error("it holds what is not there")
		}
		write(l.Create(t.Context(), record("a", 0)))
		write(l.Update(t.Context(), record("a", 0)))
		if !l.held.Holds() || lost != 0 {
			t.Error("it renewed, and does not hold")
		}
		time.Sleep(5 * time.Second)
		other := &candidate{lease: c.lease, name: "b", read: c.read}
		write(other.Update(t.Context(), record("b", 1)))
		if err := l.Update(t.Context(), record("a", 0)); err == nil || l.held.Holds() {
			t.Error("it renewed what is another's")
		}
		for range 2 {
			if _, _, err := l.Get(t.Context()); err != nil || lost != 1 || l.held.Holds() {
				t.Errorf("%v; lost %d times, holds: %v", err, lost, l.held.Holds())
			}
		}
		if err := l.Update(t.Context(), record("a", 2)); err == nil || l.held.Holds() {
			t.Error("it took for an old term what was another's")
		}
		// Whoever is the holder now: there was another one if it was counted.
		again := &lock{Interface: c, held: newHeld(), lost: func() { lost++ }}
		write(again.Update(t.Context(), record("a", 2)))
		other.read = c.read
		write(other.Update(t.Context(), record("a", 4)))
		if _, _, err := again.Get(t.Context()); err != nil || lost != 2 || again.held.Holds() {
			t.Errorf("%v; lost %d times, holds: %v", err, lost, again.held.Holds())
		}
		other.read = c.read
		write(other.Update(t.Context(), record("b", 5)))
		if err := l.release(t.Context()); err != nil || c.record.HolderIdentity != "b" {
			t.Errorf("it gave back what is another's: %v", err)
		}
	})
}

// A replica that shuts down while it cannot renew ends at once; what it holds
// by then is given back, though the answer to its last renewal was lost.
func TestStoppedWhileItCannotRenew(t *testing.T) {
	for name, fault := range map[string]func(c *candidate, on bool){
		"cut off":      (*candidate).cut,
		"answers lost": func(c *candidate, on bool) { c.fault(func() { c.deaf = on }) },
	} {
		for _, back := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t)
					a := s.leads()
					s.none(5 * time.Second)
					fault(a, true)
					s.none(5 * time.Second)
					if back {
						fault(a, false)
					}
					at := time.Now()
					a.stop()
					s.next(s.ended)
					within(t, 2*time.Second, at)
					if holder := s.lease.holder(); back && holder != "" {
						t.Errorf("%q has the Lease", holder)
					}
				})
			})
		}
	}
}

// A term whose work fails while it cannot be renewed ends, and the next one
// begins when it can.
func TestTermThatFailsWhileItCannotRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		broken := make(chan error)
		a := s.replica("a", func(ctx context.Context, _ *Held) error {
			s.began <- "a"
			defer func() { s.ended <- "a" }()
			select {
			case err := <-broken:
				return err
			case <-ctx.Done():
				return nil
			}
		})
		s.next(s.began)
		a.cut(true)
		s.none(10 * time.Second)
		broken <- errors.New("it does not work")
		s.next(s.ended)
		s.none(10 * time.Second)
		a.cut(false)
		s.next(s.began)
		s.none(10 * time.Second)
	})
}

// While the API server is away, the log says so, and is not full of it.
func TestLogOfAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		c := s.leads()
		c.cut(true)
		s.none(5 * time.Minute)
		c.cut(false)
		s.none(time.Minute)
		c.stop()
		text := c.log.String()
		lines := strings.Count(text, "\n")
		if lines > 60 || !strings.Contains(text, "connection refused") || strings.Count(text, "msg=leading") != 1 {
			t.Errorf("%d lines in 5 minutes:\n%s", lines, text)
		}
	})
}
