package watch

import (
	"fmt"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// change is an object as it is now, or as it was last.
type change struct {
	object client.Object
	there  bool
}

// objectKey names an object by its Go type.
type objectKey struct {
	kind string
	name types.NamespacedName
}

// queue is what events have changed since they were taken: the newest state of
// each object. It is safe for concurrent use.
type queue struct {
	mu      sync.Mutex
	changes map[objectKey]change
	wake    chan struct{}
}

func newQueue() *queue {
	return &queue{changes: map[objectKey]change{}, wake: make(chan struct{}, 1)}
}

func (q *queue) put(o any, there bool) {
	if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = d.Obj
	}
	object, ok := o.(client.Object)
	if !ok {
		return
	}
	q.mu.Lock()
	q.changes[objectKey{fmt.Sprintf("%T", o), client.ObjectKeyFromObject(object)}] = change{object, there}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (q *queue) take() []change {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]change, 0, len(q.changes))
	for _, c := range q.changes {
		out = append(out, c)
	}
	clear(q.changes)
	return out
}

// handler puts every event of a kind into the queue, but for updates of which
// nothing is read: same says of two versions of an object that they are
// equal to translation. Those are told to touched, as somebody may have changed
// what we wrote.
func (q *queue) handler(same func(a, b client.Object) bool, touched func(client.Object)) toolscache.ResourceEventHandler {
	touch := func(o any) {
		if object, ok := o.(client.Object); ok && touched != nil {
			touched(object)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { q.put(o, true); touch(o) },
		DeleteFunc: func(o any) { q.put(o, false) },
		UpdateFunc: func(a, b any) {
			old, was := a.(client.Object)
			now, is := b.(client.Object)
			if was && is && old.GetResourceVersion() == now.GetResourceVersion() {
				return
			}
			touch(b)
			if was && is && same != nil && same(old, now) {
				return
			}
			q.put(b, true)
		},
	}
}

// sameSpec says of two versions of an object whose status is a subresource
// that only the status differs.
func sameSpec(a, b client.Object) bool {
	return a.GetGeneration() == b.GetGeneration() && sameMeta(a, b)
}

// sameMeta says that of what translation reads nothing differs in the
// metadata.
func sameMeta(a, b client.Object) bool {
	return a.GetUID() == b.GetUID() && maps.Equal(a.GetLabels(), b.GetLabels()) && maps.Equal(a.GetAnnotations(), b.GetAnnotations()) &&
		a.GetDeletionTimestamp().Equal(b.GetDeletionTimestamp())
}
