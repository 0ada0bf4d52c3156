// Package mailbox hands values from one goroutine to another where only the
// newest matters.
package mailbox

import "sync"

// Box holds the newest value. It is safe for concurrent use.
type Box[T any] struct {
	mu    sync.Mutex
	value T
	full  bool
	wake  chan struct{}
}

// New returns an empty box.
func New[T any]() *Box[T] { return &Box[T]{wake: make(chan struct{}, 1)} }

// Put replaces what is in the box.
func (b *Box[T]) Put(v T) {
	b.mu.Lock()
	b.value, b.full = v, true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Wake receives after a Put.
func (b *Box[T]) Wake() <-chan struct{} { return b.wake }

// Peek returns the newest value, and whether there ever was one.
func (b *Box[T]) Peek() (T, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.value, b.full
}
