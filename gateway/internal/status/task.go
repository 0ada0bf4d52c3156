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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
)

// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gatewayclasses/status;gateways/status;listenersets/status;httproutes/status;grpcroutes/status;tlsroutes/status;tcproutes/status;udproutes/status;backendtlspolicies/status,verbs=update;patch

const (
	// writers is how many objects are written at a time.
	writers = 16
	// between is the time between two writes of one object.
	between = 200 * time.Millisecond
	// retryFirst and retryMost bound the pause after a failure; it doubles in
	// between.
	retryFirst = 100 * time.Millisecond
	retryMost  = 10 * time.Second
)

// Task writes the statuses. It belongs to the leader. It is a program.Task.
type Task struct {
	Client client.Client
	// Outputs also receives the newest output when a status was changed by
	// somebody.
	Outputs *mailbox.Box[ingest.Output]
	Now     func() time.Time
	Log     *slog.Logger

	mu    sync.Mutex
	wrote map[string]time.Time
	ready chan struct{}
}

// New returns the task.
func New(c client.Client, outputs *mailbox.Box[ingest.Output], log *slog.Logger) *Task {
	return &Task{Client: c, Outputs: outputs, Now: time.Now, Log: log, wrote: map[string]time.Time{}, ready: make(chan struct{})}
}

// String names the task.
func (t *Task) String() string { return "status" }

// Ready is closed once the task runs.
func (t *Task) Ready() <-chan struct{} { return t.ready }

// Run follows the outputs until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	close(t.ready)
	pause := retryFirst
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-t.Outputs.Wake():
		}
		out, ok := t.Outputs.Peek()
		if !ok {
			continue
		}
		again = nil
		delayed, err := t.write(ctx, out)
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

// write brings the statuses of all objects to what the output says; delayed:
// some were written a moment ago and must wait.
func (t *Task) write(ctx context.Context, out ingest.Output) (delayed bool, err error) {
	changes, err := t.changes(ctx, out)
	if err != nil {
		return false, err
	}
	now := t.Now()
	var group errgroup.Group
	group.SetLimit(writers)
	results := make([]error, len(changes))
	for i, c := range changes {
		if at, ok := t.wrote[c.what]; ok && now.Sub(at) < between {
			delayed = true
			continue
		}
		group.Go(func() error {
			results[i] = t.put(ctx, c)
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	for what, at := range t.wrote {
		if now.Sub(at) >= between {
			delete(t.wrote, what)
		}
	}
	return delayed, errors.Join(results...)
}

func (t *Task) put(ctx context.Context, c change) error {
	err := t.Client.Status().Update(ctx, c.object)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		writes.WithLabelValues("Failed").Inc()
		return fmt.Errorf("writing the status of %s: %w", c.what, err)
	}
	writes.WithLabelValues("Written").Inc()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrote[c.what] = t.Now()
	return nil
}
