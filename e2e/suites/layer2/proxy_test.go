//go:build e2e

package layer2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// fresh makes a Service, and returns its addresses once it has them.
func (l *lan) fresh(t *testing.T, namespace, name string) []netip.Addr {
	t.Helper()
	l.Apply(t, namespace, service(name, ""))
	return addresses(l.Service(t, namespace, name, "has two addresses", func(s *corev1.Service) bool { return len(s.Status.LoadBalancer.Ingress) == 2 }))
}

// opens has the client connect to an address that nobody may have announced yet.
// Until somebody does, there is no such host; from then on, a connection that
// does not open was swallowed.
func (l *lan) opens(t *testing.T, ip netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, 20*time.Second)
		conn, err := l.Lab.Dialer(lab.HostClient)(attempt, "tcp", net.JoinHostPort(ip.String(), "80"))
		cancel()
		var swallowed net.Error
		switch {
		case err == nil:
			_ = conn.Close()
			return
		case errors.As(err, &swallowed) && swallowed.Timeout():
			t.Errorf("a connection to %s hangs: %v", ip, err)
			return
		case ctx.Err() != nil:
			t.Errorf("nobody answers for %s: %v", ip, err)
			return
		}
	}
}

// A connection that comes as soon as an address is announced is answered: a
// kube-proxy takes up to a second for what is new, and what comes to its node
// before that would be lost, and its retries with it. The second and later
// Services come right after a kube-proxy has done something, so that it waits.
func TestNewAddressIsForwarded(t *testing.T) {
	l := scenario(t)
	ns := l.backends(t)
	for i := range 6 {
		for _, ip := range l.fresh(t, ns, fmt.Sprintf("new%d", i)) {
			l.opens(t, ip)
		}
	}
}

// New addresses go to nodes that forward them, also where the proxy of one stands
// still; it says so of those that it would have had.
func TestNodeWhoseProxyStandsStill(t *testing.T) {
	l := scenario(t)
	ns := l.backends(t)
	const still = "node2"
	t.Cleanup(func() { l.on(t, still, "pkill -CONT -x kube-proxy") })
	l.on(t, still, "pkill -STOP -x kube-proxy")
	var ips []netip.Addr
	for i := range 4 {
		ips = append(ips, l.fresh(t, ns, fmt.Sprintf("new%d", i))...)
	}
	for _, ip := range ips {
		l.opens(t, ip)
	}
	for ip, owner := range l.owners(t, ips...) {
		if owner == still {
			t.Errorf("%s went to %s", ip, owner)
		}
	}
	cluster.Eventually(t, still+" says that its proxy is behind", func(ctx context.Context) error {
		var all eventsv1.EventList
		if err := l.List(ctx, &all, client.InNamespace(ns)); err != nil {
			return err
		}
		if !slices.ContainsFunc(all.Items, func(e eventsv1.Event) bool { return e.Reason == "ProxyBehind" && strings.Contains(e.Note, still) }) {
			return fmt.Errorf("none of %d events says so", len(all.Items))
		}
		return nil
	})
}

// backends are a namespace with backends called echo.
func (l *lan) backends(t *testing.T) (namespace string) {
	t.Helper()
	namespace = l.Namespace(t)
	l.Apply(t, namespace, cluster.Echo("DaemonSet", "echo"))
	if _, err := l.Kubectl("rollout", "status", "-n", namespace, "daemonset/echo", "--timeout=80s"); err != nil {
		t.Fatal(err)
	}
	return namespace
}
