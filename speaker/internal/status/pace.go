package status

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/flowcontrol"
)

const (
	// A mass take-over must not take the processor from the gossip that keeps
	// the members alive: so many objects are written, and so many events made,
	// a second.
	writesPerSecond, writesAtOnce = 100, 200
	eventsPerSecond, eventsAtOnce = 10, 50
	// While Services come or change, what is said of them must not take the API
	// server from who gives them addresses. How fast they come says nothing: the
	// busier the server, the slower.
	busyWritesPerSecond, busyWritesAtOnce = 5, 30
	// quiet is how long no Service may have come or changed for that to be over.
	quiet = time.Second
	// That nobody announces an address is said settle after it is so, because
	// most often somebody does moments later; and then not before quiet, but
	// patience after it is so at the latest.
	settle   = 2 * time.Second
	patience = 30 * time.Second
)

// pace says when to write.
type pace struct {
	writes, slow, events flowcontrol.RateLimiter

	mu      sync.Mutex
	changed time.Time // the last change of any Service
}

func newPace() *pace {
	return &pace{
		writes: flowcontrol.NewTokenBucketRateLimiter(writesPerSecond, writesAtOnce),
		slow:   flowcontrol.NewTokenBucketRateLimiter(busyWritesPerSecond, busyWritesAtOnce),
		events: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventsAtOnce),
	}
}

// note says that a Service came, changed or went.
func (p *pace) note(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = now
}

// quietAt is when Services will not have changed for long enough.
func (p *pace) quietAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed.Add(quiet)
}

// wait returns when one more object may be written.
func (p *pace) wait(ctx context.Context) error {
	if time.Now().Before(p.quietAt()) {
		return p.slow.Wait(ctx)
	}
	return p.writes.Wait(ctx)
}

// refusalDue says when to say that nobody announces what nobody has announced
// since then.
func (p *pace) refusalDue(since time.Time) time.Time {
	due := since.Add(settle)
	if q := p.quietAt(); q.After(due) {
		due = q
	}
	if latest := since.Add(patience); due.After(latest) {
		due = latest
	}
	return due
}
