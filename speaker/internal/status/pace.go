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
	// A burst is many changes of Services in a second. It is over when there were
	// less for so long; and nothing changes any more when there was none.
	many  = 20
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
	recent  [many]time.Time // the last changes of any Service, from next on
	next    int
	burst   time.Time // the last change of the last burst
	changed time.Time // the last change
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
	if now.Sub(p.recent[p.next]) < time.Second {
		p.burst = now
	}
	p.recent[p.next], p.changed = now, now
	p.next = (p.next + 1) % many
}

// busy says whether Services change.
func (p *pace) busy(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.changed.Add(quiet))
}

// wait returns when one more object may be written.
func (p *pace) wait(ctx context.Context) error {
	if p.busy(time.Now()) {
		return p.slow.Wait(ctx)
	}
	return p.writes.Wait(ctx)
}

// refusalDue says when to say that nobody announces what nobody has announced
// since then.
func (p *pace) refusalDue(since time.Time) time.Time {
	due := since.Add(settle)
	p.mu.Lock()
	q := p.burst.Add(quiet)
	p.mu.Unlock()
	if q.After(due) {
		due = q
	}
	if latest := since.Add(patience); due.After(latest) {
		due = latest
	}
	return due
}
