package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// translation runs the benchmarks of translation in the core.
func translation(ctx context.Context, c *cluster.Cluster, _ settings) ([]row, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-count", "5", "./gateway/ingest")
	cmd.Dir = c.Lab.Source
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the benchmarks of translation: %w\n%s", err, out)
	}
	ms := map[string]samples{}
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		i := slices.Index(words, "ns/op")
		if i < 1 {
			continue
		}
		ns, err := strconv.ParseFloat(words[i-1], 64)
		if err != nil {
			return nil, fmt.Errorf("the benchmarks of translation say %q: %w", line, err)
		}
		name, _, _ := strings.Cut(words[0], "-")
		ms[name] = append(ms[name], ns/1e6)
	}
	one, ingest, xds := ms["BenchmarkOneRouteOf5000"], ms["BenchmarkTranslate5000Routes/ingest"], ms["BenchmarkTranslate5000Routes/xds"]
	if len(one) == 0 || len(ingest) == 0 || len(ingest) != len(xds) {
		return nil, fmt.Errorf("the benchmarks of translation say:\n%s", out)
	}
	var full samples
	for i := range ingest {
		full = append(full, ingest[i]+xds[i])
	}
	return []row{
		newRow("one route changes among 5,000: translation in the core", "ms, median", one, one.quantile(0.5), "a full recompute: 385 ms (Envoy Gateway, published)", 1),
		newRow("5,000 routes: full translation in the core", "ms, median", full, full.quantile(0.5), "385 ms (Envoy Gateway, published)", 300),
	}, nil
}

// conformance reads what the last run of the conformance suite in this
// checkout left.
func conformance(_ context.Context, c *cluster.Cluster, _ settings) ([]row, error) {
	path := filepath.Join(c.Lab.Source, "dist", "results", "conformance.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("  conformance: not run in this checkout; `make e2e SUITE=conformance` does")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("results of the conformance suite: %w", err)
	}
	var elapsed, passed, failed float64
	for line := range bytes.Lines(text) {
		var e struct {
			Action, Test string
			Elapsed      float64
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		switch {
		case e.Test == "" && (e.Action == "pass" || e.Action == "fail"):
			elapsed = e.Elapsed
		case e.Action == "pass":
			passed++
		case e.Action == "fail":
			failed++
		}
	}
	peer := "Envoy Gateway 1.9: 622 s, 127 passed, 25 skipped, 1 failed"
	return []row{
		newRow("conformance, five profiles, core and extended: wall time", "s", samples{elapsed}, elapsed, peer, 300),
		newRow("conformance: tests that failed", fmt.Sprintf("beside %.0f passed", passed), samples{failed}, failed, peer, 0),
	}, nil
}
