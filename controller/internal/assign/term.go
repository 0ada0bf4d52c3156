package assign

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/names"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	fieldManager = "porchlight-controller"
	// poolPause is the shortest time between two writes of one pool's status, and
	// how long it is until one that failed is tried again.
	poolPause = time.Second
	// requestTimeout ends a write that an API server does not answer.
	requestTimeout = 10 * time.Second
)

// Term is the work of the replica that leads.
type Term struct {
	// Kubernetes is a client for the kinds of Kubernetes, and Pools one for
	// ours.
	Kubernetes kubernetes.Interface
	Pools      rest.Interface
	// Instance is the name of this replica, for events.
	Instance  string
	Namespace string
	Class     names.Class
	Log       *slog.Logger

	lease Lease
}

// Lease is the right to write. It may be in doubt at any time and for any time;
// as long as the term does not end, nobody else has had it meanwhile.
type Lease interface {
	// Holds says whether nobody else can lead now.
	Holds() bool
	// Await returns once that is so, or with an error when ctx ends.
	Await(ctx context.Context) error
}

// errDoubt is why a write that was about to be made was not.
var errDoubt = errors.New("somebody else may lead")

// Run leads until ctx ends, and returns when all it started has ended. It writes
// nothing while somebody else may lead; what is due then waits.
func (t *Term) Run(ctx context.Context, lease Lease) error {
	t.lease = lease
	current.Store(&lease)
	defer resetMetrics()
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	o, w := newOwner(t.Class), newWriter(t.Log)
	n := newNews(t.sendEvent, w.busy, t.Instance, t.Log)
	w.await, n.await = lease.Await, lease.Await
	o.want, o.forget, o.tell, o.hush = w.want, w.forget, n.tell, n.forget
	w.write = t.writeService
	w.done = func(j job) { latency.Observe(time.Since(j.since).Seconds()) }

	inbox := make(chan func(), 1024)
	post := func(f func()) {
		select {
		case inbox <- f:
		case <-ctx.Done():
		}
	}
	core := t.Kubernetes.CoreV1().RESTClient()
	parts.Go(func() {
		follow(ctx, core, "services", "", &corev1.Service{},
			mirror[*corev1.Service]{post, o.setService, o.removeService, o.replaceServices})
	})
	parts.Go(func() {
		follow(ctx, core, "namespaces", "", &corev1.Namespace{},
			mirror[*corev1.Namespace]{post, o.setNamespace, o.removeNamespace, o.replaceNamespaces})
	})
	parts.Go(func() {
		follow(ctx, t.Pools, "ipaddresspools", t.Namespace, &v1beta1.IPAddressPool{},
			mirror[*v1beta1.IPAddressPool]{post, o.setPool, o.removePool, o.replacePools})
	})
	parts.Go(func() { w.run(ctx) })
	parts.Go(func() { n.run(ctx) })
	t.own(ctx, o, inbox)
	return nil
}

// own is the goroutine that owns the core.
func (t *Term) own(ctx context.Context, o *owner, inbox <-chan func()) {
	start := time.Now()
	states := make(chan map[string]poolWrite, 1)
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { t.writePools(ctx, states) })
	// What becomes of pools is reported at once, unless something was within the
	// last poolPause.
	var reported time.Time
	due := time.NewTimer(0)
	due.Stop()
	defer due.Stop()
	scheduled, began := false, false
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-inbox:
			f()
			if !began && o.ready() {
				began = true
				t.Log.Info("adopted", "services", len(o.accounts), "pools", len(o.pools), "took", time.Since(start).String())
			}
			if !scheduled && began && o.core.PoolsTouched() {
				scheduled = true
				due.Reset(max(0, poolPause-time.Since(reported)))
			}
		case <-due.C:
			scheduled, reported = false, time.Now()
			t.reportPools(o, states)
		}
	}
}

// poolWrite is a pool's state to be written.
type poolWrite struct {
	state allocator.PoolState
	poolAccount
}

// reportPools hands the states that changed to the one who writes them. What
// that one did not get to yet is replaced by what is newer.
func (t *Term) reportPools(o *owner, states chan map[string]poolWrite) {
	var todo map[string]poolWrite
	select {
	case todo = <-states:
	default:
		todo = map[string]poolWrite{}
	}
	for _, st := range o.core.PoolChanges() {
		measurePool(st)
		todo[st.Name] = poolWrite{st, o.pools[st.Name]}
	}
	if len(todo) > 0 {
		states <- todo
	}
}

// writePools writes the states of pools, and tries again what failed unless
// there is something newer.
func (t *Term) writePools(ctx context.Context, states <-chan map[string]poolWrite) {
	todo := map[string]poolWrite{}
	retry := time.NewTicker(poolPause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case newer := <-states:
			maps.Copy(todo, newer)
		case <-retry.C:
		}
		for name := range todo {
			if t.lease.Await(ctx) != nil {
				return
			}
			if len(states) > 0 {
				break // this one may be among what is newer
			}
			err := t.writePool(ctx, todo[name])
			switch {
			case ctx.Err() != nil:
				return
			case err == nil, apierrors.IsNotFound(err):
				delete(todo, name)
			case !errors.Is(err, errDoubt):
				t.Log.Warn("writing the status of a pool", "pool", name, "error", err)
			}
		}
	}
}

func (t *Term) writePool(ctx context.Context, p poolWrite) error {
	patch, err := poolPatch(p.state, t.Namespace, p.conditions, p.generation, time.Now())
	if err != nil {
		return err
	}
	if !t.lease.Holds() {
		return errDoubt
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return t.Pools.Patch(types.ApplyPatchType).Resource("ipaddresspools").Namespace(t.Namespace).Name(p.state.Name).
		SubResource("status").Param("fieldManager", fieldManager).Param("force", "true").Body(patch).Do(ctx).Error()
}

func (t *Term) writeService(ctx context.Context, k allocator.Key, j job) (string, error) {
	patch, err := j.wish.patch(j.seen, time.Now())
	if err != nil {
		return "", err
	}
	if !t.lease.Holds() {
		return "", errDoubt
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	svc, err := t.Kubernetes.CoreV1().Services(k.Namespace).Patch(ctx, k.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if err != nil {
		return "", err
	}
	return svc.ResourceVersion, nil
}

func (t *Term) sendEvent(ctx context.Context, e *eventsv1.Event) error {
	if !t.lease.Holds() {
		return errDoubt
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := t.Kubernetes.EventsV1().Events(e.Namespace).Create(ctx, e, metav1.CreateOptions{FieldManager: fieldManager})
	return err
}
