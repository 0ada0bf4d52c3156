package probe

import "testing"

func TestSum(t *testing.T) {
	const text = `# HELP a_total Things.
# TYPE a_total counter
a_total{by="x",why="p"} 1
a_total{by="x",why="q"} 2.5e+01
a_total{by="y",why="p"} 4
a_total_more 8
b 16
`
	for series, want := range map[string]float64{"a_total": 30, `a_total{by="x"`: 26, `a_total{by="y",why="p"}`: 4, "b": 16} {
		if got, err := sum(text, series); err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", series, got, err, want)
		}
	}
	if got, err := sum(text, "a"); err == nil {
		t.Errorf("a: got %v, want an error", got)
	}
}
