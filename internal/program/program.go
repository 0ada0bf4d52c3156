// Package program is what the long-running programs have in common: flags,
// logging, the controller-runtime manager, and tasks with one shutdown path.
// It belongs to the shells; no core may import it.
package program

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/version"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
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
	// LogLevel is debug, info, warn or error.
	LogLevel string
}

// Bind defines the flags of the options on fs.
func (o *Options) Bind(fs *flag.FlagSet) {
	fs.StringVar(&o.Namespace, "namespace", envOr("POD_NAMESPACE", "porchlight-system"), "namespace of the installation")
	fs.StringVar(&o.MetricsAddress, "metrics-address", ":7472", "address of the metrics listener; 0 for none")
	fs.StringVar(&o.HealthAddress, "health-address", ":7473", "address of the health listener")
	fs.StringVar(&o.LogLevel, "log-level", "info", "debug, info, warn or error")
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
	libraries := logr.FromSlogHandler(log.Handler())
	ctrl.SetLogger(libraries)
	klog.SetLogger(libraries)
	log = log.With("program", name)
	log.Info("starting", "version", version.Version)
	return log, nil
}

// Scheme knows the kinds of Kubernetes, ours, and what add brings.
func Scheme(add ...func(*runtime.Scheme) error) *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1beta1.AddToScheme(s))
	for _, f := range add {
		utilruntime.Must(f(s))
	}
	return s
}

// Manager makes the manager that the program's tasks run in. Its client is
// not throttled: the API server has priority and fairness for that. The
// caller fills in what differs in opts: scheme, cache, leader election.
func (o *Options) Manager(opts manager.Options) (manager.Manager, error) {
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("configuration of the Kubernetes client: %w", err)
	}
	cfg.QPS = -1
	cfg.UserAgent = "porchlight/" + version.Version
	opts.Metrics = metricsserver.Options{BindAddress: o.MetricsAddress}
	opts.HealthProbeBindAddress = o.HealthAddress
	if opts.LeaderElectionNamespace == "" {
		opts.LeaderElectionNamespace = o.Namespace
	}
	mgr, err := ctrl.NewManager(cfg, opts)
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, nil
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

// Add has mgr run the task, on the leader alone or everywhere, and makes the
// program's readiness depend on it where it runs everywhere.
func Add(mgr manager.Manager, t Task, leaderOnly bool) error {
	if !leaderOnly {
		check := func(*http.Request) error {
			select {
			case <-t.Ready():
				return nil
			default:
				return fmt.Errorf("%s is not ready", t)
			}
		}
		if err := mgr.AddReadyzCheck(t.String(), check); err != nil {
			return err
		}
	}
	return mgr.Add(runnable{t, leaderOnly})
}

type runnable struct {
	Task
	leaderOnly bool
}

func (r runnable) Start(ctx context.Context) error {
	if err := r.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", r.Task, err)
	}
	return nil
}

func (r runnable) NeedLeaderElection() bool { return r.leaderOnly }
