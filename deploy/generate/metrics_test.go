package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDeclaredMetrics(t *testing.T) {
	for name, tt := range map[string]struct {
		source string
		want   []string // empty: it is refused
	}{
		"literals": {
			`var a = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "b_total", Help: "Bs."}, []string{"x", "y"})
var b = prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "As."})`,
			[]string{"a gauge [] As.", "b_total counter [x y] Bs."},
		},
		"a function of the value": {
			`var a = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "a", Help: "As."}, func() float64 { return 1 })`,
			[]string{"a gauge [] As."},
		},
		"descriptions": {
			`func describe(name, help string, labels ...string) *prometheus.Desc { return prometheus.NewDesc("p_"+name, help, labels, nil) }
var a, b = describe("up", "Up.", "peer"), describe("flaps_total", "Flaps.")`,
			[]string{"p_flaps_total counter [] Flaps.", "p_up gauge [peer] Up."},
		},
		"a name that is none":         {`var a = prometheus.NewGauge(prometheus.GaugeOpts{Name: n, Help: "As."})`, nil},
		"options that are none":       {`var a = prometheus.NewGauge(options)`, nil},
		"what is not understood":      {`var a = prometheus.NewUntyped(prometheus.UntypedOpts{Name: "a", Help: "As."})`, nil},
		"a description out of itself": {`func d() *prometheus.Desc { return prometheus.NewDesc(n, "help", nil, nil) }`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("package a\n\n"+tt.source+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			found, err := declaredMetrics(dir)
			if (err != nil) != (tt.want == nil) {
				t.Errorf("error %v", err)
			}
			var got []string
			for _, m := range found {
				got = append(got, fmt.Sprint(m.name, " ", m.kind, " ", m.labels, " ", m.help))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("it declares %q; want %q", got, tt.want)
			}
		})
	}
}
