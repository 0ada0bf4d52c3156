//go:build e2e

package allocation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ledger books, in the order of the API's versions, which Service of a
// namespace has which address. Each has one for life: an address of two, one
// that changes, and one that is taken away are wrong.
type ledger struct {
	mu      sync.Mutex
	holder  map[string]string // by address
	address map[string]string // by Service; of all that are there
	served  int
	wrong   []string
	changed chan struct{}
}

func newLedger() *ledger {
	return &ledger{holder: map[string]string{}, address: map[string]string{}, changed: make(chan struct{}, 1)}
}

// keepLedger books what happens in the namespace until the test ends.
func keepLedger(t *testing.T, c *cluster.Cluster, ns string) *ledger {
	t.Helper()
	changes, err := c.Follow(t.Context(), &corev1.ServiceList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	var followed sync.WaitGroup
	followed.Go(func() {
		for e := range changes {
			if s, is := e.Object.(*corev1.Service); is {
				l.book(s.Name, cluster.Addresses(s), e.Type == watch.Deleted)
			} else {
				t.Errorf("the watch says %v", e.Object)
			}
		}
	})
	t.Cleanup(followed.Wait)
	return l
}

func (l *ledger) book(name string, addresses []string, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	had, now := l.address[name], strings.Join(addresses, ",")
	if deleted {
		now = ""
		delete(l.address, name)
	} else {
		l.address[name] = now
	}
	if had != now {
		if had != "" {
			l.served--
			if l.holder[had] == name {
				delete(l.holder, had)
			}
			if !deleted {
				l.wrong = append(l.wrong, fmt.Sprintf("%s had %s and has %q", name, had, now))
			}
		}
		if now != "" {
			l.served++
			if other := l.holder[now]; other != "" {
				l.wrong = append(l.wrong, fmt.Sprintf("%s was given %s, which %s has", name, now, other))
			}
			l.holder[now] = name
		}
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// until waits until ok says yes of how many Services there are, and how many
// of them have an address. It fails the test as soon as something is wrong.
func (l *ledger) until(t *testing.T, what string, ok func(there, served int) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	for {
		l.check(t)
		l.mu.Lock()
		there, served := len(l.address), l.served
		l.mu.Unlock()
		if ok(there, served) {
			return
		}
		select {
		case <-l.changed:
		case <-ctx.Done():
			t.Fatalf("%s: waited %v; %d of %d Services have an address", what, cluster.Patience, served, there)
		}
	}
}

// check fails the test where something was wrong.
func (l *ledger) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wrong {
		t.Error(w)
	}
	if len(l.wrong) > 0 {
		t.FailNow()
	}
}

func TestLedger(t *testing.T) {
	l := newLedger()
	l.book("a", nil, false)
	l.book("a", []string{"1"}, false)
	l.book("a", []string{"1"}, false)
	l.book("b", []string{"2"}, false)
	l.book("b", []string{"2"}, true)
	l.book("c", []string{"2"}, false)
	l.check(t)
	l.book("d", []string{"1"}, false)
	l.book("c", []string{"3"}, false)
	l.book("c", nil, false)
	if len(l.wrong) != 3 {
		t.Errorf("wrong: %q; want an address of two, one that changed, and one that was taken away", l.wrong)
	}
}

// burst creates Services that ask for the pool, named by the prefix, with from
// <= number < to. What it returns waits until they are made.
func burst(t *testing.T, c *cluster.Cluster, ns, pool, prefix string, from, to int) (made func()) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(17) // 16 writers, and who feeds them
	g.Go(func() error {
		for i := from; i < to && ctx.Err() == nil; i++ {
			g.Go(func() error {
				return c.Create(ctx, &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: fmt.Sprintf("%s-%d", prefix, i), Labels: map[string]string{"burst": prefix},
						Annotations: map[string]string{"porchlight.dev/address-pool": pool}},
					Spec: corev1.ServiceSpec{
						Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(bool),
						Ports: []corev1.ServicePort{{Port: 80}},
					},
				})
			})
		}
		return nil
	})
	return func() {
		t.Helper()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
