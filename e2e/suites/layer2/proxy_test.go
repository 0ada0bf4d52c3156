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
	"syscall"
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

// opens waits until each of the addresses has an owner, and shows that connections
// to it open from the first one on. Until the proxy knows an endpoint, they are
// refused at once.
func (l *lan) opens(t *testing.T, ips ...netip.Addr) owners {
	t.Helper()
	o := l.owners(t, ips...)
	for _, ip := range ips {
		// Were its first packet lost alone, it would open a second later.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		var conn net.Conn
		err := error(syscall.ECONNREFUSED)
		for errors.Is(err, syscall.ECONNREFUSED) {
			conn, err = l.Lab.Dialer(lab.HostClient)(ctx, "tcp", net.JoinHostPort(ip.String(), "80"))
		}
		cancel()
		if err != nil {
			t.Errorf("a connection to %s, which %s has: %v", ip, o[ip], err)
			continue
		}
		_ = conn.Close()
	}
	return o
}

// A connection that comes as soon as an address is announced is answered: a
// kube-proxy takes up to a second for what is new, and what comes to its node
// before that would be lost, and its retries with it. The second and later
// Services come right after a kube-proxy has done something, so that it waits.
func TestNewAddressIsForwarded(t *testing.T) {
	l := scenario(t)
	ns := l.backends(t)
	for i := range 6 {
		l.opens(t, l.fresh(t, ns, fmt.Sprintf("new%d", i))...)
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
	for ip, owner := range l.opens(t, ips...) {
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
