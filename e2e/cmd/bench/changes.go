package main

import (
	"context"
	"fmt"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

const (
	// changesMade is how often a route is changed under traffic.
	changesMade = 60
	// between is the time from a change that is served to the next.
	between = 50 * time.Millisecond
	// versionHeader tells which version of a route has answered: no two have the
	// same, also where the route is changed again at another number of routes.
	versionHeader = "X-Version"
)

// version is the i-th of a route at n routes.
func version(n, i int) string { return fmt.Sprintf("%d at %d", i, n) }

// changes changes a route's port, its Service and a filter under traffic, and
// measures from each apply to the first answer of the changed route.
func (p *probed) changes(ctx context.Context, n int) ([]row, error) {
	put := func(service string, port int, version string) error {
		return p.put(ctx, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: changed}
spec:
  parentRefs: [{name: probed}]
  hostnames: [changed.example]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: %s, value: %q}]}}]
    backendRefs: [{name: %s, port: %d}]
`, versionHeader, version, service, port))
	}
	if err := put("echo", 80, version(n, 0)); err != nil {
		return nil, err
	}
	if _, _, err := p.firstOK(ctx, "changed.example"); err != nil {
		return nil, err
	}
	t := p.traffic(ctx, "changed.example")
	defer t.stop()
	service, port := "echo", 80
	var took samples
	for i := 1; i <= changesMade; i++ {
		switch i % 3 {
		case 0:
			port = 161 - port
		case 1:
			service = map[string]string{"echo": "other", "other": "echo"}[service]
		}
		began := time.Now()
		if err := put(service, port, version(n, i)); err != nil {
			return nil, err
		}
		at, err := t.await(ctx, version(n, i))
		if err != nil {
			return nil, err
		}
		took = append(took, milliseconds(at.Sub(began)))
		if err := pause(ctx, between); err != nil {
			return nil, err
		}
	}
	asked, bad := t.stop()
	return []row{
		newRow(fmt.Sprintf("change of a route's port, Service or filter, %d routes, p50", n), "ms", took, took.quantile(0.5), "Envoy Gateway 1.9: 1.2 s", 30),
		newRow(fmt.Sprintf("answers other than 200 while it changes, %d routes", n), fmt.Sprintf("of %d", asked), samples{float64(bad)}, float64(bad), "Envoy Gateway 1.9: 0", 0),
	}, nil
}

// ruleBefore puts a rule before the one that is asked for, and takes it away
// again, under traffic.
func (p *probed) ruleBefore(ctx context.Context, n int) (row, error) {
	const before = `
  - {matches: [{path: {value: /before}}], backendRefs: [{name: other, port: 81}]}`
	put := func(rule, version string) error {
		return p.put(ctx, fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ruled}
spec:
  parentRefs: [{name: probed}]
  hostnames: [ruled.example]
  rules:%s
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: %s, value: %q}]}}]
    backendRefs: [{name: echo, port: 80}]
`, rule, versionHeader, version))
	}
	if err := put("", version(n, 0)); err != nil {
		return row{}, err
	}
	if _, _, err := p.firstOK(ctx, "ruled.example"); err != nil {
		return row{}, err
	}
	t := p.traffic(ctx, "ruled.example")
	defer t.stop()
	for i := 1; i <= changesMade; i++ {
		rule := ""
		if i%2 == 1 {
			rule = before
		}
		if err := put(rule, version(n, i)); err != nil {
			return row{}, err
		}
		if _, err := t.await(ctx, version(n, i)); err != nil {
			return row{}, err
		}
		if err := pause(ctx, between); err != nil {
			return row{}, err
		}
	}
	asked, bad := t.stop()
	return newRow(fmt.Sprintf("answers other than 200 while a rule comes and goes before the requested one, %d routes", n), fmt.Sprintf("of %d", asked),
		samples{float64(bad)}, float64(bad), "Envoy Gateway 1.9: 1,854 of 37,127 at 1,000 routes, 5,623 of 27,084 at 3,000", 0), nil
}

func (p *probed) put(ctx context.Context, text string) error {
	objects, err := cluster.Decode(p.namespace, text)
	if err != nil {
		return err
	}
	return p.Put(ctx, objects[0])
}

// traffic asks for a host one time after the other, on new connections.
type traffic struct {
	end      context.CancelFunc
	ended    chan struct{}
	versions chan stamped
	// Once it has ended.
	asked, bad int
}

// stamped is a version of a route that answered for the first time.
type stamped struct {
	version string
	at      time.Time
}

// traffic begins.
func (p *probed) traffic(ctx context.Context, host string) *traffic {
	ctx, cancel := context.WithCancel(ctx)
	t := &traffic{end: cancel, ended: make(chan struct{}), versions: make(chan stamped, changesMade+1)}
	go func() {
		defer close(t.ended)
		seen := map[string]bool{}
		for ctx.Err() == nil {
			// A request that was begun is ended.
			r, err := p.Send(context.WithoutCancel(ctx), cluster.Request{URL: p.url, Host: host})
			t.asked++
			if err != nil || r.Status != 200 {
				t.bad++
				fmt.Printf("  %s: %d, %v\n", host, r.Status, err)
			} else if v := r.Header.Get(versionHeader); !seen[v] {
				seen[v] = true
				t.versions <- stamped{v, time.Now()}
			}
			_ = pause(ctx, 2*time.Millisecond) // ended: seen above
		}
	}()
	return t
}

// await returns when the version answered for the first time.
func (t *traffic) await(ctx context.Context, version string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	for {
		select {
		case s := <-t.versions:
			if s.version == version {
				return s.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("version %s of the route does not answer in %v", version, cluster.Patience)
		}
	}
}

// stop ends it, and returns how many requests were made, and how many of them
// were not answered with 200.
func (t *traffic) stop() (asked, bad int) {
	t.end()
	<-t.ended
	return t.asked, t.bad
}
