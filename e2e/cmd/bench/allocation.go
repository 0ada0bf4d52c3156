package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// writers is how many Services are created at a time.
const writers = 16

// allocation measures how long a burst of Services takes to get its addresses,
// against a bare client that creates them and patches each one's status.
func allocation(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	pool := &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "bench"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"198.18.0.0/16"}, AutoAssign: new(bool)},
	}
	if err := c.Create(ctx, pool); err != nil {
		return nil, fmt.Errorf("making the pool: %w", err)
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), pool) }() // the lab is thrown away
	var rows []row
	for _, n := range set.services {
		var ratios samples
		for range 3 {
			floor, err := burst(ctx, c, n, false)
			if err != nil {
				return nil, fmt.Errorf("the floor of %d Services: %w", n, err)
			}
			ours, err := burst(ctx, c, n, true)
			if err != nil {
				return nil, fmt.Errorf("a burst of %d Services: %w", n, err)
			}
			fmt.Printf("  burst of %d: floor %v, ours %v\n", n, floor.Round(time.Millisecond), ours.Round(time.Millisecond))
			ratios = append(ratios, ours.Seconds()/floor.Seconds())
		}
		rows = append(rows, newRow(fmt.Sprintf("burst of %d Services gets addresses", n), "× floor", ratios,
			ratios.quantile(0.5), "create + patch by a bare client; MetalLB 2.8 × at 1,000", 1.1))
	}
	return rows, nil
}

// burst creates n Services and returns the time from the first creation until
// all have an address. Where they are not ours, a bare client patches each
// one's status itself.
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
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*50*time.Millisecond)
	defer cancel()
	w, err := c.Watch(ctx, &corev1.ServiceList{}, client.InNamespace(ns.Name))
	if err != nil {
		return 0, err
	}
	defer w.Stop()

	began := time.Now()
	create := make(chan int)
	g, gctx := errgroup.WithContext(ctx)
	for range writers {
		g.Go(func() error {
			for i := range create {
				s := &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: fmt.Sprintf("s%d", i)},
					Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
				}
				s.Spec.AllocateLoadBalancerNodePorts = new(bool)
				if ours {
					s.Annotations = map[string]string{"porchlight.dev/address-pool": "bench"}
				} else {
					class := "example.com/nobody"
					s.Spec.LoadBalancerClass = &class
				}
				if err := c.Create(gctx, s); err != nil {
					return err
				}
				if ours {
					continue
				}
				patch, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{
					"ingress": []map[string]any{{"ip": fmt.Sprintf("198.19.%d.%d", i/256%256, i%256), "ipMode": "VIP"}},
				}}})
				if err != nil {
					return err
				}
				if err := c.Status().Patch(gctx, s, client.RawPatch(types.MergePatchType, patch)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(create)
		for i := range n {
			select {
			case create <- i:
			case <-gctx.Done():
				return gctx.Err()
			}
		}
		return nil
	})
	served := map[string]bool{}
	g.Go(func() error {
		for e := range w.ResultChan() {
			if s, ok := e.Object.(*corev1.Service); ok && len(s.Status.LoadBalancer.Ingress) > 0 {
				served[s.Name] = true
			}
			if len(served) == n {
				return nil
			}
		}
		return fmt.Errorf("%d of %d Services have an address: %w", len(served), n, context.Cause(ctx))
	})
	err = g.Wait()
	return time.Since(began), err
}

// vanish deletes the namespace and waits until it is gone, so that no burst is
// measured while the one before it is cleared away.
func vanish(ctx context.Context, c *cluster.Cluster, ns *corev1.Namespace) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	w, err := c.Watch(ctx, &corev1.NamespaceList{}, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", ns.Name)})
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := c.Delete(ctx, ns); err != nil {
		return err
	}
	for e := range w.ResultChan() {
		if e.Type == watch.Deleted {
			return nil
		}
	}
	return fmt.Errorf("namespace %s does not go: %w", ns.Name, context.Cause(ctx))
}
