package main

import (
	"context"
	"fmt"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

var probed = cluster.Echo("Deployment", "echo") + `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: probed}
spec:
  gatewayClassName: porchlight
  listeners:
  - {name: http, protocol: HTTP, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: base}
spec:
  parentRefs: [{name: probed}]
  hostnames: [base.example]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
`

// gateway applies routes one by one, and measures from each apply to the first
// 200 through Envoy. Each route has two rules, one of them to a Service that
// is not there; on the way, only 404 may be answered.
func gateway(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	ns, err := apply(ctx, c, probed)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "probed"}}
	if err := c.Await(ctx, g, &gatewayv1.GatewayList{}, func() bool {
		return len(g.Status.Addresses) > 0 && cluster.Condition(g.Status.Conditions, "Programmed", metav1.ConditionTrue, "Programmed")
	}); err != nil {
		return nil, fmt.Errorf("the Gateway is not programmed: %w", err)
	}
	base := "http://" + g.Status.Addresses[0].Value + "/"
	if _, _, err := firstOK(ctx, c, base, "base.example"); err != nil {
		return nil, err
	}
	var rows []row
	made := 0
	for _, n := range set.routes {
		var took samples
		var failures int
		for ; made < n; made++ {
			host := fmt.Sprintf("r%d.example", made)
			objects, err := cluster.Decode(ns.Name, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d}
spec:
  parentRefs: [{name: probed}]
  hostnames: [%s]
  rules:
  - {matches: [{path: {value: /absent}}], backendRefs: [{name: absent-%d, port: 80}]}
  - {backendRefs: [{name: echo, port: 80}]}
`, made, host, made))
			if err != nil {
				return nil, err
			}
			began := time.Now()
			if err := c.Put(ctx, objects[0]); err != nil {
				return nil, err
			}
			at, wrong, err := firstOK(ctx, c, base, host)
			if err != nil {
				return nil, fmt.Errorf("route %d: %w", made, err)
			}
			took = append(took, float64(at.Sub(began).Microseconds())/1000)
			failures += wrong
		}
		peers := "Envoy Gateway 1.9: p50 26 ms at 100 routes, 218 at 1,000, 794 at 3,000"
		rows = append(rows,
			newRow(fmt.Sprintf("route apply → first 200, to %d routes, p50", n), "ms", took, took.quantile(0.5), peers, 15),
			newRow(fmt.Sprintf("route apply → first 200, to %d routes, p99", n), "ms", took, took.quantile(0.99), peers, 40),
			newRow(fmt.Sprintf("answers other than 404 and 200 on the way, to %d routes", n), "", samples{float64(failures)}, float64(failures), "Envoy Gateway 1.9: 975 × 503", 0),
		)
	}
	return rows, nil
}

// firstOK asks until the answer is 200, and returns when it came and how many
// were neither that nor 404.
func firstOK(ctx context.Context, c *cluster.Cluster, url, host string) (at time.Time, wrong int, err error) {
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	for {
		r, err := c.Send(ctx, cluster.Request{URL: url, Host: host})
		switch {
		case ctx.Err() != nil:
			return at, wrong, fmt.Errorf("%s (Host %s): no 200 in %v: last: %d, %v", url, host, cluster.Patience, r.Status, err)
		case err == nil && r.Status == 200:
			return time.Now(), wrong, nil
		case err != nil || r.Status != 404:
			wrong++
		}
	}
}
