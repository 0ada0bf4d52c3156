package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// crowded is how many routes are created at once.
const crowded = 1000

// crowd creates routes at once, and measures from the last create until the
// Gateway says that all are attached, how often that is written, and until all
// of them answer.
func crowd(ctx context.Context, c *cluster.Cluster, _ settings) ([]row, error) {
	ns, err := apply(ctx, c, base)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	if _, err := answersAs(ctx, c, ns.Name, "probed", "base.example"); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	list := &gatewayv1.GatewayList{}
	changes, err := c.Follow(ctx, list, client.InNamespace(ns.Name), named("probed"))
	if err != nil {
		return nil, err
	}
	type attached struct {
		at     time.Time
		writes int
	}
	all := make(chan attached, 1)
	url := "http://" + list.Items[0].Status.Addresses[0].Value + "/"
	go func() {
		writes := 0
		for e := range changes {
			g, ok := e.Object.(*gatewayv1.Gateway)
			if !ok {
				continue
			}
			writes++
			if len(g.Status.Listeners) == 1 && g.Status.Listeners[0].AttachedRoutes == crowded+1 {
				all <- attached{time.Now(), writes}
				return
			}
		}
	}()
	host := func(i int) string { return fmt.Sprintf("c%d.example", i) }
	create, gctx := errgroup.WithContext(ctx)
	create.SetLimit(creators)
	for i := range crowded {
		r := &gatewayv1.HTTPRoute{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: fmt.Sprintf("c%d", i)},
			Spec: gatewayv1.HTTPRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "probed"}}},
				Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(host(i))},
				Rules: []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
					BackendObjectReference: gatewayv1.BackendObjectReference{Name: "echo", Port: new(gatewayv1.PortNumber)},
				}}}}},
			},
		}
		*r.Spec.Rules[0].BackendRefs[0].Port = 80
		create.Go(func() error { return c.Create(gctx, r) })
	}
	if err := create.Wait(); err != nil {
		return nil, fmt.Errorf("creating %d routes: %w", crowded, err)
	}
	last := time.Now()
	if err := allAnswer(ctx, c, url, host); err != nil {
		return nil, err
	}
	answered := time.Since(last).Seconds()
	select {
	case a := <-all:
		said := max(0, a.at.Sub(last).Seconds())
		return []row{
			newRow(fmt.Sprintf("%d routes created at once: last create → attachedRoutes", crowded), "s", samples{said}, said, "Envoy Gateway 1.9: 16.9 s", 2),
			newRow(fmt.Sprintf("%d routes created at once: writes to the Gateway's status", crowded), "", samples{float64(a.writes)}, float64(a.writes), "Envoy Gateway 1.9: 51", 20),
			newRow(fmt.Sprintf("%d routes created at once: last create → all answer", crowded), "s", samples{answered}, answered, "Envoy Gateway 1.9: 4.2 s", 1),
		}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the Gateway does not say that %d routes are attached: %w", crowded+1, context.Cause(ctx))
	}
}

// allAnswer asks each host, on a few connections, until it has answered 200.
func allAnswer(ctx context.Context, c *cluster.Cluster, url string, host func(int) string) error {
	const askers = 8
	g, ctx := errgroup.WithContext(ctx)
	for a := range askers {
		g.Go(func() error {
			transport := &http.Transport{DialContext: c.Lab.Dialer("client")}
			defer transport.CloseIdleConnections()
			for i := a; i < crowded; i += askers {
				for {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
					if err != nil {
						return err
					}
					req.Host = host(i)
					resp, err := transport.RoundTrip(req)
					if err != nil {
						return fmt.Errorf("asking %s: %w", req.Host, err)
					}
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if err != nil {
						return fmt.Errorf("asking %s: %w", req.Host, err)
					}
					if resp.StatusCode == http.StatusOK {
						break
					}
					if err := pause(ctx, 5*time.Millisecond); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return g.Wait()
}
