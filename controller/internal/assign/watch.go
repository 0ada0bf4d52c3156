package assign

import (
	"context"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
)

// A watch that failed is tried again after a pause that doubles from
// shortestBlind to longestBlind, each pause up to half as long again. A term
// goes on after an API server was away: the half minute and more that client-go
// waits in the end would be added to every outage.
const (
	shortestBlind = 500 * time.Millisecond
	longestBlind  = 2 * time.Second
)

// mirror is the store of a reflector, and keeps nothing: it posts what it is
// told to the owner of the core. The first list is the start of the mirror's
// world; later lists, after a watch was broken for too long, replace it.
type mirror[T any] struct {
	post    func(func())
	set     func(T)
	remove  func(T)
	replace func([]T)
}

func (m mirror[T]) Add(o any) error    { m.post(func() { m.set(o.(T)) }); return nil }
func (m mirror[T]) Update(o any) error { return m.Add(o) }
func (m mirror[T]) Delete(o any) error { m.post(func() { m.remove(o.(T)) }); return nil }
func (m mirror[T]) Resync() error      { return nil }

func (m mirror[T]) Replace(list []any, _ string) error {
	all := make([]T, 0, len(list))
	for _, o := range list {
		all = append(all, o.(T))
	}
	m.post(func() { m.replace(all) })
	return nil
}

// Transformer drops what we do not read as soon as it is decoded. It is most of
// a Service, and a list of thousands is in memory at once.
func (m mirror[T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if object, err := meta.Accessor(o); err == nil {
			object.SetManagedFields(nil)
			delete(object.GetAnnotations(), corev1.LastAppliedConfigAnnotation)
		}
		return o, nil
	}
}

// follow has the mirror reflect a resource until ctx ends. An empty namespace
// is all of them.
func follow[T any](ctx context.Context, client cache.Getter, resource, namespace string, of runtime.Object, m mirror[T]) {
	from := cache.NewListWatchFromClient(client, resource, namespace, fields.Everything())
	list := from.ListWithContextFunc
	from.ListWithContextFunc = func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		// Where the server does not stream lists, a reflector would be content
		// with any state that some API server remembers. A new leader must see
		// what the former one wrote.
		if options.ResourceVersion == "0" {
			options.ResourceVersion = ""
		}
		return list(ctx, options)
	}
	cache.NewReflectorWithOptions(from, of, m, cache.ReflectorOptions{Name: resource, Backoff: &wait.Backoff{
		Duration: shortestBlind, Cap: longestBlind, Factor: 2, Steps: math.MaxInt, Jitter: 0.5,
	}}).RunWithContext(ctx)
}
