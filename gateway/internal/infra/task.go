package infra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/apply"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",namespace=porchlight-system,roleName=porchlight-gateway,resources=pods,verbs=get;list;watch

// writers is how many objects are written at a time.
const writers = 8

// retryFirst and retryMost bound the pause after a failure; it doubles in
// between.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Plan is what the Gateways of all fleets want.
type Plan struct {
	Gateways []Wanted
	Fleets   map[types.NamespacedName]*v1beta1.EnvoyFleet
}

// Task keeps the Services and their EndpointSlices. It writes, so it belongs
// to the leader. It is a program.Task.
type Task struct {
	Client client.Client
	// Direct reads past the cache: a leader must know every port that the one
	// before it gave.
	Direct client.Reader
	// Plans also receives a plan when pods or Services have changed.
	Plans *mailbox.Box[Plan]
	// Namespace of the installation. Another, in another namespace, has Gateways
	// and Services of its own.
	Namespace string
	Range     Range
	// Refused gets the Gateways whose Services the API server refuses, and why,
	// when they are others than before.
	Refused *mailbox.Box[map[types.NamespacedName]string]
	Now     func() time.Time
	Log     *slog.Logger

	ports   *Ports
	refused map[types.NamespacedName]string
	ready   chan struct{}
}

// New returns the task.
func New(c client.Client, direct client.Reader, plans *mailbox.Box[Plan], namespace string, r Range, log *slog.Logger) *Task {
	return &Task{
		Client: c, Direct: direct, Plans: plans, Namespace: namespace, Range: r,
		Refused: mailbox.New[map[types.NamespacedName]string](), Now: time.Now, Log: log, ready: make(chan struct{}),
	}
}

// String names the task.
func (t *Task) String() string { return "gateway-services" }

// Ready is closed once the ports given before are known.
func (t *Task) Ready() <-chan struct{} { return t.ready }

// Run follows the plans until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	t.ports = NewPorts(t.Range)
	if err := t.adopt(ctx); err != nil {
		return err
	}
	close(t.ready)
	pause := retryFirst
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		case <-t.Plans.Wake():
		}
		plan, ok := t.Plans.Peek()
		if !ok {
			continue
		}
		retry = nil
		next, err := t.follow(ctx, plan)
		if err != nil && ctx.Err() == nil {
			t.Log.Warn("not all Services of Gateways are as they should be", "error", err, "retry", pause.String())
			retry = time.After(pause)
			pause = min(2*pause, retryMost)
			continue
		}
		pause = retryFirst
		if !next.IsZero() {
			retry = time.After(next.Sub(t.Now()))
		}
	}
}

// adopt takes over what the Services record, the oldest first.
func (t *Task) adopt(ctx context.Context) error {
	var list corev1.ServiceList
	if err := t.Direct.List(ctx, &list, client.MatchingLabels{names.ManagedBy: names.Porchlight}, client.HasLabels{fleet.Label}); err != nil {
		return fmt.Errorf("listing the Services of Gateways: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Service) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	for i := range list.Items {
		s := &list.Items[i]
		gateway, ok := gatewayOf(s)
		if !ok {
			continue
		}
		for _, p := range s.Spec.Ports {
			if !t.ports.Adopt(Fleet(s, t.Namespace), gateway, p.Port, p.TargetPort.IntVal) {
				t.Log.Warn("the fleet port that a Service records is another's, it gets a new one",
					"service", client.ObjectKeyFromObject(s).String(), "port", p.Port, "fleetPort", p.TargetPort.IntVal)
			}
		}
	}
	return nil
}

// follow makes the Services and slices what the plan wants, and returns when
// time alone changes that; zero: it does not.
func (t *Task) follow(ctx context.Context, plan Plan) (next time.Time, err error) {
	wanted := map[types.NamespacedName]*Wanted{}
	for i := range plan.Gateways {
		if w := &plan.Gateways[i]; len(w.Ports) > 0 && plan.Fleets[w.Fleet] != nil {
			wanted[w.Name] = w
		}
	}
	t.ports.Keep(func(fleet, gateway types.NamespacedName, port int32) bool {
		w := wanted[gateway]
		return w != nil && w.Fleet == fleet && slices.ContainsFunc(w.ports(), func(p int32) bool { return p == port })
	})
	var errs []error
	if err := t.prune(ctx, wanted); err != nil {
		errs = append(errs, err)
	}
	pods, err := t.pods(ctx)
	if err != nil {
		return time.Time{}, err
	}
	now := t.Now()
	var group errgroup.Group
	group.SetLimit(writers)
	results := make([]error, len(plan.Gateways))
	for i := range plan.Gateways {
		w := &plan.Gateways[i]
		if wanted[w.Name] == nil {
			continue
		}
		ports, err := t.give(w)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		group.Go(func() error {
			results[i] = t.put(ctx, w, plan.Fleets[w.Fleet], ports, pods[w.Fleet.Name], now)
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	t.report(plan.Gateways, results)
	return nextToLeave(pods, now), errors.Join(append(errs, results...)...)
}

// nextToLeave is when the next of the Envoys that leave should be used no more.
func nextToLeave(pods map[string][]*corev1.Pod, now time.Time) time.Time {
	var next time.Time
	for _, group := range pods {
		for _, p := range group {
			if at := fleet.ServesUntil(p); at.After(now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	return next
}

func (w *Wanted) ports() []int32 {
	var out []int32
	for _, p := range w.Ports {
		out = append(out, p.Port)
	}
	return out
}

// give returns the ports of the Gateway's Service.
func (t *Task) give(w *Wanted) ([]corev1.ServicePort, error) {
	var out []corev1.ServicePort
	for _, p := range w.Ports {
		n, ok := t.ports.Give(w.Fleet, w.Name, p.Port)
		if !ok {
			return nil, fmt.Errorf("giving ports of fleet %s to Gateway %s: none is free between %d and %d", w.Fleet, w.Name, t.Range.First, t.Range.Last)
		}
		out = append(out, servicePort(p, n))
	}
	return out, nil
}

func (t *Task) put(ctx context.Context, w *Wanted, f *v1beta1.EnvoyFleet, ports []corev1.ServicePort, pods []*corev1.Pod, now time.Time) error {
	s := service(w, f, ports)
	key := client.ObjectKeyFromObject(s)
	live := &corev1.Service{}
	switch err := t.Client.Get(ctx, key, live); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("reading Service %s: %w", key, err)
	case !Ours(live, w.Name.Name):
		// The Gateway says so; nothing changes until the Service does.
		return nil
	case !movable(live, s):
		// The event of its deletion brings the next plan, which makes it anew.
		t.Log.Info("Service deleted: its first family or class cannot change", "gateway", w.Name.String(), "service", s.Name)
		err := t.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting Service %s, whose first family or class cannot change: %w", key, err)
		}
		return nil
	case s.Spec.LoadBalancerClass == nil:
		// Who wants none may be given one by the cluster, and then has it.
		s.Spec.LoadBalancerClass = live.Spec.LoadBalancerClass
	}
	wrote, err := apply.Object(ctx, t.Client, s)
	if err != nil {
		return err
	}
	if live.UID == "" {
		// The event of its creation brings the next plan, with its UID.
		t.Log.Info("Service made", "gateway", w.Name.String(), "service", s.Name)
		return nil
	}
	if wrote {
		t.Log.Info("Service changed", "gateway", w.Name.String(), "service", s.Name)
	}
	s.UID = live.UID
	return t.putSlices(ctx, s, pods, now)
}

func (t *Task) putSlices(ctx context.Context, s *corev1.Service, pods []*corev1.Pod, now time.Time) error {
	wanted := map[string]bool{}
	for _, slice := range endpointSlices(s, pods, now) {
		wanted[slice.Name] = true
		if _, err := apply.Object(ctx, t.Client, slice); err != nil {
			return err
		}
	}
	var list discoveryv1.EndpointSliceList
	if err := t.Client.List(ctx, &list, client.InNamespace(s.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: slicesManager}); err != nil {
		return fmt.Errorf("listing the EndpointSlices of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	for i := range list.Items {
		if slice := &list.Items[i]; !wanted[slice.Name] {
			if err := client.IgnoreNotFound(t.Client.Delete(ctx, slice)); err != nil {
				return fmt.Errorf("deleting EndpointSlice %s/%s: %w", slice.Namespace, slice.Name, err)
			}
		}
	}
	return nil
}

// prune deletes the Services of Gateways that want none any more. What does not
// record whose it is stays: it goes with its Gateway.
func (t *Task) prune(ctx context.Context, wanted map[types.NamespacedName]*Wanted) error {
	var list corev1.ServiceList
	if err := t.Client.List(ctx, &list, client.MatchingLabels{names.ManagedBy: names.Porchlight}, client.HasLabels{fleet.Label}); err != nil {
		return fmt.Errorf("listing the Services of Gateways: %w", err)
	}
	for i := range list.Items {
		s := &list.Items[i]
		gateway, ok := gatewayOf(s)
		if !ok || wanted[gateway] != nil || s.DeletionTimestamp != nil || Fleet(s, "").Namespace != t.Namespace {
			continue
		}
		if err := client.IgnoreNotFound(t.Client.Delete(ctx, s)); err != nil {
			return fmt.Errorf("deleting Service %s/%s: %w", s.Namespace, s.Name, err)
		}
		t.Log.Info("Service deleted", "gateway", gateway.String(), "service", s.Name)
	}
	return nil
}

// pods returns the fleets' pods by the fleet's name.
func (t *Task) pods(ctx context.Context) (map[string][]*corev1.Pod, error) {
	var list corev1.PodList
	if err := t.Client.List(ctx, &list, client.HasLabels{fleet.Label}); err != nil {
		return nil, fmt.Errorf("listing the fleets' pods: %w", err)
	}
	out := map[string][]*corev1.Pod{}
	for i := range list.Items {
		p := &list.Items[i]
		out[p.Labels[fleet.Label]] = append(out[p.Labels[fleet.Label]], p)
	}
	return out, nil
}
