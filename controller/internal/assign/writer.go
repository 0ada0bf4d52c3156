package assign

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/controller/allocator"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
)

// Writes that fail are repeated after a pause that doubles from shortestPause
// to longestPause, each pause at random between half of that and all of it.
// The most frequent failure is a conflict, which is over once the watch has
// brought the version that it is about: some milliseconds.
const (
	shortestPause = 10 * time.Millisecond
	longestPause  = 10 * time.Second
)

// concurrentWrites is enough to keep an API server busy, and few enough to
// leave it room for others.
const concurrentWrites = 32

// quiet is how long there must have been no write for a burst to be over, also
// where the API server is so busy that writes take long.
const quiet = 2 * time.Second

// job is a wish to be fulfilled.
type job struct {
	wish  wish
	seen  seen
	since time.Time // when it was wished
}

// writer fulfils wishes, several at a time, one at a time for each Service.
type writer struct {
	// write sends a job; it returns the version that the Service then has.
	write func(context.Context, allocator.Key, job) (string, error)
	// await returns once there may be writes, or with an error when ctx ends.
	await func(context.Context) error
	// done is told of every job that was fulfilled.
	done func(job)
	log  *slog.Logger

	queue workqueue.TypedRateLimitingInterface[allocator.Key]
	mu    sync.Mutex
	jobs  map[allocator.Key]job
	began time.Time // the last write
}

func newWriter(log *slog.Logger) *writer {
	return &writer{
		log:   log,
		queue: workqueue.NewTypedRateLimitingQueue(&pauses{failures: map[allocator.Key]int{}, random: rand.Float64}),
		jobs:  map[allocator.Key]job{},
	}
}

// want has the job done, instead of what was wanted for the Service before.
func (w *writer) want(k allocator.Key, j job) {
	w.mu.Lock()
	old, waiting := w.jobs[k]
	if waiting && old.wish.equal(j.wish) {
		j.since = old.since
	}
	w.jobs[k] = j
	w.measure()
	w.mu.Unlock()
	if !waiting || old.seen.version != j.seen.version {
		w.queue.Add(k)
	}
}

// busy says whether a write began not long ago.
func (w *writer) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.began) < quiet
}

// forget drops what is wanted for the Service.
func (w *writer) forget(k allocator.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.jobs, k)
	w.measure()
}

// measure is called with the lock held.
func (w *writer) measure() { queueDepth.Set(float64(len(w.jobs))) }

// run writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range concurrentWrites {
		workers.Go(func() {
			for w.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	w.queue.ShutDown()
	workers.Wait()
}

func (w *writer) next(ctx context.Context) bool {
	k, shutdown := w.queue.Get()
	if shutdown {
		return false
	}
	defer w.queue.Done(k)
	if w.await(ctx) != nil {
		return false
	}
	// Not before that: what is wanted may have changed while it waited.
	w.mu.Lock()
	j, wanted := w.jobs[k]
	w.began = time.Now()
	w.mu.Unlock()
	if !wanted || ctx.Err() != nil {
		w.queue.Forget(k)
		return true
	}
	version, err := w.write(ctx, k, j)
	switch {
	case err == nil:
		writes.WithLabelValues("ok").Inc()
		w.queue.Forget(k)
		w.done(j) // before the queue is seen to be empty
		w.fulfilled(k, j, version)
		what := "decided"
		if j.wish.reason == "" {
			what = "released"
		}
		w.log.Info(what, "service", k.String(), "reason", j.wish.reason, "addresses", j.wish.addresses, "pool", j.wish.pools, "message", j.wish.message)
	case apierrors.IsNotFound(err):
		// The watch will say so too.
		writes.WithLabelValues("gone").Inc()
		w.queue.Forget(k)
		w.forget(k)
	case ctx.Err() != nil:
	default:
		result, level := "error", slog.LevelWarn
		switch {
		case apierrors.IsConflict(err):
			result, level = "conflict", slog.LevelDebug
		case errors.Is(err, errDoubt):
			result, level = "doubt", slog.LevelDebug
		}
		writes.WithLabelValues(result).Inc()
		w.log.Log(ctx, level, "writing the status of a Service", "service", k.String(), "attempt", w.queue.NumRequeues(k)+1, "error", err)
		w.queue.AddRateLimited(k)
	}
	return true
}

// fulfilled drops the job, unless something else is wanted by now: that is
// then about the version which the write made.
func (w *writer) fulfilled(k allocator.Key, j job, version string) {
	w.mu.Lock()
	now, wanted := w.jobs[k]
	again := wanted && !now.wish.equal(j.wish)
	if again {
		if now.seen.version == j.seen.version {
			now.seen.version = version
			w.jobs[k] = now
		}
	} else {
		delete(w.jobs, k)
		w.measure()
	}
	w.mu.Unlock()
	if again {
		w.queue.Add(k)
	}
}

// pauses is how long to wait before a write is repeated.
type pauses struct {
	mu       sync.Mutex
	failures map[allocator.Key]int
	random   func() float64 // in [0,1)
}

func (p *pauses) When(k allocator.Key) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := longestPause
	if n := p.failures[k]; n < 20 {
		pause = min(shortestPause<<n, longestPause)
	}
	p.failures[k]++
	return pause/2 + time.Duration(p.random()*float64(pause/2))
}

func (p *pauses) Forget(k allocator.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failures, k)
}

func (p *pauses) NumRequeues(k allocator.Key) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failures[k]
}
