package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// allocation measures the controller: how long a burst of Services takes to
// get its addresses, how long a new one waits after the leader is killed, how
// much memory it needs, and what an allocation costs in its core.
func allocation(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	pool := &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: benchPool},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"198.18.0.0/16"}, AutoAssign: new(bool)},
	}
	if err := c.Create(ctx, pool); err != nil {
		return nil, fmt.Errorf("making the pool: %w", err)
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), pool) }() // the lab is thrown away
	var rows []row
	for _, measure := range []func(context.Context, *cluster.Cluster, settings) ([]row, error){present, core, bursts} {
		more, err := measure(ctx, c, set)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// present measures what depends on how many Services there are: with 3,000,
// the time from the kill of the leader to the address of a Service that is
// created then; with 4,000, the leader's memory, of one that saw them come and
// of one that found them there.
func present(ctx context.Context, c *cluster.Cluster, set settings) (rows []row, err error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "present-"}}
	if err := c.Create(ctx, ns); err != nil {
		return nil, err
	}
	defer func() {
		if e := vanish(context.WithoutCancel(ctx), c, ns); err == nil {
			err = e
		}
	}()
	if _, err := serve(ctx, c, ns.Name, "three", 3000, true); err != nil {
		return nil, err
	}
	if err := settled(ctx, c, ns.Name); err != nil {
		return nil, err
	}
	var waits samples
	for i := range set.kills {
		wait, err := takeOver(ctx, c, ns.Name, fmt.Sprintf("new-%d", i))
		if err != nil {
			return nil, fmt.Errorf("kill %d: %w", i+1, err)
		}
		fmt.Printf("  kill %d: %v\n", i+1, wait.Round(time.Millisecond))
		waits = append(waits, wait.Seconds())
	}
	rows = append(rows, newRow("new Service after a controller kill, 3,000 present", "s, median", waits, waits.quantile(0.5),
		"kill → its address; MetalLB 25.6 s", 2))

	if _, err := serve(ctx, c, ns.Name, "four", 1000-set.kills, true); err != nil {
		return nil, err
	}
	var memory samples
	for range 2 {
		leader, err := c.Leader(ctx)
		if err != nil {
			return nil, err
		}
		var most int64
		for range 5 {
			var now int64
			if now, most, err = leader.RSS(); err != nil {
				return nil, err
			}
			memory = append(memory, float64(now)/(1<<20))
			if err := pause(ctx, time.Second); err != nil {
				return nil, err
			}
		}
		fmt.Printf("  memory of %s: now %.1f MiB, at its most %.1f MiB\n", leader.Pod.Name, memory[len(memory)-1], float64(most)/(1<<20))
		if _, err := takeOver(ctx, c, ns.Name, fmt.Sprintf("last-%d", len(memory))); err != nil {
			return nil, err
		}
	}
	return append(rows, newRow("memory of the leading controller, 4,000 Services", "MiB RSS, most", memory, memory.quantile(1),
		"of two leaders, five times each; MetalLB 97 MiB", 60)), nil
}

// settled waits until the speakers have said of all Services of a namespace what
// becomes of them.
func settled(ctx context.Context, c *cluster.Cluster, ns string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*cluster.Patience)
	defer cancel()
	var all corev1.ServiceList
	changes, err := c.Follow(ctx, &all, client.InNamespace(ns))
	if err != nil {
		return err
	}
	waiting := map[string]bool{}
	look := func(s *corev1.Service) {
		said := slices.ContainsFunc(s.Status.Conditions, func(c metav1.Condition) bool { return c.Type == "porchlight.dev/Announced" })
		if waiting[s.Name] = true; said {
			delete(waiting, s.Name)
		}
	}
	for i := range all.Items {
		look(&all.Items[i])
	}
	if len(waiting) == 0 {
		return nil
	}
	for e := range changes {
		if s, ok := e.Object.(*corev1.Service); ok {
			look(s)
		}
		if len(waiting) == 0 {
			return nil
		}
	}
	return fmt.Errorf("speakers have said nothing of %d Services: %w", len(waiting), context.Cause(ctx))
}

// takeOver kills the leading controller, creates a Service, and returns the
// time from the kill until that has an address.
func takeOver(ctx context.Context, c *cluster.Cluster, ns, name string) (time.Duration, error) {
	if err := c.ControllersReady(); err != nil {
		return 0, err
	}
	leader, err := c.Leader(ctx)
	if err != nil {
		return 0, err
	}
	core, err := bareClient(c)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	changes, err := c.Follow(ctx, &corev1.ServiceList{}, client.InNamespace(ns), named(name))
	if err != nil {
		return 0, err
	}
	killed := time.Now()
	if err := leader.Signal(syscall.SIGKILL); err != nil {
		return 0, err
	}
	if _, err := core.Services(ns).Create(ctx, newService(name, true), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for e := range changes {
		if s, ok := e.Object.(*corev1.Service); ok && len(s.Status.LoadBalancer.Ingress) > 0 {
			return time.Since(killed), c.Replace(ctx, leader)
		}
	}
	return 0, fmt.Errorf("no address for Service %s: %w", name, context.Cause(ctx))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// core runs the benchmark of the allocator's free space: the processor time of
// one allocation of a pool of 2^24 addresses that is 1 % to 99.9 % full.
func core(ctx context.Context, c *cluster.Cluster, _ settings) ([]row, error) {
	const name = "BenchmarkSpace"
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "-count", "5", "./controller/allocator")
	cmd.Dir = c.Lab.Source
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the allocator's benchmark: %w\n%s", err, out)
	}
	byFullness := map[string]samples{}
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		if len(words) < 4 || !strings.HasPrefix(words[0], name+"/") {
			continue
		}
		i := slices.Index(words, "cpu-ns/op")
		if i < 1 {
			return nil, fmt.Errorf("the allocator's benchmark says %q", line)
		}
		ns, err := strconv.ParseFloat(words[i-1], 64)
		if err != nil {
			return nil, fmt.Errorf("the allocator's benchmark says %q: %w", line, err)
		}
		fullness, _, _ := strings.Cut(strings.TrimPrefix(words[0], name+"/full="), "-")
		byFullness[fullness] = append(byFullness[fullness], ns)
	}
	if len(byFullness) == 0 {
		return nil, fmt.Errorf("the allocator's benchmark says nothing:\n%s", out)
	}
	var all, medians samples
	for _, fullness := range slices.Sorted(maps.Keys(byFullness)) {
		s := byFullness[fullness]
		fmt.Printf("  %s full: %.0f ns\n", fullness, s.quantile(0.5))
		all, medians = append(all, s...), append(medians, s.quantile(0.5))
	}
	return []row{newRow("allocation in the core, pool of 2^24, 1 % to 99.9 % full", "ns, slowest median", all, medians.quantile(1),
		fmt.Sprintf("a linear scan; the fastest median is %.0f ns", medians.quantile(0)), 2000)}, nil
}
