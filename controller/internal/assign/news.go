package assign

import (
	"context"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/reason"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
)

// Events tell people what happened, and nobody waits for them: they go out one
// each eventPause while nothing else is written, and one each busyPause
// otherwise, so that they take little of the API server's time. Of a Service that changes meanwhile, the last is told; where
// more than mostNews are waiting, new ones are dropped, since the condition
// says the same.
const (
	eventPause = 10 * time.Millisecond
	busyPause  = 200 * time.Millisecond
	mostNews   = 20_000
)

// longestNote is the most bytes that the API takes in an event.
const longestNote = 1024

type newsItem struct {
	uid     types.UID
	reason  reason.Reason
	message string
}

// news is the events still to be recorded, in the order in which the Services
// first had something to tell.
type news struct {
	recorder events.EventRecorder
	busy     func() bool

	mu    sync.Mutex
	order []allocator.Key
	items map[allocator.Key]newsItem
}

func newNews(recorder events.EventRecorder, busy func() bool) *news {
	return &news{recorder: recorder, busy: busy, items: map[allocator.Key]newsItem{}}
}

func (n *news) tell(k allocator.Key, item newsItem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, waiting := n.items[k]; !waiting {
		if len(n.order) >= mostNews {
			return
		}
		n.order = append(n.order, k)
	}
	n.items[k] = item
}

func (n *news) next() (allocator.Key, newsItem, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.order) == 0 {
		return allocator.Key{}, newsItem{}, false
	}
	k := n.order[0]
	n.order = n.order[1:]
	item := n.items[k]
	delete(n.items, k)
	return k, item, true
}

// run records until ctx ends.
func (n *news) run(ctx context.Context) {
	tick := time.NewTicker(eventPause)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if n.busy() && now.Sub(last) < busyPause {
				continue
			}
			if k, item, ok := n.next(); ok {
				n.record(k, item)
				last = now
			}
		}
	}
}

func (n *news) record(k allocator.Key, item newsItem) {
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: k.Namespace, Name: k.Name, UID: item.uid}
	kind := corev1.EventTypeWarning
	if item.reason == reason.Allocated {
		kind = corev1.EventTypeNormal
	}
	n.recorder.Eventf(about, nil, kind, string(item.reason), "Allocate", "%s", item.message)
}
