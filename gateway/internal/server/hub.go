package server

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Observer is told what the streams learn. Its methods are called from the
// streams' goroutines and must not block.
type Observer interface {
	// Serves says which listeners the Envoy, by the name of its pod, serves
	// from now on.
	Serves(fleet types.NamespacedName, pod string, listeners []string)
	// Refused says that an Envoy of the fleet refused a resource.
	Refused(fleet types.NamespacedName, pod string, r ads.Refusal)
}

// Hub holds the newest snapshot of each fleet for the streams that send it.
// It is safe for concurrent use.
type Hub struct {
	mu     sync.Mutex
	fleets map[types.NamespacedName]*audience
}

// audience is a fleet's snapshot and the streams that want it.
type audience struct {
	set     resource.Set // nil until the first snapshot
	streams map[*stream]struct{}
}

// NewHub returns a hub without snapshots.
func NewHub() *Hub { return &Hub{fleets: map[types.NamespacedName]*audience{}} }

// Publish gives each fleet its snapshot, which must not be changed any more.
// A fleet that is not among them any more gets an empty one.
func (h *Hub) Publish(sets map[types.NamespacedName]resource.Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for fleet := range h.fleets {
		if _, ok := sets[fleet]; !ok {
			h.set(fleet, resource.Set{})
		}
	}
	for fleet, set := range sets {
		h.set(fleet, set)
	}
}

func (h *Hub) set(fleet types.NamespacedName, set resource.Set) {
	a := h.audience(fleet)
	a.set = set
	for s := range a.streams {
		select {
		case s.wake <- struct{}{}:
		default: // it will see this snapshot with the one it was woken for
		}
	}
}

func (h *Hub) audience(fleet types.NamespacedName) *audience {
	a := h.fleets[fleet]
	if a == nil {
		a = &audience{streams: map[*stream]struct{}{}}
		h.fleets[fleet] = a
	}
	return a
}

func (h *Hub) join(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.audience(s.fleet).streams[s] = struct{}{}
	s.wake <- struct{}{}
	connected.WithLabelValues(s.fleet.String()).Inc()
}

func (h *Hub) leave(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.audience(s.fleet).streams, s)
	connected.WithLabelValues(s.fleet.String()).Dec()
}

// snapshot returns the newest snapshot of the fleet; nil: there is none yet.
func (h *Hub) snapshot(fleet types.NamespacedName) resource.Set {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.audience(fleet).set
}

// Fleets returns the fleets that have a snapshot or a stream, sorted.
func (h *Hub) Fleets() []types.NamespacedName {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Keys(h.fleets), func(a, b types.NamespacedName) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
}
