package ingest

import (
	"container/heap"
	"time"
)

// lapses is when what was decided of units holds no more, by itself: a heap by
// time that knows where each unit stands, so that a change costs what it takes
// to move one unit.
type lapses struct {
	heap []lapse
	at   map[unit]int
}

type lapse struct {
	unit unit
	time time.Time
}

// set has a unit lapse at a time in place of the one before; zero: never.
func (l *lapses) set(u unit, t time.Time) {
	i, known := l.at[u]
	switch {
	case t.IsZero() && known:
		heap.Remove(l, i)
	case t.IsZero():
	case known:
		l.heap[i].time = t
		heap.Fix(l, i)
	default:
		heap.Push(l, lapse{u, t})
	}
}

// first returns the time of the first lapse; zero: there is none.
func (l *lapses) first() time.Time {
	if len(l.heap) == 0 {
		return time.Time{}
	}
	return l.heap[0].time
}

// due calls f for each unit whose time has come. They stay until they are set
// again.
func (l *lapses) due(now time.Time, f func(unit)) { l.dueFrom(0, now, f) }

// dueFrom does so for the unit at i and those below it, none of which lapses
// before it.
func (l *lapses) dueFrom(i int, now time.Time, f func(unit)) {
	if i >= len(l.heap) || now.Before(l.heap[i].time) {
		return
	}
	f(l.heap[i].unit)
	l.dueFrom(2*i+1, now, f)
	l.dueFrom(2*i+2, now, f)
}

// The methods of heap.Interface.

// Len is how many units lapse.
func (l *lapses) Len() int { return len(l.heap) }

// Less says whether the unit at i lapses before the one at j.
func (l *lapses) Less(i, j int) bool { return l.heap[i].time.Before(l.heap[j].time) }

// Swap has two units change places.
func (l *lapses) Swap(i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	l.at[l.heap[i].unit], l.at[l.heap[j].unit] = i, j
}

// Push takes a unit at the end.
func (l *lapses) Push(x any) {
	u := x.(lapse)
	l.at[u.unit] = len(l.heap)
	l.heap = append(l.heap, u)
}

// Pop takes the unit at the end off.
func (l *lapses) Pop() any {
	end := len(l.heap) - 1
	u := l.heap[end]
	l.heap[end] = lapse{}
	l.heap = l.heap[:end]
	delete(l.at, u.unit)
	return u
}
