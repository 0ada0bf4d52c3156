package main

import (
	"context"
	"fmt"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// local is a backend on every node; who gets a packet serves it, so that what
// is measured is the address alone.
var local = cluster.Echo("DaemonSet", "local") + `
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: local}
`

// layer2 cuts the link of the address's owner again and again.
func layer2(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	ns, err := apply(ctx, c, local)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "local"}}
	var gaps samples
	for i := range set.cuts {
		if err := c.Await(ctx, s, &corev1.ServiceList{}, func() bool {
			return len(s.Status.LoadBalancer.Ingress) > 0 && cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionTrue, "Announced")
		}); err != nil {
			return nil, fmt.Errorf("the Service is not announced: %w", err)
		}
		owner, err := ownerOf(ctx, c, s)
		if err != nil {
			return nil, err
		}
		gap, err := probe.LongestGap(ctx, c.Lab.Dialer("client"), cluster.Addresses(s)[0]+":80", func() error {
			return c.Lab.Fault(ctx, lab.LinkDown, owner)
		})
		if err != nil {
			return nil, fmt.Errorf("cut %d, of %s: %w", i+1, owner, err)
		}
		fmt.Printf("  cut of %s: gap %v\n", owner, gap.Round(time.Millisecond))
		gaps = append(gaps, gap.Seconds())
		if err := c.Lab.Heal(ctx); err != nil {
			return nil, err
		}
		for _, wait := range [][]string{
			{"wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"},
			{"rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"},
			{"rollout", "status", "-n", ns.Name, "daemonset/local", "--timeout=80s"},
		} {
			if _, err := c.Kubectl(wait...); err != nil {
				return nil, err
			}
		}
	}
	return []row{newRow("L2 take-over, node's link cut", "s, worst", gaps, gaps.quantile(1),
		"new TCP connections every 10 ms; MetalLB 5.3 s", 1)}, nil
}

func ownerOf(ctx context.Context, c *cluster.Cluster, s *corev1.Service) (string, error) {
	var all v1beta1.ServiceL2StatusList
	if err := c.List(ctx, &all, client.InNamespace(cluster.System)); err != nil {
		return "", err
	}
	for _, l2 := range all.Items {
		if l2.Status.ServiceName == s.Name && l2.Status.ServiceNamespace == s.Namespace {
			return l2.Status.Node, nil
		}
	}
	return "", fmt.Errorf("no ServiceL2Status names %s/%s", s.Namespace, s.Name)
}

// apply makes a namespace and the objects of text in it.
func apply(ctx context.Context, c *cluster.Cluster, text string) (*corev1.Namespace, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	if err := c.Create(ctx, ns); err != nil {
		return nil, fmt.Errorf("making a namespace: %w", err)
	}
	objects, err := cluster.Decode(ns.Name, text)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if err := c.Put(ctx, o); err != nil {
			return nil, err
		}
	}
	return ns, nil
}
