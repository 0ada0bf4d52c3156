package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gatewayclasses/status;gateways/status;httproutes/status,verbs=update;patch

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

// change is one status to write.
type change struct {
	object client.Object // with the new status
	what   string
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

// changes returns the objects whose status is not as the output says.
func (t *Task) changes(ctx context.Context, out ingest.Output) ([]change, error) {
	now := metav1.NewTime(t.Now().Truncate(time.Second))
	var all []change
	var classes gwv1.GatewayClassList
	var gateways gwv1.GatewayList
	var routes gwv1.HTTPRouteList
	for _, list := range []client.ObjectList{&classes, &gateways, &routes} {
		if err := t.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("listing %T: %w", list, err)
		}
	}
	liveClasses := byName(classes.Items, func(o *gwv1.GatewayClass) string { return o.Name })
	for _, w := range out.GatewayClassStatuses {
		if live := liveClasses[w.Name]; live != nil {
			if s := gatewayClass(live.Status, w.Status, now); !equality.Semantic.DeepEqual(s, live.Status) {
				o := live.DeepCopy()
				o.Status = s
				all = append(all, change{o, "GatewayClass " + w.Name})
			}
		}
	}
	liveGateways := byName(gateways.Items, func(o *gwv1.Gateway) string { return o.Namespace + "/" + o.Name })
	for _, w := range out.GatewayStatuses {
		if live := liveGateways[w.Name.String()]; live != nil {
			if s := gateway(live.Status, w.Status, now); !equality.Semantic.DeepEqual(s, live.Status) {
				o := live.DeepCopy()
				o.Status = s
				all = append(all, change{o, "Gateway " + w.Name.String()})
			}
		}
	}
	wanted := map[string][]gwv1.RouteParentStatus{}
	for _, w := range out.HTTPRouteStatuses {
		wanted[w.Name.String()] = w.Parents
	}
	for i := range routes.Items {
		live := &routes.Items[i]
		name := live.Namespace + "/" + live.Name
		if s := parents(names.GatewayController, live.Status.Parents, wanted[name], now); !equality.Semantic.DeepEqual(s, live.Status.Parents) {
			o := live.DeepCopy()
			o.Status.Parents = s
			all = append(all, change{o, "HTTPRoute " + name})
		}
	}
	return all, nil
}

func byName[T any](items []T, name func(*T) string) map[string]*T {
	out := make(map[string]*T, len(items))
	for i := range items {
		out[name(&items[i])] = &items[i]
	}
	return out
}
