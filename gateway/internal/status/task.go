package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gatewayclasses/status;gateways/status;listenersets/status;httproutes/status;grpcroutes/status;tlsroutes/status;tcproutes/status;udproutes/status;backendtlspolicies/status,verbs=update;patch

const (
	// writers is how many objects are written at a time.
	writers = 16
	// between is the time between two writes of one object. It doubles with each
	// write from the one that is number patient in a row, up to betweenMost: the
	// Gateway of routes that come one after the other changes with each of them.
	between     = 200 * time.Millisecond
	patient     = 5
	betweenMost = 500 * time.Millisecond
	// retryFirst and retryMost bound the pause after a failure; it doubles in
	// between.
	retryFirst = 100 * time.Millisecond
	retryMost  = 10 * time.Second
)

// Task writes the statuses. It belongs to the leader. It is a program.Task.
type Task struct {
	Client client.Client
	Cells  *Cells
	// Controller is the controllerName under which our entries stand.
	Controller gwv1.GatewayController
	Now        func() time.Time
	Events     events.EventRecorder
	Log        *slog.Logger

	mu    sync.Mutex
	wrote map[key]written
	ready chan struct{}
	// pace is that of events.
	pace flowcontrol.RateLimiter
}

// written is the last write of an object, which is the row's last.
type written struct {
	at  time.Time
	row int
}

// pause is the time until the object may be written again.
func (w written) pause() time.Duration {
	if w.row < patient {
		return between
	}
	return min(between<<min(w.row-patient+1, 8), betweenMost)
}

// over says that a write at that time would be the first in a row.
func (w written) over(at time.Time) bool { return at.Sub(w.at) >= 2*w.pause() }

// New returns the task.
func New(c client.Client, cells *Cells, controller gwv1.GatewayController, recorder events.EventRecorder, log *slog.Logger) *Task {
	return &Task{
		Client: c, Cells: cells, Controller: controller, Now: time.Now, Events: recorder, Log: log,
		wrote: map[key]written{}, ready: make(chan struct{}), pace: flowcontrol.NewTokenBucketRateLimiter(eventsPerSecond, eventsAtOnce),
	}
}

// String names the task.
func (t *Task) String() string { return "status" }

// Ready is closed once the task runs.
func (t *Task) Ready() <-chan struct{} { return t.ready }

// Run follows the cells until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	close(t.ready)
	pause := retryFirst
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-t.Cells.wake:
		}
		again = nil
		delayed, err := t.write(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			t.Log.Warn("not all statuses are written", "error", err, "retry", pause.String())
			again = time.After(pause)
			pause = min(2*pause, retryMost)
		default:
			pause = retryFirst
			if delayed {
				again = time.After(between)
			}
		}
	}
}

// write brings the statuses of stale objects to what is wanted; delayed: some
// were written a moment ago and must wait.
func (t *Task) write(ctx context.Context) (delayed bool, err error) {
	now := t.Now()
	var group errgroup.Group
	group.SetLimit(writers)
	var mu sync.Mutex
	var later []key
	var errs []error
	for k, c := range t.Cells.take() {
		group.Go(func() error {
			wait, err := t.put(ctx, k, c, now)
			if wait || err != nil {
				mu.Lock()
				defer mu.Unlock()
				later, delayed = append(later, k), delayed || wait
				if err != nil {
					errs = append(errs, err)
				}
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	t.Cells.again(later)
	for k, last := range t.wrote {
		if last.over(now) {
			delete(t.wrote, k)
		}
	}
	return delayed, errors.Join(errs...)
}

// put writes the status of one object if it is not as wanted; wait: it was
// written a moment ago, by us or by others.
func (t *Task) put(ctx context.Context, k key, c cell, now time.Time) (wait bool, err error) {
	change, err := t.change(ctx, k, c.wanted)
	if change == nil || err != nil {
		return false, err
	}
	if change.object.GetUID() != c.uid {
		return false, nil // the decision about this one brings it back
	}
	t.mu.Lock()
	last, recently := t.wrote[k]
	t.mu.Unlock()
	if recently && now.Sub(last.at) < last.pause() {
		return true, nil
	}
	if last.over(now) {
		last.row = 0
	}
	turns := change.turns() // of what the update's answer is written over
	switch err := t.Client.Status().Update(ctx, change.object); {
	case apierrors.IsNotFound(err):
		return false, nil
	case apierrors.IsConflict(err):
		// Somebody wrote it, and what they wrote has not come yet.
		writes.WithLabelValues("Conflict").Inc()
		return true, nil
	case err != nil:
		writes.WithLabelValues("Failed").Inc()
		return false, fmt.Errorf("writing the status of %s: %w", k, err)
	}
	writes.WithLabelValues("Written").Inc()
	if len(turns) > 0 {
		t.Log.Info("decided", "kind", k.kind, "name", k.name.String(), "conditions", turns)
		t.tell(change.object, turns)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrote[k] = written{now, last.row + 1}
	return false, nil
}
