package gossip

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/porchlight-lb/porchlight/speaker/election"
)

// A death is told when the doubt about it is over: at once where nobody is
// late, and never where the member is back before.
func TestDeathsAreToldInTime(t *testing.T) {
	up, down := election.MemberUp{Node: "n2"}, election.MemberDown{Node: "n2"}
	for _, tt := range []struct {
		name string
		meta []byte        // lateness that n2 told
		ago  time.Duration // it answered a probe; 0: never
		back time.Duration // 0: never
		told time.Duration // after the death
		want []election.Event
	}{
		{"nobody is late", nil, 0, 0, 0, []election.Event{up, down}},
		{"it was late", []byte{20}, 0, 0, 800 * time.Millisecond, []election.Event{up, down}},
		{"it was late, and is back", []byte{20}, 0, 700 * time.Millisecond, 0, []election.Event{up}},
		{"it was late, and is back too late", []byte{20}, 0, 900 * time.Millisecond, 800 * time.Millisecond, []election.Event{up, down, up}},
		{"it answers no probe any more", nil, 500 * time.Millisecond, 0, 0, []election.Event{up, down}},
		{"it has just answered, and objects", nil, 200 * time.Millisecond, 300 * time.Millisecond, 0, []election.Event{up}},
		{"it has just answered, and dies", nil, 200 * time.Millisecond, 0, hearsay, []election.Event{up, down}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []election.Event
				var at time.Time
				g := &Gossip{live: map[string]*memberlist.Node{}, doubted: map[string]*time.Timer{}, answered: map[string]time.Time{}, cfg: Config{
					Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
					Post: func(ev election.Event) {
						if told = append(told, ev); ev == down {
							at = time.Now()
						}
					},
				}}
				n2 := &memberlist.Node{Name: "n2", Meta: tt.meta}
				e := (*events)(g)
				e.NotifyJoin(n2)
				if tt.ago > 0 {
					(*pings)(g).NotifyPingComplete(n2, time.Millisecond, nil)
					time.Sleep(tt.ago)
				}
				died := time.Now()
				e.NotifyLeave(n2)
				if tt.back > 0 {
					time.Sleep(tt.back)
					e.NotifyJoin(n2)
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if !slices.Equal(told, tt.want) {
					t.Errorf("told %v, want %v", told, tt.want)
				}
				if after := at.Sub(died); slices.Contains(told, election.Event(down)) && after != tt.told {
					t.Errorf("the death is told after %v, want %v", after, tt.told)
				}
			})
		})
	}
}
