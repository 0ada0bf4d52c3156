package logs

import (
	"log/slog"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{
			`2026-01-02T03:04:05.678901234Z {"time":"2026-01-02T03:04:05Z","level":"INFO","msg":"took an address","program":"speaker","address":"172.30.0.200","from":"","cause":"owner died","count":3}`,
			"03:04:05.678 INFO  speaker/node1 took an address address=172.30.0.200 from=\"\" cause=\"owner died\" count=3\n",
		},
		{`{"level":"WARN","msg":"no key"}`, "WARN  speaker/node1 no key\n"},
		{"2026-01-02T03:04:05Z panic: out of luck", "03:04:05.000 -     speaker/node1 panic: out of luck\n"},
		{"2026-01-02T03:04:05Z {\"half\":", "03:04:05.000 -     speaker/node1 {\"half\":\n"},
		{`{"level":"LOUD","msg":"m","o":{"b":1,"a":[2]}}`, "INFO  speaker/node1 m o=\"{\\\"b\\\":1,\\\"a\\\":[2]}\"\n"},
	} {
		if got := Parse("speaker/node1", c.raw+"\n").Format(false); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.raw, got, c.want)
		}
	}
}

func TestMerge(t *testing.T) {
	a := []Line{Parse("a", "2026-01-01T00:00:01Z one"), Parse("a", "2026-01-01T00:00:03Z three"), Parse("a", "2026-01-01T00:00:03Z four")}
	b := []Line{Parse("b", "2026-01-01T00:00:02Z two"), Parse("b", "2026-01-01T00:00:03Z five")}
	var texts []string
	for _, l := range Merge(a, b) {
		texts = append(texts, l.Text)
	}
	if got := strings.Join(texts, " "); got != "one two three four five" {
		t.Errorf("merged: %s", got)
	}
}

func TestLevel(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"level":"INFO","msg":"m"}`: false, `{"level":"WARN","msg":"m"}`: true, `{"level":"ERROR","msg":"m"}`: true, "goroutine 1 [running]:": true,
	} {
		if got := Parse("a", raw).AtLeast(slog.LevelWarn); got != want {
			t.Errorf("%s is shown: %t", raw, got)
		}
	}
}
