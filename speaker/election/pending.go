package election

import (
	"container/heap"
	"maps"
	"slices"
	"time"
)

// This file is which addresses are to be looked at, and when. An event touches
// few: those that it is about, those that a node holds that it is about, and
// those that waited for the time. The open ones, which nobody holds who may,
// are looked at again at the next tick after any node changed, so that many
// changes at a time, as at the start of a cluster, are one.

// inOrder are the addresses, in order.
func (e *Election) inOrder() []*address {
	if e.sorted == nil {
		e.sorted = slices.SortedFunc(maps.Values(e.addresses), byIP)
	}
	return e.sorted
}

func (e *Election) touch(a *address) {
	if !a.dirty {
		a.dirty = true
		e.dirty = append(e.dirty, a)
	}
}

// settle evaluates what the event touched, until nothing is left to do.
func (e *Election) settle() {
	if !e.joined {
		return
	}
	if e.dirtyAll {
		e.dirtyAll = false
		for _, a := range e.inOrder() {
			e.touch(a)
		}
	}
	for len(e.dirty) > 0 {
		batch := e.dirty
		e.dirty = e.spare[:0]
		slices.SortFunc(batch, byIP)
		for _, a := range batch {
			if a.dirty = false; e.addresses[a.IP] == a {
				e.evaluate(a)
			}
		}
		e.spare = batch
	}
}

// wake has the address looked at again at a time, or sooner.
func (e *Election) wake(a *address, at time.Duration) {
	switch {
	case a.slot == 0:
		a.at = at
		heap.Push(&e.timed, a)
	case at < a.at:
		a.at = at
		heap.Fix(&e.timed, a.slot-1)
	}
}

func (e *Election) unwake(a *address) {
	if a.slot > 0 {
		heap.Remove(&e.timed, a.slot-1)
	}
}

// due touches what waited for the time that it is now.
func (e *Election) due() {
	for len(e.timed) > 0 && e.timed[0].at <= e.now {
		a := e.timed[0]
		e.unwake(a)
		e.touch(a)
	}
	if e.review {
		e.review = false
		for a := range e.open {
			e.touch(a)
		}
	}
}

// timers are the addresses that wait for a time, as a heap, the next first.
type timers []*address

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at < t[j].at }
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].slot, t[j].slot = i+1, j+1
}

func (t *timers) Push(x any) {
	a := x.(*address)
	*t = append(*t, a)
	a.slot = len(*t)
}

func (t *timers) Pop() any {
	last := len(*t) - 1
	a := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	a.slot = 0
	return a
}
