package assign

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A leader that may no longer be one writes nothing: what it decides from what
// it was late to hear would undo what its successor decided. What is due waits
// for the end of the doubt, is made then without a pause, and nothing is said
// of it. Metrics are for the one who leads.
func TestNothingIsWrittenInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		held, term := newLease(false), a.term()
		var log bytes.Buffer
		term.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		defer a.leadWith(term, held)()
		a.create(0, 100)
		time.Sleep(time.Minute)
		if len(a.tries)+len(a.pools)+len(a.events) > 0 {
			t.Errorf("written in doubt: %v, %v, %v", a.tries, a.pools, a.events)
		}
		check(t, "porchlight_controller_leading", []string{"0"})
		check(t, "porchlight_write_queue_depth", nil)
		check(t, "porchlight_pool_assigned_addresses", nil)
		over := time.Now()
		held.set(true)
		synctest.Wait()
		a.addresses()
		if took := time.Since(over); took > 0 || len(a.tries) != 100 || len(a.pools["p"]) != 1 {
			t.Errorf("after %v there were writes for %d Services, and %d of the pool", took, len(a.tries), len(a.pools["p"]))
		}
		check(t, "porchlight_controller_leading", []string{"1"})
		check(t, "porchlight_write_queue_depth", []string{"0"})
		time.Sleep(5 * time.Minute)
		for name, tries := range a.tries {
			if tries != 1 {
				t.Errorf("%s: %d patches", name, tries)
			}
		}
		slices.Sort(a.events)
		if len(a.events) != 100 || len(slices.Compact(a.events)) != 100 {
			t.Errorf("%d events: %v", len(a.events), a.events)
		}
		if log.Len() > 0 {
			t.Errorf("the log says\n%s", log.String())
		}
	})
}

// What waited is written in the order in which it was decided, as far as many
// writers may; and as it is wished by then: once where the wish changed, and
// not at all for what is gone.
func TestWritesThatWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		var mu sync.Mutex
		var order []string
		a.before = func(name string) error {
			mu.Lock()
			order = append(order, name)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			return nil
		}
		held := newLease(true)
		defer a.leadWith(a.term(), held)()
		time.Sleep(time.Minute)
		held.set(false)
		a.create(0, 300)
		time.Sleep(time.Minute)
		a.delete("services", "s123")
		a.put("ipaddresspools", somePool("10.0.7.0/24", "10.0.8.0/24"))
		time.Sleep(time.Minute)
		held.set(true)
		time.Sleep(time.Minute)
		if len(order) != 299 {
			t.Errorf("%d writes", len(order))
		}
		for i, name := range order {
			var n int
			if _, err := fmt.Sscanf(name, "s%d", &n); err != nil {
				t.Fatal(err)
			}
			if n > 123 {
				n--
			}
			if n < i-concurrentWrites || n > i+concurrentWrites {
				t.Errorf("%s was the write number %d", name, i)
			}
		}
		if of := a.addresses(); of["s000"] != "10.0.7.0" {
			t.Errorf("%v", of)
		}
		if n := len(a.pools["p"]); n != 2 {
			t.Errorf("%d writes of the pool", n)
		}
	})
}

// A Lease that is in doubt again and again in a burst loses nothing, and makes
// nothing twice.
func TestLeaseInDoubtNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		a.before = func(string) error { time.Sleep(30 * time.Millisecond); return nil }
		held := newLease(true)
		defer a.leadWith(a.term(), held)()
		for i := range 20 {
			a.create(i*20, (i+1)*20)
			time.Sleep(17 * time.Millisecond)
			held.set(i%2 == 1)
		}
		time.Sleep(time.Minute)
		if n := len(a.addresses()); n != 400 {
			t.Errorf("%d Services", n)
		}
		for name, tries := range a.tries {
			if tries != 1 {
				t.Errorf("%s: %d patches", name, tries)
			}
		}
	})
}

// A term ends while everything that it has to do waits.
func TestTermEndsInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		held := newLease(true)
		stop := a.leadWith(a.term(), held)
		a.create(0, 10)
		time.Sleep(15 * time.Millisecond)
		held.set(false)
		a.create(10, 200)
		time.Sleep(time.Minute)
		at := time.Now()
		stop()
		if took := time.Since(at); took > 0 || len(a.tries) != 10 {
			t.Errorf("it took %v, and %d Services were written", took, len(a.tries))
		}
	})
}

// What was created while an API server was away is served soon after.
func TestWatchesComeBackSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		defer a.lead()()
		a.create(0, 10)
		time.Sleep(time.Minute)
		for away := time.Second; away < time.Hour; away *= 3 {
			a.goAway(true)
			time.Sleep(away)
			from := len(a.objects["services"])
			a.create(from, from+1)
			a.goAway(false)
			time.Sleep(longestBlind * 3 / 2)
			synctest.Wait()
			if n := len(a.addresses()); n != from+1 {
				t.Errorf("after %v away, %d Services of %d are served", away, n, from+1)
			}
		}
	})
}
