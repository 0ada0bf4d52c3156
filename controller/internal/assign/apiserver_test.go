package assign

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// apiServer is as much of an API server as a term needs: it lists, streams
// watches, and carries out patches of the version that they are about. Clients
// have it as their transport, so that it runs on a false clock.
type apiServer struct {
	t *testing.T
	// before is called before a patch of a Service's status is carried out; an
	// error is what the client sees of it.
	before func(name string) error

	mu      sync.Mutex
	version int
	objects map[string]map[string]metav1.Object // by resource and name
	log     []change
	changed chan struct{} // closed by the next change
	away    bool
	tries   map[string]int // patches of a Service's status
	events  []string
	// pools is when the status of each pool was written.
	pools map[string][]time.Time
}

type change struct {
	resource, kind string
	object         []byte
}

var kinds = map[string]schema.GroupVersionKind{
	"services":       corev1.SchemeGroupVersion.WithKind("Service"),
	"namespaces":     corev1.SchemeGroupVersion.WithKind("Namespace"),
	"ipaddresspools": v1beta1.GroupVersion.WithKind("IPAddressPool"),
}

func newAPIServer(t *testing.T) *apiServer {
	a := &apiServer{t: t, changed: make(chan struct{}), tries: map[string]int{}, pools: map[string][]time.Time{}, objects: map[string]map[string]metav1.Object{
		"services": {}, "namespaces": {}, "ipaddresspools": {},
	}}
	a.put("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	return a
}

// put creates or updates an object, as a user does.
func (a *apiServer) put(resource string, o metav1.Object) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.book(resource, o)
}

func (a *apiServer) book(resource string, o metav1.Object) {
	kind := "MODIFIED"
	if a.objects[resource][o.GetName()] == nil {
		kind = "ADDED"
	}
	a.version++
	o.SetResourceVersion(strconv.Itoa(a.version))
	o.(runtime.Object).GetObjectKind().SetGroupVersionKind(kinds[resource])
	a.objects[resource][o.GetName()] = o
	a.record(resource, kind, o)
}

func (a *apiServer) delete(resource, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	o := a.objects[resource][name]
	delete(a.objects[resource], name)
	o.SetResourceVersion(strconv.Itoa(a.version))
	a.record(resource, "DELETED", o)
}

func (a *apiServer) record(resource, kind string, o metav1.Object) {
	raw, err := json.Marshal(o)
	if err != nil {
		a.t.Error(err)
	}
	a.log = append(a.log, change{resource, kind, raw})
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *apiServer) service(name string) *corev1.Service {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.objects["services"][name].(*corev1.Service).DeepCopy()
}

// goAway breaks the watches, and refuses connections until it is back.
func (a *apiServer) goAway(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
	close(a.changed)
	a.changed = make(chan struct{})
}

// RoundTrip implements [http.RoundTripper].
func (a *apiServer) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	away := a.away
	a.mu.Unlock()
	if away {
		return nil, syscall.ECONNREFUSED
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/status"):
		return a.patch(r, parts[len(parts)-3], parts[len(parts)-2])
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events"):
		return a.event(r)
	case q.Get("sendInitialEvents") == "true":
		return answer(r, apierrors.NewInvalid(schema.GroupKind{}, "watch", nil).ErrStatus)
	case q.Get("watch") == "true":
		return a.watch(r, parts[len(parts)-1], q.Get("resourceVersion"))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	resource := parts[len(parts)-1]
	items := []metav1.Object{}
	for _, o := range a.objects[resource] {
		items = append(items, o)
	}
	version, kind := kinds[resource].ToAPIVersionAndKind()
	return answer(r, map[string]any{"apiVersion": version, "kind": kind + "List", "metadata": map[string]any{"resourceVersion": strconv.Itoa(a.version)}, "items": items})
}

func answer(r *http.Request, body any) (*http.Response, error) {
	code := http.StatusOK
	if status, ok := body.(metav1.Status); ok {
		status.APIVersion, status.Kind = "v1", "Status"
		code, body = int(status.Code), status
	}
	raw, err := json.Marshal(body)
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(raw)),
	}, err
}

func (a *apiServer) patch(r *http.Request, resource, name string) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if resource == "services" {
		a.mu.Lock()
		a.tries[name]++
		a.mu.Unlock()
		if a.before != nil {
			if err := a.before(name); err != nil {
				return nil, err
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	gr := schema.GroupResource{Resource: resource}
	svc, ok := a.objects[resource][name].(*corev1.Service)
	if !ok {
		if pool := a.objects[resource][name]; pool != nil {
			a.pools[name] = append(a.pools[name], time.Now())
			return answer(r, pool)
		}
		return answer(r, apierrors.NewNotFound(gr, name).ErrStatus)
	}
	var of metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &of); err != nil {
		return nil, err
	}
	if of.ResourceVersion != svc.ResourceVersion || of.UID != svc.UID {
		return answer(r, apierrors.NewConflict(gr, name, nil).ErrStatus)
	}
	old, err := json.Marshal(svc)
	if err != nil {
		return nil, err
	}
	patched, err := strategicpatch.StrategicMergePatch(old, body, corev1.Service{})
	if err != nil {
		return nil, err
	}
	now := &corev1.Service{}
	if err := json.Unmarshal(patched, now); err != nil {
		return nil, err
	}
	a.book(resource, now)
	return answer(r, now)
}

func (a *apiServer) watch(r *http.Request, resource, from string) (*http.Response, error) {
	next, err := strconv.Atoi(from)
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	go func() {
		stop := context.AfterFunc(r.Context(), func() { in.CloseWithError(r.Context().Err()) })
		defer stop()
		for {
			a.mu.Lock()
			away, changed, news := a.away, a.changed, a.log[next:]
			a.mu.Unlock()
			if away {
				in.CloseWithError(io.ErrUnexpectedEOF)
				return
			}
			for _, c := range news {
				next++
				if c.resource != resource {
					continue
				}
				if _, err := fmt.Fprintf(in, `{"type":%q,"object":%s}`, c.kind, c.object); err != nil {
					return
				}
			}
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			}
		}
	}()
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r, Body: out}, nil
}

func (a *apiServer) event(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var e eventsv1.Event
	if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, &e); err != nil { // it is protobuf
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.APIVersion, e.Kind = eventsv1.SchemeGroupVersion.String(), "Event"
	a.events = append(a.events, e.Regarding.Name+" "+e.Reason+": "+e.Note)
	return answer(r, e)
}

// term is a controller that leads.
func (a *apiServer) term() *Term {
	ours := runtime.NewScheme()
	if err := v1beta1.AddToScheme(ours); err != nil {
		a.t.Fatal(err)
	}
	config := &rest.Config{Host: "http://api.example", QPS: -1, Transport: a}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		a.t.Fatal(err)
	}
	pools, err := apiutil.RESTClientForGVK(v1beta1.GroupVersion.WithKind("IPAddressPool"), false, false,
		config, serializer.NewCodecFactory(ours), &http.Client{Transport: a})
	if err != nil {
		a.t.Fatal(err)
	}
	return &Term{Kubernetes: client, Pools: pools, Namespace: "porchlight-system", Log: slog.New(slog.DiscardHandler)}
}

// lead starts a term; the function ends it, and waits for that.
func (a *apiServer) lead() context.CancelFunc {
	return a.leadWith(a.term(), newLease(true))
}

func (a *apiServer) leadWith(term *Term, lease Lease) context.CancelFunc {
	ctx, cancel := context.WithCancel(a.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := term.Run(ctx, lease); err != nil {
			a.t.Error(err)
		}
	}()
	return func() { cancel(); <-done }
}

// lease is a Lease as the test will have it.
type lease struct {
	mu    sync.Mutex
	held  bool
	taken chan struct{} // closed when it is held
}

func newLease(held bool) *lease {
	l := &lease{taken: make(chan struct{})}
	l.set(held)
	return l
}

func (l *lease) set(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case held && !l.held:
		close(l.taken)
	case !held && l.held:
		l.taken = make(chan struct{})
	}
	l.held = held
}

func (l *lease) Holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

func (l *lease) Await(ctx context.Context) error {
	l.mu.Lock()
	taken := l.taken
	l.mu.Unlock()
	select {
	case <-taken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// addresses are those of all Services; none may be without, and no two may have
// one.
func (a *apiServer) addresses() map[string]string {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	of, by := map[string]string{}, map[string]string{}
	for name, o := range a.objects["services"] {
		in := o.(*corev1.Service).Status.LoadBalancer.Ingress
		if len(in) != 1 {
			a.t.Errorf("%s has %v", name, in)
			continue
		}
		if other, twice := by[in[0].IP]; twice {
			a.t.Errorf("%s and %s have %s", name, other, in[0].IP)
		}
		of[name], by[in[0].IP] = in[0].IP, name
	}
	return of
}
