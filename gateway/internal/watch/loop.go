package watch

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/infra"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/gateway/internal/server"
	"github.com/porchlight-lb/porchlight/gateway/internal/status"
)

// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=gatewayclasses;gateways;listenersets;httproutes;grpcroutes;tlsroutes;tcproutes;udproutes;referencegrants;backendtlspolicies,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces;secrets;configmaps,verbs=get;list;watch

// kindsEvery is how often it is looked whether the kinds are there, and
// sayEvery how often it is said that they are not.
const (
	kindsEvery = time.Second
	sayEvery   = time.Minute
)

var gatewayAPI = schema.GroupVersion{Group: gwv1.GroupName, Version: "v1"}

// Loop watches, translates and hands out. It is a program.Task that runs on
// every replica.
type Loop struct {
	Cache     cache.Cache
	Mapper    meta.RESTMapper
	Namespace string
	// Controller is the spec.controllerName of the GatewayClasses that are ours.
	Controller gwv1.GatewayController

	Hub *server.Hub
	TLS *certs.Serving
	// What the leader's tasks are to write.
	Fleets *mailbox.Box[[]fleet.Wanted]
	Plans  *mailbox.Box[infra.Plan]
	// Refused are the Gateways whose Services the API server refuses, and why.
	Refused  *mailbox.Box[map[types.NamespacedName]string]
	Statuses *status.Cells

	Log *slog.Logger
	// Now is what time it is.
	Now func() time.Time

	queue *queue
	ready chan struct{}
}

// New returns the loop; the caller sets its fields.
func New() *Loop { return &Loop{Now: time.Now, queue: newQueue(), ready: make(chan struct{})} }

// String names the task.
func (l *Loop) String() string { return "translation" }

// Ready is closed after the first translation.
func (l *Loop) Ready() <-chan struct{} { return l.ready }

// Run works until ctx ends. It waits for kinds that are not installed.
func (l *Loop) Run(ctx context.Context) error {
	if !l.awaitKinds(ctx) {
		return nil
	}
	if err := l.watch(ctx); err != nil {
		return err
	}
	w := newWorld(l.Namespace, l.Controller)
	l.step(w, l.queue.take())
	close(l.ready)
	for {
		lapse := time.NewTimer(until(w.translator.Lapses(), l.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-l.queue.wake:
		case <-lapse.C:
		case <-l.Refused.Wake():
			refused, _ := l.Refused.Peek()
			w.refuse(refused)
		}
		lapse.Stop()
		l.step(w, l.queue.take())
	}
}

// lookEvery is how often it is looked what time it is, should the clock be set.
const lookEvery = time.Hour

// until returns how long to wait for a time, which is zero for none.
func until(t, now time.Time) time.Duration {
	if t.IsZero() {
		return lookEvery
	}
	return min(t.Sub(now), lookEvery)
}

// step takes changes in, and hands out what follows.
func (l *Loop) step(w *world, changes []change) {
	start := time.Now()
	w.translator.SetTime(l.Now())
	out := w.apply(changes)
	observeCertificates(&out.changes)
	if out.published {
		l.Hub.Publish(w.sets())
		observe(w, time.Since(start))
	}
	l.Statuses.Want(&out.changes.Output)
	for _, c := range changes {
		l.Statuses.Decided(c.object, c.there)
	}
	if out.written {
		fleets, plan := w.wanted()
		l.Fleets.Put(fleets)
		l.Plans.Put(plan)
	}
	for _, c := range changes {
		if s, ok := c.object.(*corev1.Secret); ok && c.there && s.Namespace == l.Namespace && s.Name == certs.ServerSecret {
			if err := l.TLS.Load(s); err != nil {
				l.Log.Warn("the xDS server's certificate is not usable, the one before stays in use", "error", err)
			}
		}
	}
}

// awaitKinds waits until the API serves every kind that is watched; false: ctx
// has ended.
func (l *Loop) awaitKinds(ctx context.Context) bool {
	kinds := []schema.GroupVersionKind{v1beta1.GroupVersion.WithKind("EnvoyFleet")}
	for _, k := range []string{
		"GatewayClass", "Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute",
		"ReferenceGrant", "BackendTLSPolicy",
	} {
		kinds = append(kinds, gatewayAPI.WithKind(k))
	}
	var said time.Time
	for {
		var missing []string
		for _, k := range kinds {
			if _, err := l.Mapper.RESTMapping(k.GroupKind(), k.Version); err != nil {
				missing = append(missing, k.String())
			}
		}
		if len(missing) == 0 {
			return true
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			l.Log.Warn("waiting for kinds that the API server does not serve; install their CRDs", "kinds", strings.Join(missing, "; "))
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(kindsEvery):
		}
	}
}

// watch starts the informers and waits until they, and the queue, know all
// there is.
func (l *Loop) watch(ctx context.Context) error {
	written := l.Statuses.Touch
	handlers := []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&v1beta1.EnvoyFleet{}, l.queue.handler(sameSpec, nil)},
		{&gwv1.GatewayClass{}, l.queue.handler(sameSpec, written)},
		{&gwv1.Gateway{}, l.queue.handler(sameSpec, written)},
		{&gwv1.ListenerSet{}, l.queue.handler(sameSpec, written)},
		{&gwv1.HTTPRoute{}, l.queue.handler(sameSpec, written)},
		{&gwv1.GRPCRoute{}, l.queue.handler(sameSpec, written)},
		{&gwv1.TLSRoute{}, l.queue.handler(sameSpec, written)},
		{&gwv1.TCPRoute{}, l.queue.handler(sameSpec, written)},
		{&gwv1.UDPRoute{}, l.queue.handler(sameSpec, written)},
		{&gwv1.ReferenceGrant{}, l.queue.handler(sameSpec, nil)},
		{&gwv1.BackendTLSPolicy{}, l.queue.handler(sameSpec, written)},
		{&corev1.Namespace{}, l.queue.handler(sameMeta, nil)},
		{&corev1.Service{}, l.queue.handler(nil, nil)},
		{&corev1.Secret{}, l.queue.handler(nil, nil)},
		{&corev1.ConfigMap{}, l.queue.handler(nil, nil)},
		{&corev1.Pod{}, l.queue.handler(nil, nil)},
		{&appsv1.Deployment{}, l.queue.handler(nil, nil)},
		{&appsv1.DaemonSet{}, l.queue.handler(nil, nil)},
		{&discoveryv1.EndpointSlice{}, l.queue.handler(nil, nil)},
	}
	var told []toolscache.InformerSynced
	for _, h := range handlers {
		informer, err := l.Cache.GetInformer(ctx, h.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", h.object, err)
		}
		registration, err := informer.AddEventHandler(h.handler)
		if err != nil {
			return fmt.Errorf("watching %T: %w", h.object, err)
		}
		told = append(told, registration.HasSynced)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), told...) {
		return ctx.Err()
	}
	return nil
}
