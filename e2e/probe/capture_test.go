package probe

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestContests(t *testing.T) {
	ip := netip.MustParseAddr("172.30.0.200")
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*int64(time.Millisecond)) }
	for name, c := range map[string]struct {
		said []string // by whom, every 100 ms
		want Contest
	}{
		"one":                  {[]string{"a", "a"}, Contest{IP: ip, Final: "a"}},
		"a clean move":         {[]string{"a", "a", "b"}, Contest{IP: ip, Final: "b", Others: []string{"a"}}},
		"the first yields":     {[]string{"a", "b", "a", "a", "b"}, Contest{IP: ip, Final: "b", Others: []string{"a"}, Lasted: 200 * time.Millisecond}},
		"the first stays":      {[]string{"a", "b", "a", "b", "a"}, Contest{IP: ip, Final: "a", Others: []string{"b"}, Lasted: 200 * time.Millisecond}},
		"a third ends it late": {[]string{"a", "b", "c", "a", "b", "c"}, Contest{IP: ip, Final: "c", Others: []string{"a", "b"}, Lasted: 300 * time.Millisecond}},
	} {
		var frames []Frame
		for i, from := range c.said {
			frames = append(frames,
				Frame{At: at(100 * i), Kind: Question, IP: ip, From: "q"},
				Frame{At: at(100 * i), Kind: Answer, IP: ip, From: from})
		}
		got := Contests(frames)
		if len(got) != 1 || got[0].IP != ip || got[0].Final != c.want.Final || got[0].Lasted != c.want.Lasted || !slices.Equal(got[0].Others, c.want.Others) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}
