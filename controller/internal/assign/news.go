package assign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/reason"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Events tell people what happened, and nobody waits for them: they go out one
// each eventPause while nothing else is written. Otherwise there is busyPause
// after each or, where the API server is slow, busyShare times as long as that
// one took, but longestWay at most, so that they take little of its time. Of a Service that changes
// meanwhile, the last is told; where more than mostNews are waiting, new ones
// are dropped, since the condition says the same.
const (
	eventPause = 10 * time.Millisecond
	busyPause  = time.Second
	busyShare  = 30
	longestWay = 10 * time.Second
	// failedPause is before an event is sent again.
	failedPause = time.Second
	mostNews    = 20_000
)

// longestNote is the most bytes that the API takes in an event.
const longestNote = 1024

type newsItem struct {
	uid     types.UID
	reason  reason.Reason
	message string
}

// news is the events still to be sent, in the order in which the Services
// first had something to tell.
type news struct {
	// send creates the event. The recorders of client-go do not serve: they take
	// two events of one Service with one reason for the same, and drop what the
	// second says.
	send func(context.Context, *eventsv1.Event) error
	// await returns once there may be writes, or with an error when ctx ends.
	await    func(context.Context) error
	busy     func() bool
	instance string // who tells: this replica
	log      *slog.Logger

	mu    sync.Mutex
	order []allocator.Key
	items map[allocator.Key]newsItem
}

func newNews(send func(context.Context, *eventsv1.Event) error, busy func() bool, instance string, log *slog.Logger) *news {
	return &news{send: send, busy: busy, instance: instance, log: log, items: map[allocator.Key]newsItem{}}
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

// forget drops what was to be told of a Service that is gone.
func (n *news) forget(k allocator.Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.items, k)
}

func (n *news) next() (allocator.Key, newsItem, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.order) > 0 {
		k := n.order[0]
		n.order = n.order[1:]
		if item, waiting := n.items[k]; waiting {
			delete(n.items, k)
			return k, item, true
		}
	}
	return allocator.Key{}, newsItem{}, false
}

// again puts back what could not be sent, unless there is something newer.
func (n *news) again(k allocator.Key, item newsItem) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, newer := n.items[k]; !newer {
		n.order = append([]allocator.Key{k}, n.order...)
		n.items[k] = item
	}
}

// run sends until ctx ends.
func (n *news) run(ctx context.Context) {
	tick := time.NewTicker(eventPause)
	defer tick.Stop()
	var next, makeWay time.Time // not before; not before while busy
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Before(next) || now.Before(makeWay) && n.busy() {
				continue
			}
			if n.await(ctx) != nil {
				return
			}
			k, item, ok := n.next()
			if !ok {
				continue
			}
			began := time.Now()
			err := n.send(ctx, n.event(k, item, began))
			sent := time.Now()
			makeWay = sent.Add(min(max(busyPause, busyShare*sent.Sub(began)), longestWay))
			switch {
			case ctx.Err() != nil:
			case errors.Is(err, errDoubt):
				n.again(k, item)
			case isTransient(err):
				n.log.Warn("telling of a Service", "service", k.String(), "error", err)
				n.again(k, item)
				next = sent.Add(failedPause)
			}
		}
	}
}

// isTransient says whether the same event may be taken later: not when the API
// server refuses it, as it does in a namespace that is being deleted.
func isTransient(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return err != nil
	}
	code := status.Status().Code
	return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
}

func (n *news) event(k allocator.Key, item newsItem, now time.Time) *eventsv1.Event {
	kind := corev1.EventTypeWarning
	if item.reason == reason.Allocated {
		kind = corev1.EventTypeNormal
	}
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: k.Namespace, Name: fmt.Sprintf("%s.%x", k.Name, now.UnixNano())},
		EventTime:           metav1.NewMicroTime(now),
		ReportingController: fieldManager,
		ReportingInstance:   n.instance,
		Type:                kind,
		Reason:              string(item.reason),
		Action:              "Allocate",
		Regarding: corev1.ObjectReference{
			APIVersion: "v1", Kind: "Service", Namespace: k.Namespace, Name: k.Name, UID: item.uid,
		},
		Note: strings.ToValidUTF8(item.message[:min(len(item.message), longestNote)], ""),
	}
}
