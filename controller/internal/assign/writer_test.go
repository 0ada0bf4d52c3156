package assign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/reason"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var web = allocator.Key{Namespace: "x", Name: "web"}

// scene is a writer, with the answers that its writes get.
type scene struct {
	*writer
	sent  chan job
	reply chan error
	ok    chan job
}

func play(t *testing.T) *scene {
	s := &scene{newWriter(slog.New(slog.DiscardHandler)), make(chan job), make(chan error), make(chan job, 10)}
	s.write = func(ctx context.Context, _ allocator.Key, j job) (string, error) {
		select {
		case s.sent <- j:
			return j.seen.version + "+", <-s.reply
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	s.await = func(context.Context) error { return nil }
	s.done = func(j job) { s.ok <- j }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

func wanting(address, version string) job {
	return job{wish: wish{addresses: []string{address}}, seen: seen{version: version}}
}

func (s *scene) expect(t *testing.T, address, version string, reply error) {
	t.Helper()
	j := <-s.sent
	if !j.wish.equal(wish{addresses: []string{address}}) || j.seen.version != version {
		t.Errorf("sent %v for version %s, want %s for %s", j.wish.addresses, j.seen.version, address, version)
	}
	s.reply <- reply
}

// What was decided is logged once, with its reason, however often it had to be
// written.
func TestDecisionIsLogged(t *testing.T) {
	var lines bytes.Buffer
	w := newWriter(slog.New(slog.NewJSONHandler(&lines, nil)))
	failures := []error{apierrors.NewConflict(schema.GroupResource{Resource: "services"}, "web", nil), nil}
	w.write = func(_ context.Context, _ allocator.Key, j job) (string, error) {
		err := failures[0]
		failures = failures[1:]
		return j.seen.version + "+", err
	}
	w.await = func(context.Context) error { return nil }
	w.done = func(job) {}
	j := wanting("10.0.0.1", "1")
	j.wish.reason, j.wish.pools = reason.Allocated, "default"
	w.want(web, j)
	for len(failures) > 0 {
		w.next(t.Context())
	}
	var line struct {
		Level, Msg, Service, Reason, Pool string
		Addresses                         []string
	}
	if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, lines.String())
	}
	if line.Msg != "decided" || line.Service != "x/web" || line.Reason != "Allocated" || line.Pool != "default" || !slices.Equal(line.Addresses, []string{"10.0.0.1"}) {
		t.Errorf("the log says %s", lines.String())
	}
}

func TestFailedWriteIsRepeated(t *testing.T) {
	s := play(t)
	s.want(web, wanting("10.0.0.1", "1"))
	for range 3 {
		s.expect(t, "10.0.0.1", "1", errors.New("the API server is away"))
	}
	s.expect(t, "10.0.0.1", "1", nil)
	<-s.ok
	if n := len(s.jobs); n != 0 {
		t.Errorf("%d are waiting", n)
	}
}

func TestConflictIsRepeatedForTheNewVersion(t *testing.T) {
	s := play(t)
	s.want(web, wanting("10.0.0.1", "1"))
	j := <-s.sent
	s.want(web, wanting("10.0.0.1", "2")) // the watch is faster
	s.reply <- apierrors.NewConflict(schema.GroupResource{Resource: "services"}, "web", nil)
	if j.seen.version != "1" {
		t.Errorf("first for version %s", j.seen.version)
	}
	s.expect(t, "10.0.0.1", "2", nil)
	<-s.ok
}

// What is wanted while a write is on its way is written after it, for the
// version that it makes.
func TestChangedWishFollows(t *testing.T) {
	s := play(t)
	s.want(web, wanting("10.0.0.1", "1"))
	<-s.sent
	s.want(web, wanting("10.0.0.2", "1"))
	s.reply <- nil
	s.expect(t, "10.0.0.2", "1+", nil)
	<-s.ok
	<-s.ok
}

func TestServiceThatIsGone(t *testing.T) {
	s := play(t)
	s.want(web, wanting("10.0.0.1", "1"))
	s.expect(t, "10.0.0.1", "1", apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, "web"))
	other := allocator.Key{Namespace: "x", Name: "other"}
	s.want(other, wanting("10.0.0.2", "1"))
	s.expect(t, "10.0.0.2", "1", nil)
	<-s.ok
}

func TestPauses(t *testing.T) {
	p := &pauses{failures: map[allocator.Key]int{}, random: func() float64 { return 1 }}
	var got []time.Duration
	for range 12 {
		got = append(got, p.When(web)/time.Millisecond)
	}
	if want := []time.Duration{10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10000, 10000}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for range 100 {
		p.When(web)
	}
	if d := p.When(web); d != longestPause {
		t.Errorf("after 112 failures: %v", d)
	}
	p.Forget(web)
	p.random = func() float64 { return 0 }
	if d := p.When(web); d != shortestPause/2 {
		t.Errorf("at least: %v", d)
	}
}
