package election

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the simulation of this seed alone")
	stepsFlag = flag.Int("steps", 400_000, "steps of the simulation, over all seeds")
	traceFlag = flag.Bool("narrate", false, "print what the speakers of the simulation do")
)

// TestSimulation runs clusters under random faults and planned changes, and
// checks the properties of the package, as invariants_test.go states them. A
// violation prints the seed, the command that repeats it alone, and the least
// course of events that was found to show it.
func TestSimulation(t *testing.T) {
	if *seedFlag != 0 {
		r := newRun(*seedFlag)
		if *traceFlag {
			r.c.trace = func(format string, args ...any) {
				t.Logf("%10.4fs "+format, append([]any{r.c.now.Seconds()}, args...)...)
			}
		}
		if r.play(course(r.seed, r.rounds, r.nodes)); r.c.failure != "" {
			t.Fatal(r.c.failure)
		}
		return
	}
	done := 0
	for seed := uint64(1); done < *stepsFlag; seed++ {
		r := newRun(seed)
		whole := course(seed, r.rounds, r.nodes)
		r.play(whole)
		done += r.c.steps
		if r.c.failure != "" {
			t.Fatalf("%s\nrepeat with: go test ./speaker/election -run TestSimulation -seed=%d -narrate\n%s",
				r.c.failure, seed, shrink(seed, whole, r.c.failure))
		}
	}
	t.Logf("%d steps", done)
}

// run is a simulation of a seed.
type run struct {
	seed          uint64
	nodes, rounds int
	c             *cluster
}

// newRun sets up the cluster of a seed: most are small, for many rounds.
func newRun(seed uint64) *run {
	size := sizeOf(seed)
	c := newCluster(seed, size.nodes)
	c.loss, c.dup, c.delay, c.late = 0.1*c.rng.Float64(), 0.1*c.rng.Float64(), c.random(100*time.Millisecond), 0.01*c.rng.Float64()
	if seed%4 == 1 {
		c.lanLoss = 0.2 * c.rng.Float64()
	}
	if seed%3 == 0 {
		// Every second node is on two segments.
		for i, h := range c.nodes {
			if i%2 == 0 {
				h.nics = append(h.nics, Interface{Name: "eth1", MAC: MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}, Prefixes: []netip.Prefix{elsewhere}})
				c.sense(h)
			}
		}
	}
	every := c.everyNode()
	for i := range size.addresses {
		ip := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if seed%3 == 0 && i%4 == 0 {
			ip = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		}
		c.give(Address{IP: ip, Advertisements: []*Advertisement{every}})
	}
	return &run{seed, size.nodes, size.rounds, c}
}

type size struct{ nodes, addresses, rounds int }

// sizeOf is from 2 nodes with an address to 200 with 5,000. The first 12 seeds
// are what an ordinary test has time for; the largest cluster is that of 25.
func sizeOf(seed uint64) size {
	rng := rand.New(rand.NewPCG(seed, 4))
	switch {
	case seed%200 == 25:
		return size{200, 5000, 0}
	case seed%40 == 15:
		return size{150 + rng.IntN(51), 1 + rng.IntN(400), 0}
	case seed%40 == 5:
		return size{3 + rng.IntN(8), 4000 + rng.IntN(1001), 0}
	case seed%10 == 0:
		return size{10 + rng.IntN(51), 1 + rng.IntN(500), 1}
	}
	return size{2 + rng.IntN(11), 1 + rng.IntN(50), 4 + rng.IntN(3)}
}

var elsewhere = netip.MustParsePrefix("10.1.0.0/16")

func (r *run) play(what []action) {
	for _, a := range what {
		if r.c.failure == "" {
			r.c.do(a)
		}
	}
}

var anIP = regexp.MustCompile(`10\.[0-9]+\.[0-9]+\.[0-9]+`)

// shrink leaves out of a course what is not needed for a violation of the same
// property, and tells what happened at its end.
func shrink(seed uint64, what []action, failure string) string {
	property := func(s string) string {
		_, s, _ = strings.Cut(s, "property ")
		return s[:min(1, len(s))]
	}
	fails := func(what []action) *run {
		r := newRun(seed)
		if r.play(what); r.c.failure != "" && property(r.c.failure) == property(failure) {
			return r
		}
		return nil
	}
	tries := 300
	for size := len(what) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(what) && tries > 0; {
			tries--
			less := slices.Delete(slices.Clone(what), i, i+size)
			if fails(less) != nil {
				what = less
			} else {
				i += size
			}
		}
	}
	r := newRun(seed)
	var lines []string
	r.c.trace = func(format string, args ...any) {
		lines = append(lines, fmt.Sprintf("  %9.4fs ", r.c.now.Seconds())+fmt.Sprintf(format, args...))
	}
	r.play(what)
	// Lines of other addresses than the one that failed are left out.
	if ip := anIP.FindString(r.c.failure); ip != "" {
		lines = slices.DeleteFunc(lines, func(line string) bool {
			of := anIP.FindString(line)
			return of != "" && of != ip
		})
	}
	return fmt.Sprintf("with less it is: %s\nwhich ends:\n%s\n%s", what, strings.Join(lines[max(0, len(lines)-60):], "\n"), r.c.failure)
}

// TestDeterminism runs one seed twice.
func TestDeterminism(t *testing.T) {
	play := func() []string {
		r := newRun(7)
		var lines []string
		r.c.trace = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
		r.play(course(7, 2, r.nodes))
		return lines
	}
	if one, two := play(), play(); !slices.Equal(one, two) {
		t.Fatal("the same seed gave another course")
	}
}
