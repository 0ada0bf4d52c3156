package gossip

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	at := func(after time.Duration) time.Time { return time.Unix(1000, 0).Add(after) }
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		late map[time.Duration]time.Duration // by when
		told byte
		died time.Duration
		want time.Duration
	}{
		{"at rest", map[time.Duration]time.Duration{0: tolerable}, 0, 0, 0},
		{"short of processor time", map[time.Duration]time.Duration{0: 300 * ms}, 0, 2 * time.Second, 1200 * ms},
		{"very short of it", map[time.Duration]time.Duration{0: time.Minute}, 0, time.Second, mostPatience},
		{"at rest again", map[time.Duration]time.Duration{0: 300 * ms, 6 * time.Second: 0}, 0, 7 * time.Second, 0},
		{"nothing measured since", map[time.Duration]time.Duration{0: 300 * ms}, 0, 6 * time.Second, 0},
		{"the other is short of it", nil, 20, 0, 800 * ms},
		{"the other is shorter of it", map[time.Duration]time.Duration{0: 110 * ms}, 20, 0, 800 * ms},
	} {
		var p patience
		for _, when := range []time.Duration{0, 6 * time.Second} {
			if late, ok := tt.late[when]; ok {
				p.ran(late, at(when))
			}
		}
		if got := p.wait(tt.told, at(tt.died)); got != tt.want {
			t.Errorf("%s: waits %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The others hear when it begins, when it gets much worse, and when it ends.
func TestPatienceIsTold(t *testing.T) {
	var p patience
	start := time.Unix(1000, 0)
	for _, step := range []struct {
		after, late time.Duration
		want        byte
		news        bool
	}{
		{0, 0, 0, false},
		{time.Second, 200 * time.Millisecond, 20, true},
		{2 * time.Second, 300 * time.Millisecond, 20, false},
		{3 * time.Second, 400 * time.Millisecond, 40, true},
		{4 * time.Second, 0, 40, false},
		{9 * time.Second, 0, 0, true},
		{10 * time.Second, time.Minute, 255, true},
		{11 * time.Second, 2 * time.Minute, 255, false},
	} {
		now := start.Add(step.after)
		p.ran(step.late, now)
		if b, news := p.tell(now); b != step.want || news != step.news {
			t.Errorf("after %v: told %d, news %v, want %d, %v", step.after, b, news, step.want, step.news)
		}
	}
}
