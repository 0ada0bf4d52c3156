package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// moving is a backend on every node. Those labelled to serve are the Service's.
var moving = cluster.Echo("DaemonSet", "echo") + `
apiVersion: v1
kind: Service
metadata: {name: moving}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo, serves: "yes"}
`

// layer2 measures how long an address is away when its owner is, what a
// speaker needs, and how fast it answers.
func layer2(ctx context.Context, c *cluster.Cluster, _ settings) ([]row, error) {
	ns, err := apply(ctx, c, moving)
	if err != nil {
		return nil, err
	}
	m := &mover{c, ns.Name, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: "moving"}}}
	rows, err := m.measure(ctx)
	if err != nil {
		return rows, err
	}
	if err := vanish(ctx, c, ns); err != nil {
		return rows, err
	}
	memory, err := speakerMemory(ctx, c)
	if err != nil {
		return rows, fmt.Errorf("memory of the speakers: %w", err)
	}
	return append(rows, memory), nil
}

// mover has the Service whose addresses move.
type mover struct {
	*cluster.Cluster
	namespace string
	service   *corev1.Service
}

func (m *mover) measure(ctx context.Context) ([]row, error) {
	if err := m.serveOn(ctx, nil); err != nil {
		return nil, err
	}
	ips, err := m.addresses(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := m.replies(ctx, ips)
	if err != nil {
		return nil, fmt.Errorf("answers: %w", err)
	}
	cuts, err := m.cuts(ctx, ips)
	if err != nil {
		return rows, err
	}
	rows = append(rows, cuts)
	planned, err := m.planned(ctx, ips)
	if err != nil {
		return rows, fmt.Errorf("planned moves: %w", err)
	}
	return append(rows, planned), nil
}

// addresses waits until the Service is announced.
func (m *mover) addresses(ctx context.Context) ([]netip.Addr, error) {
	s := m.service
	if err := m.Await(ctx, s, &corev1.ServiceList{}, func() bool {
		return len(s.Status.LoadBalancer.Ingress) == 2 && cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionTrue, "Announced")
	}); err != nil {
		return nil, fmt.Errorf("the Service is not announced: %w", err)
	}
	var ips []netip.Addr
	for _, a := range cluster.Addresses(s) {
		ips = append(ips, netip.MustParseAddr(a))
	}
	return ips, nil
}

// owner is the node that answers for the address.
func (m *mover) owner(ctx context.Context, ip netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	var nodes corev1.NodeList
	if err := m.List(ctx, &nodes); err != nil {
		return "", err
	}
	for {
		answers, err := probe.Who(ctx, m.Lab, lab.HostBIRD, 100*time.Millisecond, 0, ip)
		if err != nil {
			return "", fmt.Errorf("asking who has %s: %w", ip, err)
		}
		if len(answers[ip]) != 1 {
			continue // a move
		}
		for i := range nodes.Items {
			mac, err := m.Lab.HardwareAddress(nodes.Items[i].Name)
			if err != nil {
				return "", err
			}
			if mac.String() == answers[ip][0] {
				return nodes.Items[i].Name, nil
			}
		}
		return "", fmt.Errorf("%s answers for %s, which is no node", answers[ip][0], ip)
	}
}

// serveOn gives the Service the backends of every node but those, and waits
// until they are ready.
func (m *mover) serveOn(ctx context.Context, but map[string]bool) error {
	if _, err := m.Kubectl("rollout", "status", "-n", m.namespace, "daemonset/echo", "--timeout=80s"); err != nil {
		return err
	}
	var pods corev1.PodList
	if err := m.List(ctx, &pods, client.InNamespace(m.namespace), client.MatchingLabels{"app": "echo"}); err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		serves := "yes"
		if but[p.Spec.NodeName] {
			serves = "no"
		}
		if p.Labels["serves"] == serves {
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"labels":{"serves":%q}}}`, serves)
		if err := m.Patch(ctx, p, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			return fmt.Errorf("labelling pod %s: %w", p.Name, err)
		}
	}
	return nil
}

// cuts takes the link of the owner away twenty times, of either family in turn.
func (m *mover) cuts(ctx context.Context, ips []netip.Addr) (row, error) {
	var gaps samples
	for i := range 20 {
		ip := ips[i%len(ips)]
		owner, err := m.owner(ctx, ip)
		if err != nil {
			return row{}, err
		}
		if err := m.serveOn(ctx, map[string]bool{owner: true}); err != nil {
			return row{}, err
		}
		gap, err := probe.LongestGap(ctx, m.Lab.Dialer("client"), netip.AddrPortFrom(ip, 80).String(), func() error {
			return m.Lab.Fault(ctx, lab.LinkDown, owner)
		})
		if err != nil {
			return row{}, fmt.Errorf("cut %d, of %s: %w", i+1, owner, err)
		}
		fmt.Printf("  cut of %s, which has %s: gap %v\n", owner, ip, gap.Round(time.Millisecond))
		gaps = append(gaps, gap.Seconds())
		if err := m.heal(ctx); err != nil {
			return row{}, err
		}
	}
	return newRow("L2 take-over, node's link cut", "s, worst", gaps, gaps.quantile(1),
		"new TCP connections every 10 ms, backends on other nodes; MetalLB 5.3 s", 1), nil
}

// heal undoes the faults, and waits until every node and speaker is well.
func (m *mover) heal(ctx context.Context) error {
	if err := m.Lab.Heal(ctx); err != nil {
		return err
	}
	for _, wait := range [][]string{
		{"wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"},
		{"rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"},
	} {
		if _, err := m.Kubectl(wait...); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, cluster.Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var nodes corev1.NodeList
		if err := m.List(ctx, &nodes); err != nil {
			return err
		}
		alone := 0
		for _, n := range nodes.Items {
			if v, err := probe.Metric(ctx, m.Cluster, n.Name, speakerMetrics, "porchlight_speaker_members"); err != nil || int(v) != len(nodes.Items) {
				alone++
			}
		}
		if alone == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d speakers do not know all others: %w", alone, ctx.Err())
		case <-tick.C:
		}
	}
}

// speakerMetrics is the port of a speaker's metrics on its node.
const speakerMetrics = 7482

// planned counts the connections that fail while owners hand over on purpose.
func (m *mover) planned(ctx context.Context, ips []netip.Addr) (row, error) {
	if err := m.serveOn(ctx, nil); err != nil {
		return row{}, err
	}
	var targets []string
	for _, ip := range ips {
		targets = append(targets, netip.AddrPortFrom(ip, 80).String())
	}
	attempts, failed, err := probe.Connections(ctx, m.Lab.Dialer("client"), targets, 100, 10000, func(ctx context.Context) error {
		return probe.Handover(ctx, m.Cluster, func(ctx context.Context) ([]string, error) {
			owner, err := m.owner(ctx, ips[0])
			return []string{owner}, err
		})
	})
	if err != nil {
		return row{}, err
	}
	for i, f := range failed {
		if i == 10 {
			break
		}
		fmt.Println("  failed:", f)
	}
	return newRow(fmt.Sprintf("L2 take-over, planned: of %d connections", attempts), "failed", samples{float64(len(failed))}, float64(len(failed)),
		"100 a second and family; pod deleted, node drained, speakers rolled", 0), nil
}

// replies measures a speaker's answers beside those of the kernel of the same
// node.
func (m *mover) replies(ctx context.Context, ips []netip.Addr) ([]row, error) {
	const questions = 1000
	var rows []row
	for i, ip := range ips {
		owner, err := m.owner(ctx, ip)
		if err != nil {
			return nil, err
		}
		node := &corev1.Node{}
		if err := m.Get(ctx, client.ObjectKey{Name: owner}, node); err != nil {
			return nil, err
		}
		var own netip.Addr
		for _, a := range node.Status.Addresses {
			if at, err := netip.ParseAddr(a.Address); err == nil && at.Is4() == ip.Is4() {
				own = at
			}
		}
		took, err := probe.RoundTrips(ctx, m.Lab, "client", questions, own, ip)
		if err != nil {
			return nil, err
		}
		kernel, ours := micros(took[own]), micros(took[ip])
		rows = append(rows, newRow([]string{"ARP", "NDP"}[i]+" answer, median", "× the kernel's", ours.over(kernel.quantile(0.5)),
			ours.quantile(0.5)/kernel.quantile(0.5),
			fmt.Sprintf("ours %.0f µs (p99 %.0f), the kernel's own %.0f µs (p99 %.0f)",
				ours.quantile(0.5), ours.quantile(0.99), kernel.quantile(0.5), kernel.quantile(0.99)), 2))
	}
	return rows, nil
}

func micros(all []time.Duration) samples {
	var s samples
	for _, d := range all {
		s = append(s, float64(d)/float64(time.Microsecond))
	}
	return s
}

func (s samples) over(unit float64) samples {
	var all samples
	for _, v := range s {
		all = append(all, v/unit)
	}
	return all
}

// apply makes a namespace and the objects of text in it.
func apply(ctx context.Context, c *cluster.Cluster, text string) (*corev1.Namespace, error) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	if err := c.Create(ctx, ns); err != nil {
		return nil, fmt.Errorf("making a namespace: %w", err)
	}
	objects, err := cluster.Decode(ns.Name, text)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if err := c.Put(ctx, o); err != nil {
			return nil, err
		}
	}
	return ns, nil
}
