package allocator

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/address"
	"golang.org/x/sys/unix"
)

// fullness is in tenths of a percent.
var fullness = []int{10, 250, 500, 900, 999}

// BenchmarkSpace takes the next address of a space of 2^24. Every so often,
// outside of the measured time, what it took is put back. What is taken before is
// spread at random, so that the free part is in as many fragments as it can be.
// The metric cpu-ns/op leaves out the time that the machine gave to others.
func BenchmarkSpace(b *testing.B) {
	for _, full := range fullness {
		b.Run(fmt.Sprintf("full=%.1f%%", float64(full)/10), func(b *testing.B) {
			r, _ := address.ParseBlock("10.0.0.0/8")
			s := newSpace(nil, false)
			s.total = size(r, false)
			random := rand.New(rand.NewPCG(1, uint64(full)))
			run := address.Range{} // free addresses beside one another are one range
			for a := r.From; !r.To.Less(a); a = a.Next() {
				if random.IntN(1000) < full {
					if run.From.IsValid() {
						s.addFresh(run)
					}
					run = address.Range{}
				} else if run.To = a; !run.From.IsValid() {
					run.From = a
				}
			}
			if run.From.IsValid() {
				s.addFresh(run)
			}
			b.ReportMetric(float64(s.fresh.Len()), "fragments")
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var taken []netip.Addr
			used, since := time.Duration(0), processorTime(b)
			b.ResetTimer()
			for b.Loop() {
				a, ok := s.next()
				if !ok || !s.take(a) {
					b.Fatal("the space ran empty")
				}
				if taken = append(taken, a); len(taken) == 10_000 {
					b.StopTimer()
					used += processorTime(b) - since
					for _, a := range taken {
						s.put(a)
					}
					taken = taken[:0]
					since = processorTime(b)
					b.StartTimer()
				}
			}
			used += processorTime(b) - since
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what the thread has used.
func processorTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkService creates a Service that gets an address, asks for the
// decision and deletes it again, in a pool of 2^24 with as many Services in
// place. The time is for both events.
func BenchmarkService(b *testing.B) {
	for _, n := range []int{0, 1_000, 100_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			a := New()
			a.SetPool(Pool{Name: "p", Addresses: []string{"10.0.0.0/8"}, AutoAssign: true})
			spec := func(i int) Service {
				return Service{
					Key: Key{"default", fmt.Sprintf("web-%d", i)}, Created: time.Unix(int64(i), 0),
					Families: []Family{IPv4}, Ports: []Port{{"TCP", 80}},
				}
			}
			all := make([]Service, n)
			for i := range all {
				all[i] = spec(i)
				all[i].Recorded = []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)})}
			}
			a.Adopt(all)
			a.Changes()
			s := spec(n)
			b.ReportAllocs()
			for b.Loop() {
				a.SetService(s)
				if d := a.Changes(); len(d) != 1 || len(d[0].Addresses) != 1 {
					b.Fatal(d)
				}
				a.DeleteService(s.Key)
			}
		})
	}
}
