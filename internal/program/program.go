// Package program is what the long-running programs have in common: flags,
// logging, the way to the API server, metrics, health, and tasks with one
// shutdown path. It belongs to the shells; no core may import it.
//
// It knows neither the kinds of Kubernetes nor controller-runtime, which would be
// twelve megabytes of memory on every node.
package program

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/porchlight-lb/porchlight/internal/version"
	"k8s.io/klog/v2"
)

// Options are the settings that every program has.
type Options struct {
	// Namespace of the installation: our own kinds, leases and secrets live
	// there.
	Namespace string
	// MetricsAddress serves Prometheus metrics; "0" serves none.
	MetricsAddress string
	// HealthAddress serves /healthz and /readyz.
	HealthAddress string
	// PprofPort serves profiles (net/http/pprof) on 127.0.0.1; 0 serves none.
	PprofPort uint
	// LogLevel is debug, info, warn or error.
	LogLevel string
}

// Bind defines the flags of the options on fs.
func (o *Options) Bind(fs *flag.FlagSet) {
	fs.StringVar(&o.Namespace, "namespace", envOr("POD_NAMESPACE", "porchlight-system"), "namespace of the installation")
	fs.StringVar(&o.MetricsAddress, "metrics-address", ":7472", "address of the metrics listener; 0 for none")
	fs.StringVar(&o.HealthAddress, "health-address", ":7473", "address of the health listener")
	fs.UintVar(&o.PprofPort, "pprof-port", 0, "port on 127.0.0.1 that serves profiles; 0 for none")
	fs.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
}

// PprofAddress is where profiles are served; "0" for nowhere. It is never
// reached from another host: a profile says much of what a program does.
func (o *Options) PprofAddress() string {
	if o.PprofPort == 0 {
		return "0"
	}
	return net.JoinHostPort("127.0.0.1", strconv.FormatUint(uint64(o.PprofPort), 10))
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Context ends at SIGTERM or SIGINT.
func Context() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
}

// Logger writes JSON lines to standard error, for us and for the libraries.
func (o *Options) Logger(name string) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", o.LogLevel)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	klog.SetLogger(logr.FromSlogHandler(log.Handler()))
	log = log.With("program", name)
	log.Info("starting", "version", version.Version)
	return log, nil
}

// Task is a long-running part of a program.
type Task interface {
	// String names the task, for logs and the readiness check.
	String() string
	// Run works until ctx ends, and then returns nil. Any other return stops
	// the program.
	Run(ctx context.Context) error
	// Ready is closed once the task does its work.
	Ready() <-chan struct{}
}
