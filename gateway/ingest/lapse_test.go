package ingest

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// Whatever units come, move and go, what is first and what is due is what going
// through all of them finds.
func TestLapsesAreThoseOfAScan(t *testing.T) {
	units := []unit{{kind: policiesUnit}}
	for i := range 20 {
		units = append(units, unit{kind: gatewayUnit, name: types.NamespacedName{Namespace: "infra", Name: fmt.Sprint(i)}})
	}
	rapid.Check(t, func(t *rapid.T) {
		l, all := lapses{at: map[unit]int{}}, map[unit]time.Time{}
		for range rapid.IntRange(1, 200).Draw(t, "changes") {
			u := rapid.SampledFrom(units).Draw(t, "unit")
			var at time.Time
			if s := rapid.Int64Range(0, 12).Draw(t, "time"); s > 0 {
				at = time.Unix(s, 0)
			}
			l.set(u, at)
			put(all, u, at, !at.IsZero())

			now := time.Unix(rapid.Int64Range(0, 13).Draw(t, "now"), 0)
			var first time.Time
			due := map[unit]int{}
			for u, at := range all {
				if first.IsZero() || at.Before(first) {
					first = at
				}
				if !now.Before(at) {
					due[u]++
				}
			}
			if got := l.first(); !got.Equal(first) {
				t.Fatalf("the first lapse is at %v, want %v", got, first)
			}
			got := map[unit]int{}
			l.due(now, func(u unit) { got[u]++ })
			if !maps.Equal(got, due) {
				t.Fatalf("due at %v are %v, want %v", now, got, due)
			}
			if know := slices.Collect(maps.Keys(l.at)); len(know) != len(all) {
				t.Fatalf("it knows %d units, want %d", len(know), len(all))
			}
		}
	})
}
