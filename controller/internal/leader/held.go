package leader

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Held is what a term knows of its Lease: whether it may write. Its methods are
// for any goroutine.
type Held struct {
	mu      sync.Mutex
	renewed time.Time     // when the last renewal was sent; zero where there is none that counts
	next    chan struct{} // closed by the next renewal
}

func newHeld() *Held { return &Held{next: make(chan struct{})} }

// Holds says whether the Lease is held beyond doubt: nobody else may have taken
// it, even where this process was stopped, or frozen, or cut off since it was
// last renewed.
func (h *Held) Holds() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.holds()
}

func (h *Held) holds() bool {
	// A machine that is suspended may stop its monotonic clock, and an
	// administrator may set the other one back.
	now := time.Now()
	return !h.renewed.IsZero() && now.Sub(h.renewed) < actLimit && now.Round(0).Sub(h.renewed.Round(0)) < actLimit
}

// Await returns once the Lease is held, or with an error when ctx ends.
func (h *Held) Await(ctx context.Context) error {
	for {
		h.mu.Lock()
		holds, next := h.holds(), h.next
		h.mu.Unlock()
		if holds {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("waiting for lease %s: %w", Lease, ctx.Err())
		}
	}
}

// renew books a renewal that was acknowledged, by when it was sent: others count
// from in between.
func (h *Held) renew(sent time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = sent
	close(h.next)
	h.next = make(chan struct{})
}

// lapse makes it held no more, until it is renewed.
func (h *Held) lapse() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = time.Time{}
}
