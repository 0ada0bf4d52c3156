package program

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// task runs until it is told its end.
type task struct {
	name  string
	ready chan struct{}
	end   chan error
}

func newTask(name string) *task { return &task{name, make(chan struct{}), make(chan error, 1)} }

func (t *task) String() string         { return t.name }
func (t *task) Ready() <-chan struct{} { return t.ready }
func (t *task) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-t.end:
		return err
	}
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestHealth(t *testing.T) {
	a, b := newTask("first"), newTask("second")
	at := "http://" + free(t)
	server := &http.Server{Addr: strings.TrimPrefix(at, "http://"), Handler: health([]Task{a, b})}
	l, err := net.Listen("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	close(a.ready)
	if code, body := get(t, at+"/readyz"); code != 503 || body != "second is not ready\n" {
		t.Errorf("one of two ready: %d %q", code, body)
	}
	if code, _ := get(t, at+"/healthz"); code != 200 {
		t.Errorf("alive, and not ready: %d", code)
	}
	close(b.ready)
	if code, _ := get(t, at+"/readyz"); code != 200 {
		t.Errorf("both ready: %d", code)
	}
}

// Tasks end together: by the context without an error, and otherwise with that
// of the one that ended.
func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(stop func(), a *task)
		want string
	}{
		"stopped":     {func(stop func(), _ *task) { stop() }, ""},
		"failed":      {func(_ func(), a *task) { a.end <- errors.New("no such device") }, "first: no such device"},
		"ended early": {func(_ func(), a *task) { a.end <- nil }, "first ended by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			a, b := newTask("first"), newTask("second")
			o := Options{MetricsAddress: "0", HealthAddress: "0"}
			ended := make(chan error, 1)
			go func() { ended <- o.run(ctx, a, b) }()
			tt.end(stop, a)
			got := ""
			if err := <-ended; err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("ended with %q, want %q", got, tt.want)
			}
		})
	}
}

// What cannot be listened on is said by its address.
func TestRunSaysWhereItCannotListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := Options{MetricsAddress: l.Addr().String(), HealthAddress: "0"}
	if err := o.run(t.Context(), newTask("first")); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
}

// Profiles are served where a port says so, to this host alone.
func TestProfiles(t *testing.T) {
	_, text, err := net.SplitHostPort(free(t))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	o := Options{MetricsAddress: "0", HealthAddress: "0", PprofPort: uint(port)}
	a := newTask("first")
	started := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx, announcing{a, started}) }()
	<-started // the listeners come first
	if code, body := get(t, "http://"+o.PprofAddress()+"/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %q", code, body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if host := (&Options{PprofPort: 6060}).PprofAddress(); host != "127.0.0.1:6060" {
		t.Error(host)
	}
	if none := new(Options).PprofAddress(); none != "0" {
		t.Error(none)
	}
}

// announcing tells when its task starts.
type announcing struct {
	*task
	started chan struct{}
}

func (s announcing) Run(ctx context.Context) error {
	close(s.started)
	return s.task.Run(ctx)
}
