// Command bench measures, in a running lab, the figures of which Porchlight
// says what it reaches. Each row is printed with what it is measured against,
// its spread, and ok or MISS; all rows are written as JSON, with the commit
// and the machine they were measured on.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// row is one figure.
type row struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Samples samples `json:"samples"`
	// Floor is what each sample was measured against in the same run, in
	// seconds; empty where there is no floor.
	Floor samples `json:"floor,omitempty"`
	// Figure is what is compared with the target: a ratio, a worst, a median.
	Figure float64 `json:"figure"`
	// Against is the floor, or the best of the peers, in words.
	Against string  `json:"against"`
	Target  float64 `json:"target"` // at most
	OK      bool    `json:"ok"`
}

type samples []float64

// quantile is the smallest sample that at least a share q of all do not
// exceed.
func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Clone(s)
	slices.Sort(sorted)
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

func newRow(name, unit string, all samples, figure float64, against string, target float64) row {
	return row{Name: name, Unit: unit, Samples: all, Figure: figure, Against: against, Target: target, OK: figure <= target}
}

// suites in the order they run.
var suites = []struct {
	name string
	run  func(context.Context, *cluster.Cluster, settings) ([]row, error)
}{
	{"allocation", allocation},
	{"layer2", layer2},
	{"bgp", bgp},
	{"gateway", gateway},
	{"fleet", fleet},
}

type settings struct {
	bursts  []size
	kills   int   // how often the leading controller is killed
	cuts    int   // how often a gateway is made anew, and a link is cut
	updates int   // how often an endpoint becomes ready
	peers   int   // how often a new BGP peer is told everything
	routes  []int // routes that exist at the end of each probe
}

// size is of a burst: a large one is an average by itself, and takes minutes.
type size struct {
	services int
	pairs    int // how often it is measured, beside its floor
}

func main() {
	suite := flag.String("suite", "", "allocation, layer2, bgp, gateway or fleet; all where empty")
	out := flag.String("out", "dist/bench.json", "file for the figures as JSON")
	full := flag.Bool("full", false, "the sizes of the targets: burst of 1,000 to 10,000, 100 to 3,000 routes")
	flag.Parse()
	set := settings{bursts: []size{{1000, 5}}, kills: 5, cuts: 5, updates: 20, peers: 3, routes: []int{100}}
	if *full {
		set = settings{bursts: []size{{1000, 5}, {3000, 3}, {10000, 1}}, kills: 10, cuts: 20, updates: 100, peers: 10, routes: []int{100, 1000, 3000}}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, *suite, *out, set); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, suite, out string, set settings) error {
	c, err := cluster.Open()
	if err != nil {
		return err
	}
	var rows []row
	known := false
	for _, s := range suites {
		if suite != "" && suite != s.name {
			continue
		}
		known = true
		got, err := s.run(ctx, c, set)
		print(got) // also what was measured before an error
		if err != nil {
			return fmt.Errorf("suite %s: %w", s.name, err)
		}
		rows = append(rows, got...)
	}
	if !known {
		return fmt.Errorf("no suite is called %q", suite)
	}
	return write(out, rows)
}

func print(rows []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tours\ttarget\t\tmin/median/max\tagainst")
	for _, r := range rows {
		verdict := "MISS"
		if r.OK {
			verdict = "ok"
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t≤ %.4g\t%s\t%.4g/%.4g/%.4g of %d\t%s\n", r.Name, r.Figure, r.Unit, r.Target, verdict,
			r.Samples.quantile(0), r.Samples.quantile(0.5), r.Samples.quantile(1), len(r.Samples), r.Against)
	}
	w.Flush()
}

func write(path string, rows []row) error {
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return fmt.Errorf("asking git for the commit: %w", err)
	}
	text, err := json.MarshalIndent(map[string]any{
		"commit":  strings.TrimSpace(string(commit)),
		"machine": fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cmp.Or(kernel(), "unknown kernel")),
		"rows":    rows,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return "Linux " + strings.TrimSpace(string(text))
}
