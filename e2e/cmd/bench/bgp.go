package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

const (
	// prefixes are told to a new peer: addressesOf of each Service.
	prefixes, addressesOf = 10000, 250
	// step bounds what is waited for in one measurement.
	step = time.Minute
	// often is how often is asked whether something has come to pass.
	often = 20 * time.Millisecond
)

// What is announced, and to whom: FRR, over either family.
const routed = `
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: routed}
spec: {addresses: ["198.51.100.0/24", "2001:db8:51::/120", "100.64.0.0/18"], autoAssign: false}
---
apiVersion: porchlight.dev/v1beta1
kind: BGPAdvertisement
metadata: {name: routed}
spec: {ipAddressPools: [routed]}
---
apiVersion: porchlight.dev/v1beta1
kind: BFDProfile
metadata: {name: fast}
spec: {receiveInterval: 50, transmitInterval: 50, detectMultiplier: 3}
---
apiVersion: porchlight.dev/v1beta1
kind: BGPPeer
metadata: {name: frr-ipv4}
spec: {myASN: 64600, peerASN: 64512, peerAddress: 172.30.0.1, bfdProfile: fast}
---
apiVersion: porchlight.dev/v1beta1
kind: BGPPeer
metadata: {name: frr-ipv6}
spec: {myASN: 64600, peerASN: 64512, peerAddress: "fd00:30::1", bfdProfile: fast}
---
`

// routes is the cluster as the routers see it.
type routes struct {
	*cluster.Cluster
	namespace string
	node      map[netip.Addr]string // by address
}

// bgp measures how soon FRR knows.
func bgp(ctx context.Context, c *cluster.Cluster, set settings) ([]row, error) {
	ns, err := apply(ctx, c, cluster.Echo("DaemonSet", "local"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Delete(context.WithoutCancel(ctx), ns) }() // the lab is thrown away
	r := &routes{Cluster: c, namespace: ns.Name, node: map[netip.Addr]string{}}
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return nil, err
	}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				r.node[ip] = n.Name
			}
		}
	}
	if err := r.put(ctx, cluster.System, routed); err != nil {
		return nil, err
	}
	var rows []row
	for _, measure := range []func(context.Context, settings) (row, error){r.endpointReady, r.linkCut, r.newPeer} {
		got, err := measure(ctx, set)
		if err != nil {
			return nil, err
		}
		rows = append(rows, got)
	}
	return rows, nil
}

func (r *routes) put(ctx context.Context, namespace, text string) error {
	objects, err := cluster.Decode(namespace, text)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := r.Put(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// one is YAML of a Service without a selector.
const one = `
apiVersion: v1
kind: Service
metadata: {name: one, annotations: {porchlight.dev/loadBalancerIPs: 198.51.100.10}}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}
`

// endpoint is YAML of its one endpoint, which is ready or not.
func endpoint(ready bool) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: one, labels: {kubernetes.io/service-name: one}}
addressType: IPv4
ports: [{port: 80}]
endpoints: [{addresses: [10.244.1.250], nodeName: node1, conditions: {ready: %v}}]
`, ready)
}

// endpointReady has the only endpoint of a Service become ready, again and
// again.
func (r *routes) endpointReady(ctx context.Context, set settings) (row, error) {
	if err := r.established(ctx, "frr-ipv4"); err != nil {
		return row{}, err
	}
	seen, err := probe.StartBGPCapture(ctx, r.Lab, lab.HostFRR)
	if err != nil {
		return row{}, err
	}
	whole := netip.MustParsePrefix("198.51.100.10/32")
	// from waits for the first message of a node after a moment that ok accepts.
	from := func(at time.Time, ok func(probe.BGPMessage) bool) (probe.BGPMessage, error) {
		var found probe.BGPMessage
		err := cluster.Poll(ctx, often, func(ctx context.Context) error {
			messages, err := seen.Messages()
			if err != nil {
				return err
			}
			i := slices.IndexFunc(messages, func(m probe.BGPMessage) bool { return m.At.After(at) && r.node[m.From.Addr()] != "" && ok(m) })
			if i < 0 {
				return errors.New("FRR hears nothing of the endpoint")
			}
			found = messages[i]
			return nil
		})
		return found, err
	}
	// The Service gets its address, and its endpoint is not ready.
	if err := r.put(ctx, r.namespace, one+"---"+endpoint(false)); err != nil {
		return row{}, err
	}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "one"}}
	if err := r.Await(ctx, s, &corev1.ServiceList{}, func() bool { return len(s.Status.LoadBalancer.Ingress) == 1 }); err != nil {
		return row{}, err
	}
	var took samples
	for range set.updates {
		at := time.Now()
		if err := r.put(ctx, r.namespace, endpoint(true)); err != nil {
			return row{}, err
		}
		m, err := from(at, func(m probe.BGPMessage) bool { return slices.Contains(m.Announced, whole) })
		if err != nil {
			return row{}, err
		}
		took = append(took, milliseconds(m.At.Sub(at)))
		at = time.Now()
		if err := r.put(ctx, r.namespace, endpoint(false)); err != nil {
			return row{}, err
		}
		if _, err := from(at, func(m probe.BGPMessage) bool { return slices.Contains(m.Withdrawn, whole) }); err != nil {
			return row{}, err
		}
	}
	if _, err := seen.Stop(); err != nil {
		return row{}, err
	}
	return newRow("BGP: endpoint ready → UPDATE on the wire", "ms, median", took, took.quantile(0.5),
		"from the write to the API, to the capture at FRR; FRR mode 3–4 s", 50), nil
}

// linkCut cuts the link of a node after the other's.
func (r *routes) linkCut(ctx context.Context, set settings) (row, error) {
	text := `
apiVersion: v1
kind: Service
metadata: {name: cut, annotations: {porchlight.dev/loadBalancerIPs: "198.51.100.11,2001:db8:51::11"}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ipFamilyPolicy: RequireDualStack
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: local}
`
	if err := r.put(ctx, r.namespace, text); err != nil {
		return row{}, err
	}
	announced := []netip.Prefix{netip.MustParsePrefix("198.51.100.11/32"), netip.MustParsePrefix("2001:db8:51::11/128")}
	var names []string
	for _, n := range r.node {
		names = append(names, n)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var took samples
	for i := range set.cuts {
		victim := names[i%len(names)]
		for _, peer := range []string{"frr-ipv4", "frr-ipv6"} {
			if err := r.watched(ctx, peer); err != nil {
				return row{}, err
			}
		}
		for _, p := range announced {
			if err := cluster.Poll(ctx, often, func(ctx context.Context) error { return r.forwards(ctx, p, len(names)) }); err != nil {
				return row{}, err
			}
		}
		gone, err := r.cut(ctx, victim, announced)
		if err != nil {
			return row{}, fmt.Errorf("cut %d, of %s: %w", i+1, victim, err)
		}
		fmt.Printf("  cut of %s: gone after %.0f ms\n", victim, gone)
		took = append(took, gone...)
		if err := r.Lab.Heal(ctx); err != nil {
			return row{}, err
		}
		if _, err := r.Kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"); err != nil {
			return row{}, err
		}
	}
	return newRow("BGP + BFD (50 ms × 3): node's link cut → route gone at FRR", "ms, median", took, took.quantile(0.5),
		"either family, in FRR's kernel; MetalLB's defaults 900 ms", 250), nil
}

// cut cuts a node's link, and returns after how many milliseconds FRR's kernel
// does not forward each of the prefixes to it any more.
func (r *routes) cut(ctx context.Context, victim string, announced []netip.Prefix) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, step)
	defer cancel()
	links, err := probe.WatchLinks(r.Lab, lab.HostSwitch)
	if err != nil {
		return nil, err
	}
	defer links.Stop()
	kernel, err := probe.WatchRoutes(r.Lab, lab.HostFRR)
	if err != nil {
		return nil, err
	}
	defer kernel.Stop()
	if err := r.Lab.Fault(ctx, lab.LinkDown, victim); err != nil {
		return nil, err
	}
	at, err := links.Down(ctx, victim)
	if err != nil {
		return nil, err
	}
	var gone []float64
	for _, p := range announced {
		c, err := kernel.Await(ctx, func(c probe.RouteChange) bool {
			return c.Prefix == p && !slices.ContainsFunc(c.Via, func(via netip.Addr) bool { return r.node[via] == victim })
		})
		if err != nil {
			return nil, err
		}
		gone = append(gone, milliseconds(c.At.Sub(at)))
	}
	return gone, nil
}

// newPeer tells a router that knows nothing of everything.
func (r *routes) newPeer(ctx context.Context, set settings) (row, error) {
	for _, name := range []string{"frr-ipv4", "frr-ipv6"} {
		if err := r.Delete(ctx, &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: name}}); err != nil {
			return row{}, err
		}
	}
	ip := netip.MustParseAddr("100.64.0.0")
	var text strings.Builder
	for i := range prefixes / addressesOf {
		var ips []string
		for range addressesOf {
			ips = append(ips, ip.String())
			ip = ip.Next()
		}
		fmt.Fprintf(&text, `
apiVersion: v1
kind: Service
metadata: {name: many%d, annotations: {porchlight.dev/loadBalancerIPs: %q}}
spec: {type: LoadBalancer, ports: [{port: 80, targetPort: 3000}], selector: {app: local}}
---
`, i, strings.Join(ips, ","))
	}
	if err := r.put(ctx, r.namespace, text.String()); err != nil {
		return row{}, err
	}
	if err := cluster.Poll(ctx, often, func(ctx context.Context) error {
		var all corev1.ServiceList
		if err := r.List(ctx, &all, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		have := 0
		for _, s := range all.Items {
			if strings.HasPrefix(s.Name, "many") {
				have += len(s.Status.LoadBalancer.Ingress)
			}
		}
		if have != prefixes {
			return fmt.Errorf("%d of %d addresses are given", have, prefixes)
		}
		return nil
	}); err != nil {
		return row{}, err
	}
	var took samples
	for range set.peers {
		t, err := r.tell(ctx)
		if err != nil {
			return row{}, err
		}
		fmt.Printf("  %d prefixes after %v\n", prefixes, t.Round(time.Millisecond))
		took = append(took, t.Seconds())
	}
	return newRow(fmt.Sprintf("%d prefixes to a new FRR peer", prefixes), "s, median", took, took.quantile(0.5),
		"from the session's first KEEPALIVE, to the last route in FRR's kernel", 3), nil
}

// tell adds a peer for one node, returns how long it took from the session's
// begin until FRR forwards all prefixes, and removes the peer.
func (r *routes) tell(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*step)
	defer cancel()
	kernel, err := probe.WatchRoutes(r.Lab, lab.HostFRR)
	if err != nil {
		return 0, err
	}
	defer kernel.Stop()
	seen, err := probe.StartBGPCapture(ctx, r.Lab, lab.HostFRR)
	if err != nil {
		return 0, err
	}
	peer := `
apiVersion: porchlight.dev/v1beta1
kind: BGPPeer
metadata: {name: fresh}
spec: {myASN: 64600, peerASN: 64512, peerAddress: 172.30.0.1, nodeSelectors: [{matchLabels: {kubernetes.io/hostname: node1}}]}
`
	if err := r.put(ctx, cluster.System, peer); err != nil {
		return 0, err
	}
	there := map[netip.Prefix]bool{}
	full := func(want int) func(probe.RouteChange) bool {
		return func(c probe.RouteChange) bool {
			if c.Prefix.Bits() == 32 && c.Prefix.Addr().As4()[0] == 100 {
				if delete(there, c.Prefix); len(c.Via) > 0 {
					there[c.Prefix] = true
				}
			}
			return len(there) == want
		}
	}
	last, err := kernel.Await(ctx, full(prefixes))
	if err != nil {
		return 0, fmt.Errorf("%d prefixes: %w", len(there), err)
	}
	messages, err := seen.Stop()
	if err != nil {
		return 0, err
	}
	up := slices.IndexFunc(messages, func(m probe.BGPMessage) bool {
		return m.Kind == packet.BGP_MSG_KEEPALIVE && r.node[m.From.Addr()] != ""
	})
	if up < 0 {
		return 0, errors.New("no session came up")
	}
	if err := r.Delete(ctx, &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "fresh"}}); err != nil {
		return 0, err
	}
	empty := map[netip.Prefix]bool{}
	if _, err := kernel.Await(ctx, func(c probe.RouteChange) bool {
		if c.At.After(last.At) && len(c.Via) == 0 {
			empty[c.Prefix] = true
		}
		return len(empty) >= prefixes
	}); err != nil {
		return 0, err
	}
	return last.At.Sub(messages[up].At), nil
}

// established waits until all nodes have a session to a peer.
func (r *routes) established(ctx context.Context, peer string) error {
	return r.sessions(ctx, peer, func(s v1beta1.BGPSessionStateStatus) bool { return s.State == v1beta1.SessionEstablished })
}

// watched waits until BFD watches the sessions of all nodes to a peer.
func (r *routes) watched(ctx context.Context, peer string) error {
	return r.sessions(ctx, peer, func(s v1beta1.BGPSessionStateStatus) bool {
		return s.State == v1beta1.SessionEstablished && s.BFDState == v1beta1.BFDUp
	})
}

func (r *routes) sessions(ctx context.Context, peer string, ok func(v1beta1.BGPSessionStateStatus) bool) error {
	return cluster.Poll(ctx, often, func(ctx context.Context) error {
		var all v1beta1.BGPSessionStateList
		if err := r.List(ctx, &all, client.InNamespace(cluster.System)); err != nil {
			return err
		}
		up := 0
		for _, s := range all.Items {
			if s.Status.Peer == peer && ok(s.Status) {
				up++
			}
		}
		if nodes := len(r.node) / 2; up != nodes { // each has an address of either family
			return fmt.Errorf("%d of %d nodes have a session to %s", up, nodes, peer)
		}
		return nil
	})
}

// forwards is an error where FRR does not forward a prefix to so many nodes.
func (r *routes) forwards(ctx context.Context, p netip.Prefix, nodes int) error {
	family := "-4"
	if p.Addr().Is6() {
		family = "-6"
	}
	out, err := r.On(ctx, lab.HostFRR, "ip", family, "route", "show", "exact", p.String())
	if err == nil && strings.Count(out, " via ") != nodes {
		err = fmt.Errorf("FRR forwards %s: %q; want %d nodes", p, out, nodes)
	}
	return err
}
