// Package envoys passes on what the xDS streams learn: which listeners each
// Envoy serves, as an annotation on its pod, so that every replica knows it
// whichever of them the Envoy is connected to; and what an Envoy refuses, as
// an event on the object that it is about.
package envoys

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// +kubebuilder:rbac:groups="",namespace=porchlight-system,roleName=porchlight-gateway,resources=pods,verbs=patch
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch

// retryPause is the time after which a failed write is repeated.
const retryPause = 500 * time.Millisecond

// Task is a server.Observer, and a program.Task that runs on every replica.
type Task struct {
	Client    client.Client
	Namespace string
	Events    events.EventRecorder
	Log       *slog.Logger

	mu      sync.Mutex
	pending map[string]report  // by pod
	told    map[refused]string // the version, or the complaint
	wake    chan struct{}
	ready   chan struct{}
}

// refused is a resource of a fleet.
type refused struct {
	fleet types.NamespacedName
	resource.Key
}

// report is what an Envoy serves, and where it says it is.
type report struct {
	fleet     string
	addresses string
	listeners []string
}

// New returns the task.
func New(c client.Client, namespace string, recorder events.EventRecorder, log *slog.Logger) *Task {
	return &Task{
		Client: c, Namespace: namespace, Events: recorder, Log: log,
		pending: map[string]report{}, told: map[refused]string{},
		wake: make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// String names the task.
func (t *Task) String() string { return "envoy-reports" }

// Ready is closed once the task runs.
func (t *Task) Ready() <-chan struct{} { return t.ready }

// Serves takes note of what the Envoy serves that gives itself the name node.
func (t *Task) Serves(group types.NamespacedName, node string, listeners []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pod, addresses := fleet.Node(node)
	t.pending[pod] = report{fleet: group.Name, addresses: addresses, listeners: listeners}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Refused makes an event for what was refused, once for each version however
// many Envoys refuse it. What a listener logs is its EnvoyFleet's to say, so
// that hears of a listener, too, once for each complaint.
func (t *Task) Refused(group types.NamespacedName, _ string, r ads.Refusal) {
	own := t.isNew(refused{group, r.Key}, r.Version)
	shared := r.Type == resource.Listener && t.isNew(refused{group, resource.Key{Type: r.Type}}, r.Detail)
	if !own && !shared {
		return
	}
	fleet := t.fleetOf(group)
	tell := func(about client.Object) {
		kind := string(r.Type[strings.LastIndexByte(string(r.Type), '.')+1:])
		t.Events.Eventf(about, nil, corev1.EventTypeWarning, string(reason.ConfigurationRefused), "Configure",
			"Envoys of fleet %s refuse %s %s and keep what they had: %s", group.Name, kind, r.Name, r.Detail)
	}
	if own {
		tell(regarding(fleet, r.Key))
	}
	if shared {
		tell(regarding(fleet, resource.Key{}))
	}
}

// isNew says whether what is said of the resource differs from what was last.
func (t *Task) isNew(what refused, said string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.told[what] == said
	t.told[what] = said
	return !known
}

// fleetOf returns the name of the EnvoyFleet that a group of Envoys belongs to:
// that of a shared one is the group's, that of a dedicated one is not.
func (t *Task) fleetOf(group types.NamespacedName) types.NamespacedName {
	var m corev1.ConfigMap
	if err := t.Client.Get(context.Background(), group, &m); err != nil {
		return group
	}
	for _, o := range m.OwnerReferences {
		if o.Kind == "EnvoyFleet" {
			return types.NamespacedName{Namespace: group.Namespace, Name: o.Name}
		}
	}
	return group
}

// regarding returns the object that a resource is made from, as its name says;
// the EnvoyFleet where it says none.
func regarding(fleet types.NamespacedName, k resource.Key) client.Object {
	part := strings.Split(k.Name, "/")
	if len(part) < 2 {
		return &v1beta1.EnvoyFleet{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1beta1.GroupVersion.String(), Kind: "EnvoyFleet"},
			ObjectMeta: metav1.ObjectMeta{Namespace: fleet.Namespace, Name: fleet.Name},
		}
	}
	meta := metav1.ObjectMeta{Namespace: part[0], Name: part[1]}
	switch k.Type {
	case resource.Listener, resource.Scope, resource.Route:
		return &gwv1.Gateway{TypeMeta: metav1.TypeMeta{APIVersion: gwv1.GroupVersion.String(), Kind: "Gateway"}, ObjectMeta: meta}
	case resource.Secret:
		if strings.HasSuffix(k.Name, ir.AuthoritiesSuffix) {
			return &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: meta}
		}
		return &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: meta}
	default:
		return &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta}
	}
}

// Run writes the annotations until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	close(t.ready)
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		case <-t.wake:
		}
		retry = nil
		if !t.write(ctx) {
			retry = time.After(retryPause)
		}
	}
}

// write writes what is pending, and says whether all of it could be.
func (t *Task) write(ctx context.Context) bool {
	t.mu.Lock()
	pending := t.pending
	t.pending = map[string]report{}
	t.mu.Unlock()
	ok := true
	for _, pod := range slices.Sorted(maps.Keys(pending)) {
		err := t.annotate(ctx, pod, pending[pod])
		if err == nil || ctx.Err() != nil {
			continue
		}
		t.Log.Warn("what an Envoy serves is not recorded", "pod", pod, "error", err)
		ok = false
		t.mu.Lock()
		if _, newer := t.pending[pod]; !newer {
			t.pending[pod] = pending[pod]
		}
		t.mu.Unlock()
	}
	return ok
}

func (t *Task) annotate(ctx context.Context, name string, r report) error {
	var p corev1.Pod
	key := client.ObjectKey{Namespace: t.Namespace, Name: name}
	if err := t.Client.Get(ctx, key, &p); err != nil {
		// It is gone, or calls itself by a name that is no pod's.
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		return fmt.Errorf("reading Pod %s: %w", key, err)
	}
	// An Envoy may lie about its name, but not about its fleet.
	if p.Labels[fleet.Label] != r.fleet {
		return nil
	}
	value := strings.Join(r.listeners, ",")
	if had, ok := p.Annotations[fleet.ServesAnnotation]; ok && had == value {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		fleet.ServesAnnotation: value, fleet.AddressesAnnotation: r.addresses,
	}}})
	if err != nil {
		return err
	}
	if err := t.Client.Patch(ctx, &p, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("annotating Pod %s: %w", key, err)
	}
	return nil
}
