package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/apply"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// +kubebuilder:rbac:groups=apps,namespace=porchlight-system,roleName=porchlight-gateway,resources=deployments,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",namespace=porchlight-system,roleName=porchlight-gateway,resources=configmaps,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=policy,namespace=porchlight-system,roleName=porchlight-gateway,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,roleName=porchlight-gateway,resources=envoyfleets,verbs=get;list;watch
// +kubebuilder:rbac:groups=porchlight.dev,namespace=porchlight-system,roleName=porchlight-gateway,resources=envoyfleets/status,verbs=update;patch

// retryFirst and retryMost bound the pause after a failure; it doubles in
// between.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Task keeps the certificates and runs the fleets that GatewayClasses refer
// to. It writes, so it belongs to the leader. It is a program.Task.
type Task struct {
	Client   client.Client
	Keeper   *certs.Keeper
	Settings Settings
	// Fleets also receives the fleets when their Deployments have changed.
	Fleets *mailbox.Box[[]*v1beta1.EnvoyFleet]
	Now    func() time.Time
	Log    *slog.Logger

	ready chan struct{}
}

// New returns the task.
func New(c client.Client, k *certs.Keeper, s Settings, fleets *mailbox.Box[[]*v1beta1.EnvoyFleet], log *slog.Logger) *Task {
	return &Task{Client: c, Keeper: k, Settings: s, Fleets: fleets, Now: time.Now, Log: log, ready: make(chan struct{})}
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
		fleets, _ := t.Fleets.Peek()
		if err := t.keep(ctx, fleets); err != nil && ctx.Err() == nil {
			t.Log.Warn("not all fleets are as they should be", "error", err, "retry", pause.String())
			next = time.After(pause)
			pause = min(2*pause, retryMost)
			continue
		}
		pause = retryFirst
		next = time.After(certs.CheckEvery)
	}
}

func (t *Task) keep(ctx context.Context, fleets []*v1beta1.EnvoyFleet) error {
	var names []string
	for _, f := range fleets {
		names = append(names, f.Name)
	}
	if err := t.Keeper.Keep(ctx, names); err != nil {
		return err
	}
	var errs []error
	for _, f := range fleets {
		errs = append(errs, t.run(ctx, f))
	}
	return errors.Join(errs...)
}

func (t *Task) run(ctx context.Context, f *v1beta1.EnvoyFleet) error {
	objects, err := Objects(f, t.Settings)
	if err != nil {
		return fmt.Errorf("fleet %s: %w", f.Name, err)
	}
	for _, o := range objects {
		wrote, err := apply.Object(ctx, t.Client, o)
		if err != nil {
			return fmt.Errorf("fleet %s: %w", f.Name, err)
		}
		if wrote {
			t.Log.Info("fleet changed", "fleet", f.Name, "object", fmt.Sprintf("%T", o))
		}
	}
	return t.report(ctx, f)
}

// report writes the fleet's status where it has changed.
func (t *Task) report(ctx context.Context, f *v1beta1.EnvoyFleet) error {
	var d appsv1.Deployment
	if err := t.Client.Get(ctx, client.ObjectKeyFromObject(f), &d); err != nil {
		return client.IgnoreNotFound(err) // its creation comes as an event
	}
	updated := f.DeepCopy()
	updated.Status.ReadyReplicas = d.Status.ReadyReplicas
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	c := metav1.Condition{
		Type: string(reason.Ready), Status: metav1.ConditionTrue, Reason: string(reason.Ready),
		ObservedGeneration: f.Generation, LastTransitionTime: metav1.NewTime(t.Now()),
		Message: fmt.Sprintf("%d of %d Envoys are ready.", d.Status.ReadyReplicas, wanted),
	}
	if d.Status.ReadyReplicas < wanted {
		c.Status, c.Reason = metav1.ConditionFalse, string(reason.EnvoysNotReady)
	}
	meta.SetStatusCondition(&updated.Status.Conditions, c)
	if equality.Semantic.DeepEqual(f.Status, updated.Status) {
		return nil
	}
	if err := t.Client.Status().Update(ctx, updated); err != nil {
		return fmt.Errorf("writing the status of EnvoyFleet %s: %w", f.Name, err)
	}
	return nil
}
