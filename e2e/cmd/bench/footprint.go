package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// memory reads what the gateways and the Envoys need with n routes, and what
// the gateways need a minute after they were deleted.
func (p *probed) memory(ctx context.Context, n int) ([]row, error) {
	gateways, err := p.resident(ctx, client.MatchingLabels{"app.kubernetes.io/component": "gateway"}, "porchlight-gateway")
	if err != nil {
		return nil, err
	}
	envoys, err := p.resident(ctx, client.MatchingLabels{"porchlight.dev/fleet": "porchlight-envoy"}, "envoy")
	if err != nil {
		return nil, err
	}
	rows := []row{
		newRow(fmt.Sprintf("memory of a gateway, %d routes", n), "MiB RSS, most", gateways, gateways.quantile(1), "Envoy Gateway 1.9: 366 MiB at 3,000", 120),
		newRow(fmt.Sprintf("memory of an Envoy, %d routes", n), "MiB RSS, most", envoys, envoys.quantile(1), "Envoy Gateway 1.9: 469 MiB at 3,000", 250),
	}
	if err := p.DeleteAllOf(ctx, &gatewayv1.HTTPRoute{}, client.InNamespace(p.namespace)); err != nil {
		return rows, fmt.Errorf("deleting the routes: %w", err)
	}
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "probed"}}
	if err := p.Await(ctx, g, &gatewayv1.GatewayList{}, func() bool {
		return len(g.Status.Listeners) == 1 && g.Status.Listeners[0].AttachedRoutes == 0
	}); err != nil {
		return rows, err
	}
	var after, last samples
	for range 60 {
		if last, err = p.resident(ctx, client.MatchingLabels{"app.kubernetes.io/component": "gateway"}, "porchlight-gateway"); err != nil {
			return rows, err
		}
		after = append(after, last...)
		if err := pause(ctx, time.Second); err != nil {
			return rows, err
		}
	}
	return append(rows, newRow(fmt.Sprintf("memory of a gateway, a minute after %d routes were deleted", n), "MiB RSS, most", after, last.quantile(1), "Envoy Gateway 1.9: 318 MiB", 80)), nil
}

// resident is the memory of the program in each of the pods, in MiB.
func (p *probed) resident(ctx context.Context, of client.ListOption, program string) (samples, error) {
	var pods corev1.PodList
	if err := p.List(ctx, &pods, client.InNamespace(cluster.System), of); err != nil {
		return nil, err
	}
	var all samples
	for i := range pods.Items {
		found, err := p.Program(&pods.Items[i], program)
		if err != nil {
			return nil, err
		}
		now, _, err := found.RSS()
		if err != nil {
			return nil, err
		}
		all = append(all, float64(now)/(1<<20))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no pod with a %s", program)
	}
	return all, nil
}

// timeSeries counts the samples that an Envoy gives to Prometheus.
func timeSeries(ctx context.Context, c *cluster.Cluster, n int) (row, error) {
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(cluster.System), client.MatchingLabels{"porchlight.dev/fleet": "porchlight-envoy"}); err != nil {
		return row{}, err
	}
	var counts samples
	for _, p := range pods.Items {
		r, err := c.Send(ctx, cluster.Request{From: p.Spec.NodeName, URL: "http://" + p.Status.PodIP + ":19001/stats/prometheus"})
		if err != nil || r.Status != http.StatusOK {
			return row{}, fmt.Errorf("metrics of pod %s: %d, %w", p.Name, r.Status, err)
		}
		count := 0
		for line := range strings.Lines(r.Body) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				count++
			}
		}
		counts = append(counts, float64(count))
	}
	return newRow(fmt.Sprintf("Envoy time series, %d routes", n), "samples, most", counts, counts.quantile(1), "Envoy Gateway 1.9: 249,886; Istio (published): 557", 1000), nil
}
