// Package drain lets an Envoy end without failing a request. Envoy itself,
// told to end, closes every connection at once. This asks it over its
// administration to have its clients close theirs, and waits until none is
// left or the time is over.
package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// poll is the time between two looks at the connections.
	poll = 250 * time.Millisecond
	// patience is how long the administration may take to answer.
	patience = 2 * time.Second
)

// ErrNotDraining answers a wait for a drain that nobody has begun.
var ErrNotDraining = errors.New("not draining: the pod does not end")

// Drainer drains one Envoy, once. It is safe for concurrent use.
type Drainer struct {
	// Admin is the base URL of Envoy's administration.
	Admin string
	// Leave is how long Envoy takes new connections at the least, and Drain how
	// much longer those it has may go on.
	Leave, Drain time.Duration
	Log          *slog.Logger

	begin, end sync.Once
	begun      chan struct{}
	drained    chan struct{}
}

// New returns a drainer that waits for Run.
func New(admin string, leave, drain time.Duration, log *slog.Logger) *Drainer {
	return &Drainer{Admin: admin, Leave: leave, Drain: drain, Log: log, begun: make(chan struct{}), drained: make(chan struct{})}
}

// Run drains, and returns when Envoy may end. An end of ctx ends it early.
func (d *Drainer) Run(ctx context.Context) {
	defer d.end.Do(func() { close(d.drained) })
	d.begin.Do(func() { close(d.begun) })
	start := time.Now()
	asked := false
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if !asked {
			// Readiness fails from now on, and each response says that its
			// connection closes. New connections are still served.
			err := d.ask(ctx)
			asked = err == nil
			if errors.Is(err, syscall.ECONNREFUSED) {
				d.Log.Info("envoy is not there any more")
				return
			}
		}
		connections, err := d.connections(ctx)
		elapsed := time.Since(start)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			d.Log.Info("envoy has ended", "after", elapsed.String())
			return
		case err != nil:
			d.Log.Warn("the connections of Envoy are not known", "error", err)
			connections = -1
		}
		if over(elapsed, d.Leave, d.Drain, connections) {
			d.Log.Info("drained", "after", elapsed.String(), "connections", connections)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// over says whether Envoy may end. Connections below zero are not known.
func over(elapsed, leave, drain time.Duration, connections int) bool {
	return elapsed >= leave+drain || elapsed >= leave && connections == 0
}

// Wait returns when Envoy may end. Where nobody begins to drain before ctx
// ends it returns ErrNotDraining.
func (d *Drainer) Wait(ctx context.Context) error {
	select {
	case <-d.begun:
	case <-ctx.Done():
		return ErrNotDraining
	}
	<-d.drained
	return nil
}

// Handler answers /drained when Envoy may end. The kubelet asks it before it
// ends Envoy, at the same time as it tells this program that the pod ends; so
// a request cannot begin anything, and is refused unless the pod ends within
// grace.
func (d *Drainer) Handler(grace time.Duration) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /drained", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), grace)
		defer cancel()
		if err := d.Wait(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	return mux
}

func (d *Drainer) ask(ctx context.Context) error {
	_, err := d.send(ctx, http.MethodPost, "/healthcheck/fail")
	return err
}

// connections is the number of those that clients have to Envoy.
func (d *Drainer) connections(ctx context.Context) (int, error) {
	const gauge = "server.total_connections"
	text, err := d.send(ctx, http.MethodGet, "/stats?filter=^"+gauge+"$")
	if err != nil {
		return 0, err
	}
	_, value, _ := strings.Cut(text, ":")
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return 0, fmt.Errorf("reading %s from %q: %w", gauge, text, err)
	}
	return n, nil
}

func (d *Drainer) send(ctx context.Context, method, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.Admin+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s %s of Envoy's administration: %s: %w", method, path, resp.Status, err)
	}
	return string(body), nil
}
