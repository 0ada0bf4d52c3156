package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// speakerMemory is how much memory the speakers need when so many Services are
// announced, each before a backend on every node. kube-proxy is told to leave
// the Services alone: nobody sends to them, and it is not what is measured.
func speakerMemory(ctx context.Context, c *cluster.Cluster) (row, error) {
	const many = 4000
	pool := &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "many"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"198.18.0.0/16"}, AutoAssign: new(bool)},
	}
	advertisement := &v1beta1.L2Advertisement{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "many"},
		Spec:       v1beta1.L2AdvertisementSpec{IPAddressPools: []string{"many"}, Interfaces: []string{"eth0"}},
	}
	for _, o := range []client.Object{pool, advertisement} {
		if err := c.Create(ctx, o); err != nil {
			return row{}, fmt.Errorf("making %s: %w", o.GetName(), err)
		}
		defer func() { _ = c.Delete(context.WithoutCancel(ctx), o) }() // the lab is thrown away
	}
	ns, err := apply(ctx, c, cluster.Echo("DaemonSet", "echo"))
	if err != nil {
		return row{}, err
	}
	next := make(chan int)
	g, gctx := errgroup.WithContext(ctx)
	for range creators {
		g.Go(func() error {
			for i := range next {
				s := &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: ns.Name, Name: fmt.Sprintf("s%d", i),
						Labels:      map[string]string{"service.kubernetes.io/service-proxy-name": "none"},
						Annotations: map[string]string{"porchlight.dev/address-pool": "many"},
					},
					Spec: corev1.ServiceSpec{
						Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "echo"},
						Ports:                         []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(3000)}},
						AllocateLoadBalancerNodePorts: new(bool),
					},
				}
				if err := c.Create(gctx, s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(next)
		for i := range many {
			select {
			case next <- i:
			case <-gctx.Done():
				return gctx.Err()
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return row{}, fmt.Errorf("making %d Services: %w", many, err)
	}
	if err := allAnnounced(ctx, c, ns.Name, many); err != nil {
		return row{}, err
	}
	resident, err := residentMemory(ctx, c)
	if err != nil {
		return row{}, err
	}
	if err := vanish(ctx, c, ns); err != nil {
		return row{}, err
	}
	return newRow(fmt.Sprintf("memory of a speaker, %d Services", many), "MiB RSS, most", resident, resident.quantile(1),
		"three nodes, each Service with an address of a third and a backend on each; MetalLB 82 MiB", 50), nil
}

// allAnnounced waits until as many Services say that they are.
func allAnnounced(ctx context.Context, c *cluster.Cluster, namespace string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	w, err := c.Watch(ctx, &corev1.ServiceList{}, client.InNamespace(namespace))
	if err != nil {
		return fmt.Errorf("watching Services: %w", err)
	}
	defer w.Stop()
	announced := map[string]bool{}
	for e := range w.ResultChan() {
		if s, ok := e.Object.(*corev1.Service); ok && cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionTrue, "Announced") {
			announced[s.Name] = true
		}
		if len(announced) == n {
			return nil
		}
	}
	return fmt.Errorf("%d of %d Services are announced: %w", len(announced), n, context.Cause(ctx))
}

// residentMemory samples the memory of all speakers, in MiB, every second for
// half a minute.
func residentMemory(ctx context.Context, c *cluster.Cluster) (samples, error) {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return nil, err
	}
	var all samples
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range 30 {
		for _, n := range nodes.Items {
			bytes, err := probe.Metric(ctx, c, n.Name, speakerMetrics, "process_resident_memory_bytes")
			if err != nil {
				return nil, err
			}
			all = append(all, bytes/(1<<20))
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
	return all, nil
}
