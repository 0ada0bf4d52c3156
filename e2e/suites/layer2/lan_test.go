//go:build e2e

// Package layer2 shows, with real kernels as clients, that the network knows
// where an address lives and that it moves when its owner goes. Each scenario
// is about addresses of both families. Who answers is asked from BIRD's host,
// so that the neighbour tables of the client, and of the FRR router that hosts
// beyond it reach the addresses through, learn of a move by its announcement
// alone.
package layer2

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

const (
	// services is how many Services the scenarios share, of two addresses each:
	// so few that where two nodes have them all, neither has more than share.
	services = 4
	// share is what one of three nodes may have of their addresses; what is more
	// it would give up again, one by one, in the midst of a scenario.
	share = 5
	// asker is the host that asks who has an address.
	asker = lab.HostBIRD
	// settle is how long is looked whether something moves that must not: longer
	// than the election waits before it takes anything back.
	settle = 4 * time.Second
	// metricsPort of a speaker, on its node.
	metricsPort = 7482
	// fenced is how long two owners may last that hear each other.
	fenced = 2 * time.Second
)

// lan is the cluster with what the scenarios share: backends on every node, and
// Services before them whose traffic stays on the node that it reaches.
type lan struct {
	*cluster.Cluster
	namespace string
	// nodes by hardware address.
	nodes map[string]string
	// ips are the addresses of the shared Services.
	ips []netip.Addr
}

var shared *lan

func TestMain(m *testing.M) {
	os.Exit(cluster.Suite(m, func(ctx context.Context, c *cluster.Cluster) error {
		shared = &lan{Cluster: c}
		return shared.prepare(ctx)
	}, func(ctx context.Context, _ *cluster.Cluster) error {
		return shared.remove(ctx)
	}))
}

func (l *lan) prepare(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "layer2-"}}
	if err := l.Create(ctx, ns); err != nil {
		return fmt.Errorf("making a namespace: %w", err)
	}
	l.namespace = ns.Name
	var nodes corev1.NodeList
	if err := l.List(ctx, &nodes); err != nil {
		return err
	}
	l.nodes = map[string]string{}
	for _, n := range nodes.Items {
		mac, err := l.Lab.HardwareAddress(n.Name)
		if err != nil {
			return err
		}
		l.nodes[mac.String()] = n.Name
	}
	if err := l.put(ctx, cluster.Echo("DaemonSet", "echo")); err != nil {
		return err
	}
	// Services that come before it would all go where its first pod is ready.
	if _, err := l.Kubectl("rollout", "status", "-n", l.namespace, "daemonset/echo", "--timeout=80s"); err != nil {
		return err
	}
	for i := range services {
		if err := l.put(ctx, service(fmt.Sprintf("s%d", i), "", "externalTrafficPolicy: Local")); err != nil {
			return err
		}
	}
	for i := range services {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: fmt.Sprintf("s%d", i)}}
		if err := l.Await(ctx, s, &corev1.ServiceList{}, func() bool { return announced(s) }); err != nil {
			return fmt.Errorf("service %s is not announced: %w", s.Name, err)
		}
		l.ips = append(l.ips, addresses(s)...)
	}
	return nil
}

func (l *lan) put(ctx context.Context, text string) error {
	objects, err := cluster.Decode(l.namespace, text)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := l.Put(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (l *lan) remove(ctx context.Context) error {
	if l.namespace == "" {
		return nil
	}
	return l.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: l.namespace}})
}

// service is YAML of a dual-stack Service of type LoadBalancer on port 80
// before the backends called echo; more is YAML of its spec.
func service(name, annotations string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata:
  name: %s
  annotations: {%s}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo}
  %s
---
`, name, annotations, strings.Join(more, "\n  "))
}

// announced says whether the Service has both addresses, and both are.
func announced(s *corev1.Service) bool {
	return len(s.Status.LoadBalancer.Ingress) == 2 && condition(s, metav1.ConditionTrue, "Announced")
}

func condition(s *corev1.Service, status metav1.ConditionStatus, reason string) bool {
	return cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", status, reason)
}

// message is that of the Service's condition Announced.
func message(s *corev1.Service) string {
	for _, c := range s.Status.Conditions {
		if c.Type == "porchlight.dev/Announced" {
			return c.Message
		}
	}
	return ""
}

func addresses(s *corev1.Service) []netip.Addr {
	var all []netip.Addr
	for _, a := range cluster.Addresses(s) {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// scenario is what the scenarios share, as the test t sees it. Whatever the
// test breaks is mended after it, and all must be well then: every speaker
// knows every other, each address has one owner, and no node more than share.
func scenario(t *testing.T) *lan {
	t.Helper()
	l := *shared
	l.Cluster = cluster.ForTest(t)
	t.Cleanup(func() { l.mend(t) })
	return &l
}

func (l *lan) mend(t *testing.T) {
	t.Helper()
	if err := l.Lab.Heal(context.Background()); err != nil {
		t.Errorf("undoing the faults: %v", err)
	}
	for _, n := range l.names() {
		if err := l.label(n, excluded, nil); err != nil {
			t.Error(err)
		}
	}
	for _, wait := range [][]string{
		{"wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"},
		{"rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"},
		{"rollout", "status", "-n", l.namespace, "daemonset/echo", "--timeout=80s"},
	} {
		if _, err := l.Kubectl(wait...); err != nil {
			t.Errorf("not all is well after the test: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Patience)
	defer cancel()
	if err := eventually(ctx, func() error { return l.together(ctx, len(l.names())) }); err != nil {
		t.Errorf("not all is well after the test: %v", err)
	}
	if err := eventually(ctx, func() error { return l.balance(ctx) }); err != nil {
		t.Errorf("not all is well after the test: %v", err)
	}
	if err := eventually(ctx, func() error { _, err := l.who(ctx, asker, l.ips...); return err }); err != nil {
		t.Errorf("not all is well after the test: %v", err)
	}
}

// balance has a node that has more than its share lose all to the others, once
// there is nothing left than what the scenarios share.
func (l *lan) balance(ctx context.Context) error {
	sum, over := 0, ""
	for _, n := range l.names() {
		owned, err := probe.Metric(ctx, l.Cluster, n, metricsPort, "porchlight_layer2_owned_addresses")
		if err != nil {
			return err
		}
		if sum += int(owned); owned > share {
			over = n
		}
	}
	if sum != len(l.ips) {
		return fmt.Errorf("the nodes have %d addresses, not %d", sum, len(l.ips))
	}
	if over == "" {
		return nil
	}
	yes := ""
	if err := l.label(over, excluded, &yes); err != nil {
		return err
	}
	err := eventually(ctx, func() error {
		owned, err := probe.Metric(ctx, l.Cluster, over, metricsPort, "porchlight_layer2_owned_addresses")
		if err == nil && owned > 0 {
			err = fmt.Errorf("%s has %v addresses", over, owned)
		}
		return err
	})
	if e := l.label(over, excluded, nil); err == nil {
		err = e
	}
	if err == nil {
		err = fmt.Errorf("%s had more than its share", over) // look again
	}
	return err
}

// eventually is cluster.Eventually for a test's cleanup.
func eventually(ctx context.Context, try func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v: %w", cluster.Patience, last)
		case <-tick.C:
		}
	}
}

// names are the nodes' names, in order.
func (l *lan) names() []string { return slices.Sorted(maps.Values(l.nodes)) }

// others are the names of all nodes but one.
func (l *lan) others(node string) []string {
	return slices.DeleteFunc(l.names(), func(n string) bool { return n == node })
}

// owners says which node has which address.
type owners map[netip.Addr]string

// of are the addresses that a node has, in order.
func (o owners) of(node string) []netip.Addr {
	var ips []netip.Addr
	for ip, owner := range o {
		if owner == node {
			ips = append(ips, ip)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return ips
}

// only are the owners of some of the addresses.
func (o owners) only(ips []netip.Addr) owners {
	some := owners{}
	for _, ip := range ips {
		some[ip] = o[ip]
	}
	return some
}

// both names a node that has addresses of both families, if there is one.
func (o owners) both() (string, bool) {
	for _, node := range slices.Sorted(maps.Values(o)) {
		v4, v6 := false, false
		for _, ip := range o.of(node) {
			v4, v6 = v4 || ip.Is4(), v6 || ip.Is6()
		}
		if v4 && v6 {
			return node, true
		}
	}
	return "", false
}

// victim is a node that has addresses of both families, and the owners of all.
func (l *lan) victim(t *testing.T) (string, owners) {
	t.Helper()
	now := l.owners(t, l.ips...)
	for range 2 {
		for _, n := range l.names() {
			if node, ok := now.both(); ok {
				return node, now
			}
			// As it rarely falls. Two nodes have what three had.
			l.exclude(t, n)
			l.left(t, n, l.ips...)
			l.include(t, n)
			now = l.owners(t, l.ips...)
		}
	}
	t.Fatalf("no node has addresses of both families, however they are moved: %v", now)
	return "", nil
}

// who asks from a host who has the addresses. It is an error where not exactly
// one node answers for each.
func (l *lan) who(ctx context.Context, from string, ips ...netip.Addr) (owners, error) {
	answers, err := probe.Who(ctx, l.Lab, from, 150*time.Millisecond, probe.Resolution, ips...)
	if err != nil {
		return nil, err
	}
	o := owners{}
	for _, ip := range ips {
		switch macs := answers[ip]; {
		case len(macs) != 1:
			return nil, fmt.Errorf("%d hosts answer on %s for %s: %v", len(macs), from, ip, l.named(macs))
		case l.nodes[macs[0]] == "":
			return nil, fmt.Errorf("%s answers for %s, which is no node", macs[0], ip)
		default:
			o[ip] = l.nodes[macs[0]]
		}
	}
	return o, nil
}

// named puts names in place of the hardware addresses of nodes.
func (l *lan) named(macs []string) []string {
	var all []string
	for _, m := range macs {
		if n, ok := l.nodes[m]; ok {
			m = n
		}
		all = append(all, m)
	}
	return all
}

// owners waits until exactly one node answers for each of the addresses.
func (l *lan) owners(t *testing.T, ips ...netip.Addr) owners {
	t.Helper()
	var o owners
	cluster.Eventually(t, "exactly one node answers for each address", func(ctx context.Context) (err error) {
		o, err = l.who(ctx, asker, ips...)
		return err
	})
	return o
}

// ownedBy waits until the node, and no other, answers for each of the
// addresses.
func (l *lan) ownedBy(t *testing.T, node string, ips ...netip.Addr) {
	t.Helper()
	cluster.Eventually(t, node+" alone answers", func(ctx context.Context) error {
		o, err := l.who(ctx, asker, ips...)
		if err == nil && len(o.of(node)) != len(ips) {
			err = fmt.Errorf("the owners are %v", o)
		}
		return err
	})
}

// left waits until each of the addresses has one owner, which is not the node.
func (l *lan) left(t *testing.T, node string, ips ...netip.Addr) owners {
	t.Helper()
	var o owners
	cluster.Eventually(t, "another than "+node+" answers", func(ctx context.Context) (err error) {
		if o, err = l.who(ctx, asker, ips...); err == nil && len(o.of(node)) > 0 {
			err = fmt.Errorf("the owners are %v", o)
		}
		return err
	})
	return o
}

// silent waits until nobody answers for the addresses.
func (l *lan) silent(t *testing.T, ips ...netip.Addr) {
	t.Helper()
	cluster.Eventually(t, "nobody answers", func(ctx context.Context) error {
		answers, err := probe.Who(ctx, l.Lab, asker, 500*time.Millisecond, 0, ips...)
		if err == nil && len(answers) > 0 {
			err = fmt.Errorf("answers: %v", answers)
		}
		return err
	})
}

// unmoved shows for a while that the addresses stay where they are.
func (l *lan) unmoved(t *testing.T, want owners) {
	t.Helper()
	for began := time.Now(); time.Since(began) < settle; {
		now, err := l.who(t.Context(), asker, slices.Collect(maps.Keys(want))...)
		if err != nil {
			t.Fatalf("while nothing should move: %v", err)
		}
		for ip, node := range want {
			if now[ip] != node {
				t.Fatalf("%s moved from %s to %s; want it to stay", ip, node, now[ip])
			}
		}
	}
}

// warm has the client and the host beyond the router reach the addresses, so
// that the client's and the router's neighbour tables have them.
func (l *lan) warm(t *testing.T, ips ...netip.Addr) {
	t.Helper()
	for _, ip := range ips {
		l.reachable(t, "client", ip)
		l.reachable(t, lab.HostFar, ip)
	}
}

func (l *lan) reachable(t *testing.T, from string, ip netip.Addr) {
	t.Helper()
	l.Want(t, 200, cluster.Request{From: from, URL: url(ip)})
}

func url(ip netip.Addr) string { return "http://" + net.JoinHostPort(ip.String(), "80") + "/" }

// neighbour is the node that a host's kernel sends to for an address, as far
// as its neighbour table knows.
func (l *lan) neighbour(ctx context.Context, host string, ip netip.Addr) (string, error) {
	out, err := l.On(ctx, host, "ip", "neighbour", "show", "to", ip.String(), "dev", "eth0")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(out)
	if i := slices.Index(fields, "lladdr"); i >= 0 && i+1 < len(fields) {
		if node, ok := l.nodes[fields[i+1]]; ok {
			return node, nil
		}
	}
	return "", fmt.Errorf("%s knows of %s: %q", host, ip, strings.TrimSpace(out))
}

// turned waits until the neighbour tables of the client and of the router know
// the owners, without sending anything to the addresses.
func (l *lan) turned(t *testing.T, want owners) {
	t.Helper()
	for ip, node := range want {
		for _, host := range []string{"client", lab.HostFRR} {
			cluster.Eventually(t, "the neighbour table of "+host+" turns", func(ctx context.Context) error {
				got, err := l.neighbour(ctx, host, ip)
				if err == nil && got != node {
					err = fmt.Errorf("%s has %s for %s; want %s", host, got, ip, node)
				}
				return err
			})
		}
	}
}

// fault puts a fault into force.
func (l *lan) fault(t *testing.T, kind lab.FaultKind, hosts ...string) {
	t.Helper()
	if err := l.Lab.Fault(t.Context(), kind, hosts...); err != nil {
		t.Fatal(err)
	}
}

// heal undoes the faults, and waits until every speaker knows every other.
func (l *lan) heal(t *testing.T) {
	t.Helper()
	if err := l.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "all speakers know each other", func(ctx context.Context) error {
		return l.together(ctx, len(l.names()))
	})
}

// together says whether each of the nodes, all where none is named, counts so
// many members.
func (l *lan) together(ctx context.Context, members int, nodes ...string) error {
	if len(nodes) == 0 {
		nodes = l.names()
	}
	for _, n := range nodes {
		got, err := probe.Metric(ctx, l.Cluster, n, metricsPort, "porchlight_speaker_members")
		if err != nil {
			return err
		}
		if got != float64(members) {
			return fmt.Errorf("the speaker of %s counts %v members; want %d", n, got, members)
		}
	}
	return nil
}

// excluded is the label of nodes that are not to announce.
const excluded = corev1.LabelNodeExcludeBalancers

// exclude labels nodes.
func (l *lan) exclude(t *testing.T, nodes ...string) {
	t.Helper()
	yes := ""
	for _, n := range nodes {
		if err := l.label(n, excluded, &yes); err != nil {
			t.Fatal(err)
		}
	}
}

// include takes the label away.
func (l *lan) include(t *testing.T, nodes ...string) {
	t.Helper()
	for _, n := range nodes {
		if err := l.label(n, excluded, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// label gives a node a label, or takes it away.
func (l *lan) label(node, key string, value *string) error {
	n := &corev1.Node{}
	if err := l.Get(context.Background(), client.ObjectKey{Name: node}, n); err != nil {
		return fmt.Errorf("reading node %s: %w", node, err)
	}
	old := n.DeepCopy()
	if value == nil {
		delete(n.Labels, key)
	} else {
		n.Labels[key] = *value
	}
	if err := l.Patch(context.Background(), n, client.MergeFrom(old)); err != nil {
		return fmt.Errorf("labelling node %s: %w", node, err)
	}
	return nil
}
