package assign

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/reason"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// sending runs a news whose events are received, and answered, by the test.
func sending(t *testing.T) (n *news, sent chan *eventsv1.Event, answer chan error) {
	sent, answer = make(chan *eventsv1.Event), make(chan error)
	n = newNews(func(ctx context.Context, e *eventsv1.Event) error {
		select {
		case sent <- e:
			return <-answer
		case <-ctx.Done():
			return ctx.Err()
		}
	}, func() bool { return false }, "pod", slog.New(slog.DiscardHandler))
	n.await = func(context.Context) error { return nil }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); n.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return n, sent, answer
}

// Two events of one Service with one reason are two events: what the second
// says is news.
func TestNewsOfOneReasonAreTwoEvents(t *testing.T) {
	n, sent, answer := sending(t)
	var notes, names []string
	for _, note := range []string{"10.0.0.1 from pool p", "10.0.0.2 from pool q"} {
		n.tell(web, newsItem{"uid", reason.Allocated, note})
		e := <-sent
		answer <- nil
		notes, names = append(notes, e.Note), append(names, e.Name)
		if e.Type != "Normal" || e.Reason != "Allocated" || e.Namespace != "x" || e.Regarding.Name != "web" || e.Regarding.UID != "uid" {
			t.Errorf("sent %+v", e)
		}
	}
	if !slices.Equal(notes, []string{"10.0.0.1 from pool p", "10.0.0.2 from pool q"}) || names[0] == names[1] {
		t.Errorf("sent %q under the names %q", notes, names)
	}
}

// What the API server could not take is sent again, what it refused is not.
func TestNewsThatFail(t *testing.T) {
	n, sent, answer := sending(t)
	n.tell(web, newsItem{"uid", reason.NoPool, strings.Repeat("ä", longestNote)})
	if e := <-sent; e.Type != "Warning" || len(e.Note) > longestNote || strings.Trim(e.Note, "ä") != "" {
		t.Errorf("sent %+v", e)
	}
	answer <- errors.New("connection refused")
	<-sent
	answer <- apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "web", errors.New("the namespace is going"))
	n.tell(web, newsItem{"uid", reason.PoolExhausted, "full"})
	if e := <-sent; e.Reason != "PoolExhausted" {
		t.Errorf("sent %+v; what was refused is not sent again", e)
	}
	answer <- nil
}

// Of a Service that is gone, nothing is told any more; of one that comes after
// it under its name, what is new.
func TestNewsOfServicesThatAreGone(t *testing.T) {
	n := newNews(nil, nil, "pod", slog.New(slog.DiscardHandler))
	other := allocator.Key{Namespace: "x", Name: "other"}
	n.tell(web, newsItem{"old", reason.Allocated, "m"})
	n.tell(other, newsItem{"uid", reason.Allocated, "m"})
	n.forget(web)
	n.tell(web, newsItem{"new", reason.Allocated, "m"})
	var told []string
	for k, item, more := n.next(); more; k, item, more = n.next() {
		told = append(told, k.Name+" "+string(item.uid))
	}
	if slices.Sort(told); !slices.Equal(told, []string{"other uid", "web new"}) {
		t.Errorf("told %q", told)
	}
}

// While Services are written, events take a small part of the API server's time,
// however slow it is; afterwards the rest goes out.
func TestNewsMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		busy.Store(true)
		sent := 0
		n := newNews(func(context.Context, *eventsv1.Event) error {
			time.Sleep(100 * time.Millisecond)
			sent++
			return nil
		}, busy.Load, "pod", slog.New(slog.DiscardHandler))
		n.await = func(context.Context) error { return nil }
		for i := range 100 {
			n.tell(allocator.Key{Namespace: "x", Name: strconv.Itoa(i)}, newsItem{"uid", reason.Allocated, "m"})
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); n.run(ctx) }()
		time.Sleep(31 * time.Second)
		if sent != 10 {
			t.Errorf("%d events of 0.1 s in 31 s; want 10", sent)
		}
		busy.Store(false)
		time.Sleep(12 * time.Second)
		if sent != 100 {
			t.Errorf("%d events of 100 were sent", sent)
		}
		cancel()
		<-ended
	})
}
