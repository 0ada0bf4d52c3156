package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

var timedFleets = cluster.Fleet("timed", "{replicas: 1, drainTime: 1s}") + cluster.Fleet("timed-apart", "{mode: Dedicated, replicas: 1, drainTime: 1s}")

// site is a Gateway of a class with a route to the backend echo.
func site(name, class string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %[1]s}
spec:
  gatewayClassName: %[2]s
  listeners:
  - {name: http, protocol: HTTP, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: %[1]s}]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
---
`, name, class)
}

// timed makes the timed fleets, and a Gateway of the shared one that answers.
func timed(ctx context.Context, c *cluster.Cluster) (*corev1.Namespace, error) {
	ns, err := apply(ctx, c, cluster.Echo("Deployment", "echo")+`
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo}
---
`+timedFleets+site("timed", "timed"))
	if err != nil {
		return nil, err
	}
	_, err = answers(ctx, c, ns.Name, "timed")
	return ns, err
}

// fleet measures how soon an Envoy that was started is used.
func fleet(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	ns, err := timed(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	var used samples
	for range set.cuts {
		took, err := startOne(ctx, c, ns.Name)
		if err != nil {
			return nil, err
		}
		used = append(used, float64(took.Milliseconds()))
	}
	return []row{newRow("start of an Envoy → used, worst", "ms", used, used.quantile(1), "Envoy Gateway 1.9: a probe every 10 s", 1000)}, nil
}

// sites measures how soon a Gateway answers after it and its route were
// applied.
func sites(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	ns, err := timed(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	var rows []row
	for _, mode := range []struct {
		name, class string
		target      float64
	}{{"shared", "timed", 3}, {"dedicated", "timed-apart", 6}} {
		var took samples
		for i := range set.cuts {
			name := fmt.Sprintf("%s-%d", mode.name, i)
			objects, err := cluster.Decode(ns.Name, site(name, mode.class))
			if err != nil {
				return nil, err
			}
			began := time.Now()
			for _, o := range objects {
				if err := c.Put(ctx, o); err != nil {
					return nil, err
				}
			}
			at, err := answers(ctx, c, ns.Name, name)
			if err != nil {
				return nil, err
			}
			took = append(took, at.Sub(began).Seconds())
		}
		rows = append(rows, newRow("apply of a Gateway and its route → first 200, "+mode.name+", worst", "s", took, took.quantile(1), "Envoy Gateway 1.9: 11.7 s", mode.target))
	}
	return rows, nil
}

// answers waits until the Gateway has an address and answers 200 there.
func answers(ctx context.Context, c *cluster.Cluster, ns, name string) (time.Time, error) {
	return answersAs(ctx, c, ns, name, "")
}

// answersAs is answers for a host. It asks anew every 25 ms, whatever becomes
// of the question before: one that reaches a node before that knows the address
// waits for seconds.
func answersAs(ctx context.Context, c *cluster.Cluster, ns, name, host string) (time.Time, error) {
	g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := c.Await(ctx, g, &gatewayv1.GatewayList{}, func() bool { return len(g.Status.Addresses) > 0 }); err != nil {
		return time.Time{}, fmt.Errorf("gateway %s has no address: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	answered := make(chan time.Time, 1)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		go func() {
			r, err := c.Send(ctx, cluster.Request{URL: "http://" + g.Status.Addresses[0].Value + "/", Host: host})
			if err == nil && r.Status == 200 {
				select {
				case answered <- time.Now():
				default: // an earlier one was
				}
			}
		}()
		select {
		case at := <-answered:
			return at, nil
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("gateway %s: no 200 in %v", name, cluster.Patience)
		case <-tick.C:
		}
	}
}

// startOne adds an Envoy to the fleet timed, takes it away again, and returns
// the time from the start of its process until the Service of the Gateway
// leads to it.
func startOne(ctx context.Context, c *cluster.Cluster, ns string) (time.Duration, error) {
	if err := scale(ctx, c, 2); err != nil {
		return 0, err
	}
	pod, at, err := second(ctx, c, ns)
	if err != nil {
		return 0, err
	}
	started, err := processStart(c, pod)
	if err != nil {
		return 0, err
	}
	if err := scale(ctx, c, 1); err != nil {
		return 0, err
	}
	for { // no event tells that a pod is gone from a list
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(cluster.System), client.MatchingLabels{"porchlight.dev/fleet": "timed"}); err != nil {
			return 0, err
		}
		if len(pods.Items) == 1 {
			return at.Sub(started), nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func scale(ctx context.Context, c *cluster.Cluster, envoys int) error {
	objects, err := cluster.Decode(cluster.System, cluster.Fleet("timed", fmt.Sprintf("{replicas: %d, drainTime: 1s}", envoys)))
	if err != nil {
		return err
	}
	return c.Put(ctx, objects[0])
}

// second waits until the Service of the Gateway leads to a second Envoy, and
// returns its pod and when that was.
func second(ctx context.Context, c *cluster.Cluster, ns string) (*corev1.Pod, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	of := client.MatchingLabels{discoveryv1.LabelServiceName: "timed-porchlight"}
	var before discoveryv1.EndpointSliceList
	if err := c.List(ctx, &before, client.InNamespace(ns), of); err != nil {
		return nil, time.Time{}, err
	}
	known := map[string]bool{}
	for i := range before.Items {
		for _, e := range before.Items[i].Endpoints {
			known[e.TargetRef.Name] = true
		}
	}
	w, err := c.Watch(ctx, &discoveryv1.EndpointSliceList{}, client.InNamespace(ns), of)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		at := time.Now()
		s, ok := event.Object.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			if known[e.TargetRef.Name] || !*e.Conditions.Ready {
				continue
			}
			pod := &corev1.Pod{}
			err := c.Get(ctx, client.ObjectKey{Namespace: e.TargetRef.Namespace, Name: e.TargetRef.Name}, pod)
			return pod, at, err
		}
	}
	return nil, time.Time{}, fmt.Errorf("no second Envoy is used: %w", context.Cause(ctx))
}

// processStart is when the Envoy of a pod was started, to 10 ms.
func processStart(c *cluster.Cluster, pod *corev1.Pod) (time.Time, error) {
	p, err := c.Program(pod, "envoy")
	if err != nil {
		return time.Time{}, err
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "stat"))
	if err != nil {
		return time.Time{}, err
	}
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	// proc_pid_stat(5): what follows the name in parentheses begins with the
	// third field; the start is the 22nd, in hundredths of a second after boot.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("stat of process %d: %q", p.PID, stat)
	}
	ticks, err := strconv.ParseFloat(fields[19], 64)
	if err != nil {
		return time.Time{}, err
	}
	uptime, err := strconv.ParseFloat(strings.Fields(string(up))[0], 64)
	if err != nil {
		return time.Time{}, err
	}
	return now.Add(-time.Duration((uptime - ticks/100) * float64(time.Second))), nil
}
