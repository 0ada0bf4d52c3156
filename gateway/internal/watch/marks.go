package watch

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/internal/names"
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
	services  map[types.NamespacedName]struct{} // Services that changed
	endpoints map[types.NamespacedName]struct{} // Services whose endpoints changed
	wake      chan struct{}
}

func newMarks() *marks {
	return &marks{
		services:  map[types.NamespacedName]struct{}{},
		endpoints: map[types.NamespacedName]struct{}{},
		wake:      make(chan struct{}, 1),
	}
}

func (m *marks) add(e effect) {
	m.mu.Lock()
	m.any, m.effect = true, max(m.effect, e)
	m.mu.Unlock()
	m.signal()
}

func (m *marks) addService(service types.NamespacedName) {
	m.mu.Lock()
	m.services[service] = struct{}{}
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
	services  map[types.NamespacedName]struct{}
	endpoints map[types.NamespacedName]struct{}
}

func (m *marks) take() taken {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := taken{m.any, m.effect, maps.Clone(m.services), maps.Clone(m.endpoints)}
	m.any, m.effect = false, writes
	clear(m.services)
	clear(m.endpoints)
	return t
}

// among returns what is left where only these Services concern translation:
// most Services of a cluster are behind no route.
func (t taken) among(concerned map[types.NamespacedName]struct{}) taken {
	for s := range t.services {
		if _, ok := concerned[s]; ok {
			t.any, t.effect = true, translates
		}
	}
	maps.DeleteFunc(t.endpoints, func(s types.NamespacedName, _ struct{}) bool {
		_, ok := concerned[s]
		return !ok
	})
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

// markingServices marks each Service that changes. Those that we made are
// written again, whatever becomes of their Gateways.
func (m *marks) markingServices() toolscache.ResourceEventHandler {
	mark := func(o any) {
		if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		s, ok := o.(*corev1.Service)
		switch {
		case !ok:
		case s.Labels[names.ManagedBy] == names.Porchlight:
			m.add(translates)
		default:
			m.addService(types.NamespacedName{Namespace: s.Namespace, Name: s.Name})
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: mark, DeleteFunc: mark,
		UpdateFunc: func(a, b any) { mark(a); mark(b) },
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
