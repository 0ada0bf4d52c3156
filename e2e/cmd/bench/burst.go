package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	benchPool = "bench"
	// creators is how many Services are created at a time.
	creators = 16
	// patchers is how many the bare client patches at a time, on a connection of
	// its own: as many as the controller does.
	patchers = 32
)

// bursts measures bursts against the floor, in pairs of which the floor is
// first and last in turn.
func bursts(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	var rows []row
	for _, size := range set.bursts {
		var floors, all, ratios samples
		n := size.services
		for i := range size.pairs {
			var took [2]time.Duration // the floor, and ours
			for _, which := range []int{i % 2, 1 - i%2} {
				var err error
				if took[which], err = burst(ctx, c, n, which == 1); err != nil {
					return nil, fmt.Errorf("a burst of %d Services: %w", n, err)
				}
			}
			floor, ours := took[0], took[1]
			fmt.Printf("  burst of %d: floor %v, ours %v\n", n, floor.Round(time.Millisecond), ours.Round(time.Millisecond))
			floors, all = append(floors, floor.Seconds()), append(all, ours.Seconds())
			ratios = append(ratios, ours.Seconds()/floor.Seconds())
		}
		r := newRow(fmt.Sprintf("burst of %d Services gets addresses", n), "× floor, median", ratios, ratios.quantile(0.5),
			fmt.Sprintf("create + patch by a bare client: median %.2f s, ours %.2f s; MetalLB 2.8 × at 1,000", floors.quantile(0.5), all.quantile(0.5)), 1.1)
		r.Floor = floors
		rows = append(rows, r)
	}
	return rows, nil
}

// burst is serve in a namespace of its own, which is gone when it returns.
func burst(ctx context.Context, c *cluster.Cluster, n int, ours bool) (took time.Duration, err error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "burst-"}}
	if err := c.Create(ctx, ns); err != nil {
		return 0, err
	}
	defer func() {
		if e := vanish(context.WithoutCancel(ctx), c, ns); err == nil {
			err = e
		}
	}()
	return serve(ctx, c, ns.Name, "s", n, ours)
}

// bareClient is a client as the controller has it, on a connection of its own.
func bareClient(c *cluster.Cluster) (typedcorev1.CoreV1Interface, error) {
	config := rest.CopyConfig(c.Config)
	config.QPS, config.ContentType = -1, runtime.ContentTypeProtobuf
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("bare client: %w", err)
	}
	return k.CoreV1(), nil
}

// newService is a Service of the bench's pool, or of a class that nobody
// serves.
func newService(name string, ours bool) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"porchlight.dev/address-pool": benchPool}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}, AllocateLoadBalancerNodePorts: new(bool),
		},
	}
	if !ours {
		class := "example.com/nobody"
		s.Spec.LoadBalancerClass = &class
	}
	return s
}

// barePatch is what the controller would write to the Service, the i-th.
func barePatch(s *corev1.Service, i int) ([]byte, error) {
	ip := fmt.Sprintf("198.19.%d.%d", i>>8&255, i&255)
	return json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": s.UID, "resourceVersion": s.ResourceVersion,
			"annotations": map[string]any{"porchlight.dev/ip-allocated-from-pool": benchPool},
		},
		"status": map[string]any{
			"conditions": []any{map[string]any{
				"type": "porchlight.dev/Allocated", "status": "True", "reason": "Allocated", "message": ip + " from pool " + benchPool,
				"lastTransitionTime": metav1.NewTime(time.Now().Truncate(time.Second)),
			}},
			"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": ip, "ipMode": "VIP"}}},
		},
	})
}

// serve creates n Services and returns the time from the first creation until
// all have an address. Where they are not ours, a bare client patches the
// status of each as soon as it is created.
func serve(ctx context.Context, c *cluster.Cluster, ns, prefix string, n int, ours bool) (took time.Duration, err error) {
	creating, err := bareClient(c)
	if err != nil {
		return 0, err
	}
	patching, err := bareClient(c)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*50*time.Millisecond)
	defer cancel()
	changes, err := c.Follow(ctx, &corev1.ServiceList{}, client.InNamespace(ns), client.MatchingLabels{"burst": prefix})
	if err != nil {
		return 0, err
	}

	type numbered struct {
		*corev1.Service
		i int
	}
	began := time.Now()
	numbers, created := make(chan int, n), make(chan numbered, n)
	for i := range n {
		numbers <- i
	}
	close(numbers)
	g, gctx := errgroup.WithContext(ctx)
	var creations sync.WaitGroup
	for range creators {
		creations.Add(1)
		g.Go(func() error {
			defer creations.Done()
			for i := range numbers {
				s := newService(fmt.Sprintf("%s-%d", prefix, i), ours)
				s.Labels = map[string]string{"burst": prefix}
				s, err := creating.Services(ns).Create(gctx, s, metav1.CreateOptions{})
				if err != nil {
					return err
				}
				created <- numbered{s, i}
			}
			return nil
		})
	}
	go func() { creations.Wait(); close(created) }()
	if !ours {
		for range patchers {
			g.Go(func() error {
				for s := range created {
					patch, err := barePatch(s.Service, s.i)
					if err != nil {
						return err
					}
					if _, err := patching.Services(ns).Patch(gctx, s.Name, types.StrategicMergePatchType, patch,
						metav1.PatchOptions{FieldManager: "bench"}, "status"); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	served := map[string]bool{}
	g.Go(func() error {
		for e := range changes {
			if s, ok := e.Object.(*corev1.Service); ok && len(s.Status.LoadBalancer.Ingress) > 0 {
				served[s.Name] = true
			}
			if len(served) == n {
				took = time.Since(began)
				return nil
			}
		}
		return fmt.Errorf("%d of %d Services have an address: %w", len(served), n, context.Cause(ctx))
	})
	err = g.Wait()
	return took, err
}

func named(name string) client.ListOption {
	return client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)}
}

// vanish deletes the namespace and waits until it is gone, so that no burst is
// measured while the one before it is cleared away. It deletes the Services
// itself, several at a time: the API server takes one after the other.
func vanish(ctx context.Context, c *cluster.Cluster, ns *corev1.Namespace) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	bare, err := bareClient(c)
	if err != nil {
		return err
	}
	var services corev1.ServiceList
	if err := c.List(ctx, &services, client.InNamespace(ns.Name)); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(creators)
	for _, s := range services.Items {
		g.Go(func() error { return bare.Services(ns.Name).Delete(gctx, s.Name, metav1.DeleteOptions{}) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("deleting the Services of namespace %s: %w", ns.Name, err)
	}
	changes, err := c.Follow(ctx, &corev1.NamespaceList{}, named(ns.Name))
	if err != nil {
		return err
	}
	if err := c.Delete(ctx, ns); err != nil {
		return err
	}
	for e := range changes {
		if e.Type == watch.Deleted {
			return nil
		}
	}
	return fmt.Errorf("namespace %s does not go: %w", ns.Name, context.Cause(ctx))
}
