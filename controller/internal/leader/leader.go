// Package leader has one of several replicas work at a time, by a Lease.
//
// A leader that cannot renew the Lease writes nothing, and goes on with what it
// knows once it has renewed it, if nobody else held it meanwhile: then nobody
// else has written either. A term begins with reading everything, and an API
// server that is too busy to answer a renewal in time is not helped by that.
//
// A replica that sees that another one held the Lease ends its term and stands
// by again in the same process. It does not exit: that would end in the
// kubelet's crash back-off, which lasts longer than any outage worth the name.
//
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=porchlight-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=porchlight-system,resources=leases,resourceNames=porchlight-controller,verbs=get;update
package leader

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Lease is the name of the Lease.
const Lease = "porchlight-controller"

// The times of the Lease. A leader that was killed cannot give it back. A
// standby looks every 1 to 2.2 retry periods, so it sees the last renewal up to
// 0.33 s late, takes that for valid for the duration, and finds it expired up
// to 0.33 s late: 1.7 s at worst and 1.2 s on average, which leaves the rest of
// 2 s for reading the API. One second is the shortest duration that a Lease
// can express.
//
// So short a Lease often expires when the API server is slow. That costs a
// leader nothing but the time, unless a standby is faster to take it.
const (
	leaseDuration = time.Second
	renewDeadline = 750 * time.Millisecond
	retryPeriod   = 150 * time.Millisecond
	// actLimit is how long after a renewal a leader may begin to write. It leaves
	// a write time to arrive before anybody else may start.
	actLimit = renewDeadline
	// requestTimeout leaves time for a second request before the deadline.
	requestTimeout = 500 * time.Millisecond
	// repeatPause is how long the elector's log does not repeat a message.
	repeatPause = 30 * time.Second
)

// Election is a task that works while this replica holds the Lease.
type Election struct {
	Config    *rest.Config
	Namespace string
	// Term works until its context ends, and returns once all that it started
	// has ended. An error ends the term early: the Lease is given back, and
	// the replica stands again.
	//
	// Nothing may be written unless the Lease is held. It may not be for any
	// time in between; and a process that was frozen for longer than the Lease
	// goes on where it was, and would act for as long as it takes to find out
	// that another one leads.
	Term func(context.Context, *Held) error
	Log  *slog.Logger

	ready chan struct{}
}

// New is an election that has not started.
func New(config *rest.Config, namespace string, term func(context.Context, *Held) error, log *slog.Logger) *Election {
	return &Election{Config: config, Namespace: namespace, Term: term, Log: log, ready: make(chan struct{})}
}

func (e *Election) String() string { return "election" }

// Ready is closed once the replica stands for election: a standby is as ready
// as a leader.
func (e *Election) Ready() <-chan struct{} { return e.ready }

// Run stands for election, again and again, until ctx ends.
func (e *Election) Run(ctx context.Context) error {
	config := rest.CopyConfig(e.Config)
	config.Timeout = requestTimeout
	// A connection of its own: a renewal does not queue behind other writes.
	config.Dial = (&net.Dialer{Timeout: requestTimeout}).DialContext
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client of the lease: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("identity for the lease: %w", err)
	}
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, e.Namespace, Lease,
		client.CoreV1(), client.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())})
	if err != nil {
		return fmt.Errorf("lease %s/%s: %w", e.Namespace, Lease, err)
	}
	return e.campaign(ctx, lock)
}

// campaign is Run with a lock.
func (e *Election) campaign(ctx context.Context, lock resourcelock.Interface) error {
	close(e.ready)
	// The elector says several times a second that it cannot reach the API.
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(newSparse(e.Log.Handler(), repeatPause)))
	for ctx.Err() == nil {
		if err := e.stand(ctx, lock); err != nil {
			return err
		}
	}
	return nil
}

// stand waits for the Lease, works for one term, and gives the Lease back once
// the work has ended.
func (e *Election) stand(ctx context.Context, of resourcelock.Interface) error {
	t := term{ended: make(chan struct{})}
	holding, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	held := newHeld()
	lease := &lock{Interface: of, held: held, lost: resign}
	// While nobody works here, the end of ctx is the end of standing by;
	// otherwise the work ends first.
	stop := context.AfterFunc(ctx, func() {
		if t.abandon() {
			resign()
		}
	})
	defer stop()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          lease,
		Name:          Lease,
		LeaseDuration: leaseDuration,
		RenewDeadline: renewDeadline,
		RetryPeriod:   retryPeriod,
		// It would be given back where it could not be renewed.
		ReleaseOnCancel: false,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				if !t.begin() {
					return
				}
				defer close(t.ended)
				defer resign()
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				defer context.AfterFunc(holding, cancel)()
				e.Log.Info("leading")
				if err := e.Term(ctx, held); err != nil && ctx.Err() == nil {
					e.Log.Error("term failed", "error", err)
				}
				e.Log.Info("no longer leading")
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("lease %s: %w", Lease, err)
	}
	for {
		elector.Run(holding)
		if holding.Err() != nil {
			break
		}
		// The same term goes on with the next run, if that sees that it may.
		logr.FromContextAsSlogLogger(ctx).Warn("the lease was not renewed in time; nothing is written until it is")
	}
	if !t.abandon() {
		<-t.ended
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewDeadline)
	defer cancel()
	if err := lease.release(back); err != nil {
		e.Log.Info("the lease could not be given back", "error", err)
	}
	return nil
}

// term is whether the work of a term has begun, or may no longer begin: the
// elector starts it in a goroutine, and returns without waiting for that.
type term struct {
	mu               sync.Mutex
	begun, abandoned bool
	ended            chan struct{}
}

// begin is true once, unless the term was abandoned.
func (t *term) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun || t.abandoned {
		return false
	}
	t.begun = true
	return true
}

// abandon keeps the work from beginning; false if it has begun.
func (t *term) abandon() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.abandoned = !t.begun
	return t.abandoned
}
