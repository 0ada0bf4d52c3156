package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// admin stands in for the administration of an Envoy.
type admin struct {
	*httptest.Server
	connections atomic.Int64
	failed      atomic.Bool
	looks       chan struct{}
}

func newAdmin(t *testing.T, connections int64) *admin {
	a := &admin{looks: make(chan struct{}, 100)}
	a.connections.Store(connections)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /healthcheck/fail", func(http.ResponseWriter, *http.Request) { a.failed.Store(true) })
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "server.total_connections: %d\n", a.connections.Load())
		a.looks <- struct{}{}
	})
	a.Server = httptest.NewServer(mux)
	t.Cleanup(a.Close)
	return a
}

func (a *admin) drainer(leave, drain time.Duration) *Drainer {
	return New(a.URL, leave, drain, slog.New(slog.DiscardHandler))
}

// run drains in the background.
func run(t *testing.T, d *Drainer) <-chan struct{} {
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); <-done })
	go func() { d.Run(ctx); close(done) }()
	return done
}

func TestOver(t *testing.T) {
	const leave, drain = 5 * time.Second, 30 * time.Second
	for _, c := range []struct {
		elapsed     time.Duration
		connections int
		want        bool
	}{
		{0, 0, false},
		{leave - 1, 0, false},
		{leave, 0, true},
		{leave, 1, false},
		{leave, -1, false},
		{leave + drain - 1, 1, false},
		{leave + drain, 1, true},
		{leave + drain, -1, true},
	} {
		if got := over(c.elapsed, leave, drain, c.connections); got != c.want {
			t.Errorf("after %v with %d connections: %v, want %v", c.elapsed, c.connections, got, c.want)
		}
	}
}

// The clients are asked to go at once, and Envoy ends when they are gone.
func TestEndsWithTheLastConnection(t *testing.T) {
	a := newAdmin(t, 3)
	d := a.drainer(0, time.Hour)
	done := run(t, d)
	<-a.looks
	if !a.failed.Load() {
		t.Error("Envoy has not been asked to have its clients go")
	}
	select {
	case <-done:
		t.Fatal("drained although there are connections")
	default:
	}
	a.connections.Store(0)
	<-done
	if err := d.Wait(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestEndsWhenTheTimeIsOver(t *testing.T) {
	<-run(t, newAdmin(t, 3).drainer(0, 0))
}

func TestEndsWithEnvoy(t *testing.T) {
	a := newAdmin(t, 3)
	done := run(t, a.drainer(time.Hour, time.Hour))
	<-a.looks
	a.CloseClientConnections()
	a.Close()
	<-done
}

// Whoever asks whether Envoy may end begins nothing by that.
func TestAskingBeginsNothing(t *testing.T) {
	a := newAdmin(t, 0)
	d := a.drainer(0, 0)
	hook := httptest.NewServer(d.Handler(10 * time.Millisecond))
	t.Cleanup(hook.Close)
	get := func() int {
		resp, err := http.Get(hook.URL + "/drained")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if code := get(); code != http.StatusConflict || a.failed.Load() {
		t.Errorf("before the pod ends: %d, asked to fail: %v", code, a.failed.Load())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Wait(ctx); !errors.Is(err, ErrNotDraining) {
		t.Errorf("waited: %v", err)
	}
	<-run(t, d)
	if code := get(); code != http.StatusOK {
		t.Errorf("when drained: %d", code)
	}
}
