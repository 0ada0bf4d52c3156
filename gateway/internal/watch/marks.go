package watch

import (
	"maps"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// effect is how far an event reaches.
type effect int

const (
	// writes: what is written is to be compared again.
	writes effect = iota
	// translates: translation depends on it.
	translates
)

// marks are what events have touched since they were taken. They are safe for
// concurrent use.
type marks struct {
	mu        sync.Mutex
	effect    effect
	any       bool
	endpoints map[types.NamespacedName]struct{} // Services
	wake      chan struct{}
}

func newMarks() *marks {
	return &marks{endpoints: map[types.NamespacedName]struct{}{}, wake: make(chan struct{}, 1)}
}

func (m *marks) add(e effect) {
	m.mu.Lock()
	m.any, m.effect = true, max(m.effect, e)
	m.mu.Unlock()
	m.signal()
}

func (m *marks) addEndpoints(service types.NamespacedName) {
	m.mu.Lock()
	m.endpoints[service] = struct{}{}
	m.mu.Unlock()
	m.signal()
}

func (m *marks) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// taken is what marks held.
type taken struct {
	any       bool
	effect    effect
	endpoints map[types.NamespacedName]struct{}
}

func (m *marks) take() taken {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := taken{m.any, m.effect, maps.Clone(m.endpoints)}
	m.any, m.effect = false, writes
	clear(m.endpoints)
	return t
}

// marking marks every event of a kind; same says of two versions of an object
// that translation does not tell them apart.
func (m *marks) marking(e effect, same func(a, b client.Object) bool) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { m.add(e) },
		DeleteFunc: func(any) { m.add(e) },
		UpdateFunc: func(a, b any) {
			old, ok := a.(client.Object)
			if now, isObject := b.(client.Object); ok && isObject {
				switch {
				case old.GetResourceVersion() == now.GetResourceVersion():
					return
				case same != nil && same(old, now):
					m.add(writes)
					return
				}
			}
			m.add(e)
		},
	}
}

// markingEndpoints marks the Service of each EndpointSlice.
func (m *marks) markingEndpoints() toolscache.ResourceEventHandler {
	mark := func(o any) {
		if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			m.addEndpoints(serviceOf(s))
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: mark, DeleteFunc: mark,
		UpdateFunc: func(a, b any) { mark(a); mark(b) },
	}
}

func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// sameSpec says of two versions of an object whose status is a subresource
// that only the status differs.
func sameSpec(a, b client.Object) bool {
	return a.GetGeneration() == b.GetGeneration() && sameMeta(a, b)
}

// sameMeta says that of what translation reads nothing differs in the
// metadata.
func sameMeta(a, b client.Object) bool {
	return maps.Equal(a.GetLabels(), b.GetLabels()) && maps.Equal(a.GetAnnotations(), b.GetAnnotations()) &&
		a.GetDeletionTimestamp().Equal(b.GetDeletionTimestamp())
}
