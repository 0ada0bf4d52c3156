package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Run runs the tasks until ctx ends, or one of them fails, and all have ended.
// Meanwhile it serves their metrics, and their health: /healthz is that of the
// process, and /readyz that of the tasks; and profiles, if it is told where.
func (o *Options) Run(ctx context.Context, tasks ...Task) error {
	countAnswers(prometheus.DefaultRegisterer)
	return o.run(ctx, tasks...)
}

func (o *Options) run(ctx context.Context, tasks ...Task) error {
	metrics := http.NewServeMux()
	metrics.Handle("/metrics", promhttp.Handler())
	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
	for _, serve := range []struct {
		what, at string
		handler  http.Handler
	}{
		{"metrics", o.MetricsAddress, metrics},
		{"health", o.HealthAddress, health(tasks)},
		{"profiles", o.PprofAddress(), profiles},
	} {
		if serve.at == "0" {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", serve.at)
		if err != nil {
			return fmt.Errorf("listening for %s on %s: %w", serve.what, serve.at, err)
		}
		server := &http.Server{Handler: serve.handler, ReadHeaderTimeout: 10 * time.Second}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		// Until the tasks have ended: whoever watches sees them stop.
		defer func() { _ = server.Close(); <-served }()
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, t := range tasks {
		all.Go(func() error {
			switch err := t.Run(ctx); {
			case ctx.Err() != nil:
				return nil
			case err == nil:
				return fmt.Errorf("%s ended by itself", t)
			default:
				return fmt.Errorf("%s: %w", t, err)
			}
		})
	}
	return all.Wait()
}

// health answers for the process, and for tasks that are to be ready.
func health(tasks []Task) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n")) // whoever asked may be gone
	}
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		var waiting []error
		for _, t := range tasks {
			select {
			case <-t.Ready():
			default:
				waiting = append(waiting, fmt.Errorf("%s is not ready", t))
			}
		}
		answer(w, errors.Join(waiting...))
	})
	return mux
}
