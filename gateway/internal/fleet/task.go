package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/gateway/internal/apply"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
)

// +kubebuilder:rbac:groups=apps,namespace=porchlight-system,roleName=porchlight-gateway,resources=deployments;daemonsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=autoscaling,namespace=porchlight-system,roleName=porchlight-gateway,resources=horizontalpodautoscalers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",namespace=porchlight-system,roleName=porchlight-gateway,resources=configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",namespace=porchlight-system,roleName=porchlight-gateway,resources=secrets,verbs=delete
// +kubebuilder:rbac:groups=policy,namespace=porchlight-system,roleName=porchlight-gateway,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,roleName=porchlight-gateway,resources=envoyfleets,verbs=get;list;watch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,roleName=porchlight-gateway,resources=envoyfleets/status,verbs=update;patch

// retryFirst and retryMost bound the pause after a failure; it doubles in
// between.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Task keeps the certificates and runs the groups of Envoys that are wanted. It
// writes, so it belongs to the leader. It is a program.Task.
type Task struct {
	Client   client.Client
	Keeper   *certs.Keeper
	Settings Settings
	// Fleets also receives the groups when their workloads or pods have changed.
	Fleets *mailbox.Box[[]Wanted]
	// Events on EnvoyFleets whose access log is refused.
	Events events.EventRecorder
	Now    func() time.Time
	Log    *slog.Logger

	ready chan struct{}
}

// New returns the task.
func New(c client.Client, k *certs.Keeper, s Settings, fleets *mailbox.Box[[]Wanted], recorder events.EventRecorder, log *slog.Logger) *Task {
	return &Task{Client: c, Keeper: k, Settings: s, Fleets: fleets, Events: recorder, Now: time.Now, Log: log, ready: make(chan struct{})}
}

// String names the task.
func (t *Task) String() string { return "fleets" }

// Ready is closed once the task runs.
func (t *Task) Ready() <-chan struct{} { return t.ready }

// Run keeps everything until ctx ends. The certificates of authority and
// server do not wait for a fleet.
func (t *Task) Run(ctx context.Context) error {
	close(t.ready)
	pause := retryFirst
	next := time.After(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next:
		case <-t.Fleets.Wake():
		}
		fleets, known := t.Fleets.Peek()
		if err := t.keep(ctx, fleets, known); err != nil && ctx.Err() == nil {
			t.Log.Warn("not all fleets are as they should be", "error", err, "retry", pause.String())
			next = time.After(pause)
			pause = min(2*pause, retryMost)
			continue
		}
		pause = retryFirst
		next = time.After(t.Keeper.CheckEvery())
	}
}

// keep brings everything to what is wanted; where that is not known yet, the
// certificates of authority and server alone.
func (t *Task) keep(ctx context.Context, fleets []Wanted, known bool) error {
	var holders []certs.Holder
	for i := range fleets {
		holders = append(holders, certs.Holder{Fleet: fleets[i].Name.Name, Owner: fleets[i].owner()})
	}
	if err := t.Keeper.Keep(ctx, holders); err != nil || !known {
		return err
	}
	var errs []error
	kept := map[string]objects{}
	refused := map[string]error{} // by EnvoyFleet
	for i := range fleets {
		rendered, err := t.run(ctx, &fleets[i])
		kept[fleets[i].Name.Name] = rendered
		if apierrors.IsInvalid(err) {
			refused[fleets[i].Fleet.Name] = err
		}
		errs = append(errs, err)
	}
	errs = append(errs, t.prune(ctx, kept), t.report(ctx, fleets, refused))
	return errors.Join(errs...)
}

// run brings a group to its wanted form, and returns what belongs to it.
func (t *Task) run(ctx context.Context, w *Wanted) (objects, error) {
	var live appsv1.Deployment
	var replicas int32
	if err := t.Client.Get(ctx, w.Name, &live); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("fleet %s: reading its Deployment: %w", w.Name.Name, err)
	} else if err == nil && live.Spec.Replicas != nil {
		replicas = *live.Spec.Replicas
	}
	rendered, err := Objects(w, t.Settings, replicas)
	if err != nil {
		return nil, fmt.Errorf("fleet %s: %w", w.Name.Name, err)
	}
	for _, o := range rendered {
		wrote, err := apply.Object(ctx, t.Client, o)
		if err != nil {
			return rendered, fmt.Errorf("fleet %s: %w", w.Name.Name, err)
		}
		if wrote {
			t.Log.Info("fleet changed", "fleet", w.Name.Name, "object", fmt.Sprintf("%T", o))
		}
	}
	return rendered, nil
}
