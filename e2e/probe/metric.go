package probe

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// Metric asks, from a node, the program that serves metrics on a port of the
// node, and returns the sum of the series that begin so: with the name, or the
// name and the first of the labels.
func Metric(ctx context.Context, c *cluster.Cluster, node string, port int, series string) (float64, error) {
	n := &corev1.Node{}
	if err := c.Get(ctx, client.ObjectKey{Name: node}, n); err != nil {
		return 0, fmt.Errorf("reading node %s: %w", node, err)
	}
	if len(n.Status.Addresses) == 0 {
		return 0, fmt.Errorf("node %s has no address", node)
	}
	r, err := c.Send(ctx, cluster.Request{
		From: node, URL: "http://" + net.JoinHostPort(n.Status.Addresses[0].Address, strconv.Itoa(port)) + "/metrics",
	})
	if err != nil {
		return 0, fmt.Errorf("metrics of %s port %d: %w", node, port, err)
	}
	v, err := sum(r.Body, series)
	if err != nil {
		return 0, fmt.Errorf("metrics of %s port %d: %w", node, port, err)
	}
	return v, nil
}

// sum adds up the series that begin so, of a text in Prometheus' format.
func sum(text, series string) (float64, error) {
	total, found := 0.0, false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), series)
		if !ok || rest == "" || !strings.ContainsAny(rest[:1], " {,}") {
			continue
		}
		v, err := strconv.ParseFloat(rest[strings.LastIndex(rest, " ")+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("reading %q: %w", line, err)
		}
		total, found = total+v, true
	}
	if !found {
		return 0, fmt.Errorf("there is no %s", series)
	}
	return total, nil
}
