package watch

import (
	"context"
	"fmt"
	"iter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// kind is what of the API is followed, and what is made of it.
type kind[O interface {
	runtime.Object
	metav1.Object
}, S any] struct {
	client    rest.Interface
	resource  string
	namespace string // empty: all
	fields    string // selector
	labels    string // selector
	object    O

	// summarize returns what is kept of an object, or false for nothing.
	summarize func(O) (S, bool)
	// The others are called one at a time.
	set    func(types.NamespacedName, S)
	remove func(types.NamespacedName)
	// known are the names of what was set and not removed.
	known func() iter.Seq[types.NamespacedName]
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// put takes an object in.
func (k kind[O, S]) put(o O) {
	if is, kept := k.summarize(o); kept {
		k.set(nameOf(o), is)
	} else {
		k.remove(nameOf(o))
	}
}

// summary is an object as a mirror sees it: from the decoder on, nothing else
// of the object is in memory.
type summary[S any] struct {
	name types.NamespacedName
	kept bool
	is   S
}

// mirror is the store of a reflector. The store itself keeps nothing.
type mirror[O interface {
	runtime.Object
	metav1.Object
}, S any] struct {
	kind[O, S]
	synced chan struct{}
}

func (m *mirror[O, S]) summary(o any) summary[S] {
	switch o := o.(type) {
	case summary[S]:
		return o
	case O:
		is, kept := m.summarize(o)
		return summary[S]{nameOf(o), kept, is}
	}
	panic(fmt.Sprintf("a mirror of %T got %T", m.object, o))
}

// Transformer makes a list of thousands into summaries while it is read.
func (m *mirror[O, S]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return m.summary(o), nil }
}

func (m *mirror[O, S]) Add(o any) error {
	if s := m.summary(o); s.kept {
		m.set(s.name, s.is)
	} else {
		m.remove(s.name)
	}
	return nil
}

func (m *mirror[O, S]) Update(o any) error { return m.Add(o) }

func (m *mirror[O, S]) Delete(o any) error {
	m.remove(m.summary(o).name)
	return nil
}

func (m *mirror[O, S]) Resync() error { return nil }

// Replace is the first list, or a later one after a watch was away for too long.
func (m *mirror[O, S]) Replace(list []any, _ string) error {
	listed := make(map[types.NamespacedName]struct{}, len(list))
	for _, o := range list {
		s := m.summary(o)
		listed[s.name] = struct{}{}
		_ = m.Add(s)
	}
	var gone []types.NamespacedName
	for name := range m.known() {
		if _, ok := listed[name]; !ok {
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		m.remove(name)
	}
	select {
	case <-m.synced:
	default:
		close(m.synced)
	}
	return nil
}

// follow reflects the kind until ctx ends. It returns once the first list was
// taken in.
func follow[O interface {
	runtime.Object
	metav1.Object
}, S any](ctx context.Context, k kind[O, S]) error {
	m := &mirror[O, S]{kind: k, synced: make(chan struct{})}
	from := cache.NewFilteredListWatchFromClient(k.client, k.resource, k.namespace, func(o *metav1.ListOptions) {
		o.FieldSelector, o.LabelSelector = k.fields, k.labels
	})
	// The type, not the resource: a reflector without one would accept a Status.
	r := cache.NewReflectorWithOptions(from, k.object, m, cache.ReflectorOptions{Name: k.resource})
	go r.RunWithContext(ctx)
	select {
	case <-m.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("listing %s: %w", k.resource, context.Cause(ctx))
	}
}
