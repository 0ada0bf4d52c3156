// Package manager sets up controller-runtime for the gateway: a cached client,
// leader election, and the program's tasks in its manager.
package manager

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/go-logr/logr"
	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/program"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Scheme knows the kinds of Kubernetes, ours, and those of Gateway API.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme, gwv1.Install} {
		utilruntime.Must(add(s))
	}
	return s
}

// New makes the manager that the program's tasks run in. The caller fills in
// what differs in opts: cache, leader election.
func New(o *program.Options, log *slog.Logger, opts manager.Options) (manager.Manager, error) {
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	cfg, err := program.Cluster()
	if err != nil {
		return nil, err
	}
	opts.Scheme = Scheme()
	opts.Metrics = metricsserver.Options{BindAddress: o.MetricsAddress}
	opts.HealthProbeBindAddress = o.HealthAddress
	opts.PprofBindAddress = o.PprofAddress()
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

// Add has mgr run the task, on the leader alone or everywhere, and makes the
// program's readiness depend on it where it runs everywhere.
func Add(mgr manager.Manager, t program.Task, leaderOnly bool) error {
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
	program.Task
	leaderOnly bool
}

// Start implements manager.Runnable.
func (r runnable) Start(ctx context.Context) error {
	if err := r.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", r.Task, err)
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (r runnable) NeedLeaderElection() bool { return r.leaderOnly }
