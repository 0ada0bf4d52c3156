package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// atLeast so many routes are timed at each number of routes, as a percentile of
// few is that of one or two.
const atLeast = 500

// base is a Gateway with a route to a backend, which is two Services with two
// ports each.
var base = cluster.Echo("Deployment", "echo") + `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ports: [{name: a, port: 80, targetPort: 3000}, {name: b, port: 81, targetPort: 3000}]
  selector: {app: echo}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec:
  ports: [{name: a, port: 80, targetPort: 3000}, {name: b, port: 81, targetPort: 3000}]
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

// gateway measures what a Gateway with many routes costs: how soon a change is
// served, what happens to traffic on the way, and the memory of both sides.
func gateway(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	rows, err := probes(ctx, c, set)
	if err != nil {
		return rows, err
	}
	for _, measure := range []func(context.Context, *cluster.Cluster, settings) ([]row, error){crowd, translation, sites, conformance} {
		more, err := measure(ctx, c, set)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// probed is a Gateway that is measured.
type probed struct {
	*cluster.Cluster
	namespace string
	url       string
	// client keeps its connection, as what asks all the time does: to make one
	// for each request takes more of the processor than to answer it.
	client *http.Client
	named  int // routes so far: none has the name of another
}

// probes applies routes to a Gateway one by one. Once there are as many as
// wanted, routes are changed under traffic, and memory is read.
func probes(ctx context.Context, c *cluster.Cluster, set settings) (rows []row, err error) {
	ns, err := apply(ctx, c, base)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	address, err := c.AwaitProgrammed(ctx, ns.Name, "probed")
	if err != nil {
		return nil, err
	}
	p := probed{Cluster: c, namespace: ns.Name, url: "http://" + address + "/", client: &http.Client{
		Transport: &http.Transport{DialContext: c.Lab.Dialer("client"), MaxConnsPerHost: 1},
	}}
	defer p.client.CloseIdleConnections()
	if _, _, err := p.firstOK(ctx, "base.example"); err != nil {
		return nil, err
	}
	made := 0
	for i, n := range set.routes {
		more, err := p.routes(ctx, made, n)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
		made = n
		last := i == len(set.routes)-1
		if n >= 1000 || last {
			r, err := p.ruleBefore(ctx, n)
			if err != nil {
				return rows, err
			}
			rows = append(rows, r)
		}
		if n == 1000 || last && n < 1000 {
			r, err := timeSeries(ctx, c, n)
			if err != nil {
				return rows, err
			}
			rows = append(rows, r)
		}
	}
	more, err := p.changes(ctx, made)
	rows = append(rows, more...)
	if err != nil {
		return rows, err
	}
	more, err = p.memory(ctx, made)
	return append(rows, more...), err
}

// routes applies routes one by one until there are n. It measures from the sending
// of each apply to the first 200 through Envoy. Each route has two rules, one of
// them to a Service that is not there; on the way, only 404 may be answered.
//
// Of few routes, one is all of the last percent: they are made several times, and
// deleted in between.
func (p *probed) routes(ctx context.Context, made, n int) ([]row, error) {
	var took, accepted, after samples
	var failures int
	var there []client.Object
	for left := (n - made) * max(1, atLeast/(n-made)); left > 0; left-- {
		if len(there) == n-made {
			if err := p.without(ctx, there); err != nil {
				return nil, err
			}
			there = nil
		}
		host := fmt.Sprintf("r%d.example", p.named)
		objects, err := cluster.Decode(p.namespace, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%d}
spec:
  parentRefs: [{name: probed}]
  hostnames: [%s]
  rules:
  - {matches: [{path: {value: /absent}}], backendRefs: [{name: absent-%d, port: 80}]}
  - {backendRefs: [{name: echo, port: 80}]}
`, p.named, host, p.named))
		if err != nil {
			return nil, err
		}
		began := time.Now()
		if err := p.Put(ctx, objects[0]); err != nil {
			return nil, err
		}
		applied := time.Now()
		at, wrong, err := p.firstOK(ctx, host)
		if err != nil {
			return nil, fmt.Errorf("route %d: %w", p.named, err)
		}
		p.named++
		there = append(there, objects[0])
		took = append(took, milliseconds(at.Sub(began)))
		accepted = append(accepted, applied.Sub(began).Seconds())
		after = append(after, milliseconds(at.Sub(applied)))
		failures += wrong
	}
	against := func(q float64) string {
		return fmt.Sprintf("of that, the API server's own answer: %.1f ms; from there: %.1f ms", accepted.quantile(q)*1000, after.quantile(q))
	}
	rows := []row{
		newRow(fmt.Sprintf("route apply → first 200, to %d routes, p50", n), "ms", took, took.quantile(0.5),
			against(0.5)+"; Envoy Gateway 1.9: 26 ms at 100 routes, 218 at 1,000, 794 at 3,000", 15),
		newRow(fmt.Sprintf("route apply → first 200, to %d routes, p99", n), "ms", took, took.quantile(0.99), against(0.99), 40),
		newRow(fmt.Sprintf("answers other than 404 and 200 on the way, to %d routes", n), "", samples{float64(failures)}, float64(failures), "Envoy Gateway 1.9: 975 × 503", 0),
	}
	rows[0].Floor, rows[1].Floor = accepted, accepted
	return rows, nil
}

// without deletes routes, and waits until that is done.
func (p *probed) without(ctx context.Context, routes []client.Object) error {
	for _, r := range routes {
		if err := p.Delete(ctx, r); err != nil {
			return fmt.Errorf("deleting a route: %w", err)
		}
	}
	var left gatewayv1.HTTPRouteList
	if err := p.List(ctx, &left, client.InNamespace(p.namespace)); err != nil {
		return err
	}
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "probed"}}
	return p.Await(ctx, g, &gatewayv1.GatewayList{}, func() bool {
		return len(g.Status.Listeners) == 1 && int(g.Status.Listeners[0].AttachedRoutes) == len(left.Items)
	})
}

// firstOK asks until the answer is 200, and returns when it came and how many
// were neither that nor 404. After another answer it waits a moment: what is
// measured needs the processor, too.
func (p *probed) firstOK(ctx context.Context, host string) (at time.Time, wrong int, err error) {
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	for {
		status, err := p.ask(ctx, host)
		switch {
		case ctx.Err() != nil:
			return at, wrong, fmt.Errorf("%s (Host %s): no 200 in %v: last: %d, %v", p.url, host, cluster.Patience, status, err)
		case status == http.StatusOK:
			return time.Now(), wrong, nil
		case status != http.StatusNotFound:
			wrong++
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return at, wrong, err
		}
	}
}

// ask is one request; its answer is 0 where there was none.
func (p *probed) ask(ctx context.Context, host string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return 0, err
	}
	r.Host = host
	answer, err := p.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, err
	}
	return answer.StatusCode, nil
}
