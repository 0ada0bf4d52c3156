package watch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/infra"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/gateway/internal/server"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
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

	Hub *server.Hub
	TLS *certs.Serving
	// What the leader's tasks are to write.
	Fleets   *mailbox.Box[[]fleet.Wanted]
	Plans    *mailbox.Box[infra.Plan]
	Statuses *mailbox.Box[ingest.Output]

	Log *slog.Logger

	marks *marks
	ready chan struct{}
	// last is what the last translation gave, for events that reach no
	// further than endpoints or writes.
	last *translation
	// secretVersion is that of the server's Secret as it was loaded.
	secretVersion string
}

// translation is the outcome of one.
type translation struct {
	output ingest.Output
	// clusters of each fleet, and the fleets' snapshots.
	clusters map[types.NamespacedName][]ir.Cluster
	sets     map[types.NamespacedName]resource.Set
	// services that a route or a Gateway is about, whether they exist or not.
	services map[types.NamespacedName]struct{}
}

// New returns the loop; the caller sets its fields.
func New() *Loop { return &Loop{marks: newMarks(), ready: make(chan struct{})} }

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
	l.marks.add(translates)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.marks.wake:
		}
		if err := l.step(ctx, l.marks.take()); err != nil {
			return err
		}
		select {
		case <-l.ready:
		default:
			close(l.ready)
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

// watch starts the informers and waits until they know all there is.
func (l *Loop) watch(ctx context.Context) error {
	handlers := []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&v1beta1.EnvoyFleet{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.GatewayClass{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.Gateway{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.ListenerSet{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.HTTPRoute{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.GRPCRoute{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.TLSRoute{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.TCPRoute{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.UDPRoute{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.ReferenceGrant{}, l.marks.marking(translates, sameSpec)},
		{&gwv1.BackendTLSPolicy{}, l.marks.marking(translates, sameSpec)},
		{&corev1.Namespace{}, l.marks.marking(translates, sameMeta)},
		{&corev1.Service{}, l.marks.markingServices()},
		{&corev1.Secret{}, l.marks.marking(translates, nil)},
		{&corev1.ConfigMap{}, l.marks.marking(translates, nil)},
		{&corev1.Pod{}, l.marks.marking(translates, nil)},
		{&appsv1.Deployment{}, l.marks.marking(writes, nil)},
		{&appsv1.DaemonSet{}, l.marks.marking(writes, nil)},
		{&discoveryv1.EndpointSlice{}, l.marks.markingEndpoints()},
	}
	for _, h := range handlers {
		informer, err := l.Cache.GetInformer(ctx, h.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", h.object, err)
		}
		if _, err := informer.AddEventHandler(h.handler); err != nil {
			return fmt.Errorf("watching %T: %w", h.object, err)
		}
	}
	if !l.Cache.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	return nil
}

// step does what the marks ask for.
func (l *Loop) step(ctx context.Context, t taken) error {
	start := time.Now()
	if l.last != nil {
		if t = t.among(l.last.services); !t.any && len(t.endpoints) == 0 {
			return nil
		}
	}
	o, err := read(ctx, l.Cache, l.Namespace)
	if err != nil {
		return err
	}
	l.loadCertificate(o)
	switch {
	case l.last == nil || t.any && t.effect == translates:
		l.last = l.translate(o)
		l.Hub.Publish(l.last.sets)
		observe(l.last, "Full", time.Since(start))
	case len(t.endpoints) > 0:
		if l.last = l.refresh(o, t.endpoints); l.last != nil {
			l.Hub.Publish(l.last.sets)
			observe(l.last, "Endpoints", time.Since(start))
		}
	}
	if t.any {
		l.handOut(o)
	}
	return nil
}

// loadCertificate takes the server's certificate into use when it is new.
func (l *Loop) loadCertificate(o *objects) {
	s := o.secrets[types.NamespacedName{Namespace: l.Namespace, Name: certs.ServerSecret}]
	if s == nil || s.ResourceVersion == l.secretVersion {
		return
	}
	l.secretVersion = s.ResourceVersion
	if err := l.TLS.Load(s); err != nil {
		l.Log.Warn("the xDS server's certificate is not usable, the one before stays in use", "error", err)
	}
}

func (l *Loop) translate(o *objects) *translation {
	t := &translation{
		output:   ingest.Translate(o.input),
		clusters: map[types.NamespacedName][]ir.Cluster{},
		sets:     map[types.NamespacedName]resource.Set{},
		services: concerned(o.input),
	}
	for name, f := range t.output.Fleets {
		set := resource.Set{}
		for _, r := range xds.Fleet(f) {
			set.Put(r)
		}
		for _, c := range f.Clusters {
			set.Put(xds.Endpoints(ingest.Endpoints(c, o.endpointsOf(c))))
		}
		for _, a := range f.Authorities {
			set.Put(xds.AuthoritiesSecret(a, ingest.AuthoritiesBundle(a, o.configMap)))
		}
		for _, name := range f.Certificates {
			if s := o.secrets[name]; s != nil {
				if c, err := ingest.Certificate(s); err == nil {
					set.Put(xds.Secret(c))
				}
			}
		}
		t.sets[name], t.clusters[name] = set, f.Clusters
	}
	return t
}

// refresh returns the last translation with the endpoints of the Services as
// they are now. What has been published is not touched.
func (l *Loop) refresh(o *objects, services map[types.NamespacedName]struct{}) *translation {
	t := *l.last
	t.sets = maps.Clone(t.sets)
	for name, clusters := range t.clusters {
		var endpoints map[string]resource.Resource
		for _, c := range clusters {
			if !slices.ContainsFunc(c.Services(), func(n types.NamespacedName) bool { _, ok := services[n]; return ok }) {
				continue
			}
			if endpoints == nil {
				endpoints = maps.Clone(t.sets[name][resource.Endpoint])
			}
			r := xds.Endpoints(ingest.Endpoints(c, o.endpointsOf(c)))
			endpoints[r.Name] = r
		}
		if endpoints != nil {
			t.sets[name] = maps.Clone(t.sets[name])
			t.sets[name][resource.Endpoint] = endpoints
		}
	}
	return &t
}

// handOut gives the leader's tasks what is to be written.
func (l *Loop) handOut(o *objects) {
	out := l.last.output
	byName := map[types.NamespacedName]*v1beta1.EnvoyFleet{}
	for _, f := range o.input.Fleets {
		byName[types.NamespacedName{Namespace: f.Namespace, Name: f.Name}] = f
	}
	fleets := map[types.NamespacedName]*v1beta1.EnvoyFleet{}
	var list []fleet.Wanted
	for _, p := range out.FleetPlans {
		fleets[p.Name] = byName[p.Parameters]
		list = append(list, fleet.Wanted{FleetPlan: p, Fleet: byName[p.Parameters]})
	}
	uids := map[types.NamespacedName]types.UID{}
	for _, g := range o.input.Gateways {
		uids[types.NamespacedName{Namespace: g.Namespace, Name: g.Name}] = g.UID
	}
	plan := infra.Plan{Fleets: fleets}
	for _, g := range out.Gateways {
		plan.Gateways = append(plan.Gateways, infra.Wanted{GatewayPlan: g, UID: uids[g.Name]})
	}
	l.Fleets.Put(list)
	l.Plans.Put(plan)
	l.Statuses.Put(out)
}
