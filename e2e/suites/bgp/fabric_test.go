//go:build e2e

// Package bgp shows that routers know the way to an address, and whom they may
// send its packets to: FRR and BIRD, for real, in either family, and a host
// beyond them that connects through the one or the other.
package bgp

import (
	"context"
	"errors"
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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// What is announced lies in these, which are of no segment: only a route leads
// there.
var (
	routed4 = netip.MustParsePrefix("198.51.100.0/24")
	routed6 = netip.MustParsePrefix("2001:db8:51::/120")
)

// The pool of the scenarios. Each advertises it as it needs to.
const pool = `
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: routed, labels: {routed: "yes"}}
spec: {addresses: ["198.51.100.0/24", "2001:db8:51::/120"], autoAssign: false}
---
`

// fabric is the cluster with what the scenarios share: a pool, and backends on
// every node.
type fabric struct {
	*cluster.Cluster
	namespace string
	// nodes by each of their addresses.
	nodes map[netip.Addr]string
}

var shared *fabric

func TestMain(m *testing.M) {
	os.Exit(cluster.Suite(m, func(ctx context.Context, c *cluster.Cluster) error {
		shared = &fabric{Cluster: c, nodes: map[netip.Addr]string{}}
		return shared.prepare(ctx)
	}, func(ctx context.Context, _ *cluster.Cluster) error {
		return shared.remove(ctx)
	}))
}

func (f *fabric) prepare(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bgp-"}}
	if err := f.Create(ctx, ns); err != nil {
		return fmt.Errorf("making a namespace: %w", err)
	}
	f.namespace = ns.Name
	var nodes corev1.NodeList
	if err := f.List(ctx, &nodes); err != nil {
		return err
	}
	for _, n := range nodes.Items {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				f.nodes[ip] = n.Name
			}
		}
		mac, err := f.Lab.HardwareAddress(n.Name)
		if err != nil {
			return err
		}
		f.nodes[linkLocal(mac)] = n.Name
	}
	for namespace, text := range map[string]string{cluster.System: pool, f.namespace: cluster.Echo("DaemonSet", "echo")} {
		objects, err := cluster.Decode(namespace, text)
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := f.Put(ctx, o); err != nil {
				return err
			}
		}
	}
	_, err := f.Kubectl("rollout", "status", "-n", f.namespace, "daemonset/echo", "--timeout=80s")
	return err
}

func (f *fabric) remove(ctx context.Context) error {
	if f.namespace == "" {
		return nil
	}
	var errs []error
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: f.namespace}},
		&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "routed"}},
	} {
		errs = append(errs, client.IgnoreNotFound(f.Delete(ctx, o)))
	}
	return errors.Join(errs...)
}

// linkLocal is the address that an interface makes itself (RFC 4291 appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// scenario is what the scenarios share, as the test t sees it. Whatever the
// test breaks is mended after it.
func scenario(t *testing.T) *fabric {
	t.Helper()
	f := *shared
	f.Cluster = cluster.ForTest(t)
	t.Cleanup(func() { f.mend(t) })
	return &f
}

func (f *fabric) mend(t *testing.T) {
	t.Helper()
	if err := f.Lab.Heal(context.Background()); err != nil {
		t.Errorf("undoing the faults: %v", err)
	}
	for _, wait := range [][]string{
		{"wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"},
		{"rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"},
		{"rollout", "status", "-n", f.namespace, "daemonset/echo", "--timeout=80s"},
	} {
		if _, err := f.Kubectl(wait...); err != nil {
			t.Errorf("not all is well after the test: %v", err)
		}
	}
}

// names are the nodes' names, in order.
func (f *fabric) names() []string {
	return slices.Compact(slices.Sorted(maps.Values(f.nodes)))
}

// routers of the lab.
var routers = []string{lab.HostFRR, lab.HostBIRD}

// address of a router on the nodes' segment, by family.
var address = map[string]map[bool]string{
	lab.HostFRR:  {false: "172.30.0.1", true: "fd00:30::1"},
	lab.HostBIRD: {false: "172.30.0.2", true: "fd00:30::2"},
}

var asn = map[string]int{lab.HostFRR: lab.ASNFRR, lab.HostBIRD: lab.ASNBIRD}

// peer is YAML of a BGPPeer; more is YAML of its spec.
func peer(name string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: BGPPeer
metadata: {name: %s}
spec:
  %s
---
`, name, strings.Join(more, "\n  "))
}

// to is YAML of a BGPPeer's spec that says which router it is.
func to(router string, v6 bool) []string {
	return []string{fmt.Sprintf("myASN: %d", lab.ASNNodes), fmt.Sprintf("peerASN: %d", asn[router]), fmt.Sprintf("peerAddress: %q", address[router][v6])}
}

// on is YAML of a spec that selects nodes.
func on(nodes ...string) string {
	return fmt.Sprintf("nodeSelectors: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]", strings.Join(nodes, ", "))
}

// advertisement is YAML of a BGPAdvertisement of the pool; more is YAML of its
// spec.
func advertisement(name string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: BGPAdvertisement
metadata: {name: %s}
spec:
  ipAddressPools: [routed]
  %s
---
`, name, strings.Join(more, "\n  "))
}

// stack is the families of a Service.
type stack struct {
	name, policy, families string
}

var (
	ipv4only  = stack{"IPv4", "SingleStack", "[IPv4]"}
	ipv6only  = stack{"IPv6", "SingleStack", "[IPv6]"}
	dualStack = stack{"dual stack", "RequireDualStack", "[IPv4, IPv6]"}
)

// service is YAML of a Service of type LoadBalancer on port 80 before the
// backends called echo; more is YAML of its spec.
func (s stack) service(name string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata:
  name: %s
  annotations: {porchlight.dev/address-pool: routed}
spec:
  type: LoadBalancer
  ipFamilyPolicy: %s
  ipFamilies: %s
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo}
  %s
---
`, name, s.policy, s.families, strings.Join(more, "\n  "))
}

// peers are the sessions of most scenarios: every node to each router, over
// either family; more is YAML of each spec.
func (f *fabric) peers(t *testing.T, more ...string) {
	t.Helper()
	for _, router := range routers {
		for _, v6 := range []bool{false, true} {
			f.Apply(t, cluster.System, peer(sessionTo(router, v6), append(to(router, v6), more...)...))
		}
	}
	for _, router := range routers {
		for _, v6 := range []bool{false, true} {
			f.up(t, sessionTo(router, v6), f.names()...)
		}
	}
}

// sessionTo is the name of such a peer.
func sessionTo(router string, v6 bool) string {
	if v6 {
		return router + "-ipv6"
	}
	return router + "-ipv4"
}

// state waits until the sessions of the nodes to a peer are as ok says.
func (f *fabric) state(t *testing.T, peer, want string, ok func(v1beta1.BGPSessionStateStatus) bool, nodes ...string) {
	t.Helper()
	cluster.Eventually(t, fmt.Sprintf("the sessions of %v to %s are %s", nodes, peer, want), func(ctx context.Context) error {
		states, err := f.states(ctx, peer)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if s, there := states[n]; !there || !ok(s) {
				return fmt.Errorf("%s has %+v", n, s)
			}
		}
		return nil
	})
}

// up waits until the sessions of the nodes to a peer are Established.
func (f *fabric) up(t *testing.T, peer string, nodes ...string) {
	t.Helper()
	f.state(t, peer, "Established", func(s v1beta1.BGPSessionStateStatus) bool { return s.State == v1beta1.SessionEstablished }, nodes...)
}

// states are the sessions to a peer, by node; of a peer that is gone, what is
// still said.
func (f *fabric) states(ctx context.Context, peer string) (map[string]v1beta1.BGPSessionStateStatus, error) {
	present, gone, err := f.said(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]v1beta1.BGPSessionStateStatus{}
	for _, s := range append(present, gone...) {
		if s.Peer == peer {
			out[s.Node] = s
		}
	}
	return out, nil
}

// said is what is said of the sessions to the peers that are there, and to those
// that are gone and left their names to none.
func (f *fabric) said(ctx context.Context) (present, gone []v1beta1.BGPSessionStateStatus, err error) {
	var states v1beta1.BGPSessionStateList
	var peers v1beta1.BGPPeerList
	for _, list := range []client.ObjectList{&states, &peers} {
		if err := f.List(ctx, list, client.InNamespace(cluster.System)); err != nil {
			return nil, nil, err
		}
	}
	uids := map[string]types.UID{}
	for _, p := range peers.Items {
		uids[p.Name] = p.UID
	}
	for _, s := range states.Items {
		if uid, there := uids[s.Status.Peer]; !there {
			gone = append(gone, s.Status)
		} else if uid == s.Status.PeerUID {
			present = append(present, s.Status)
		}
	}
	return present, gone, nil
}

// ups are since when each session is up, by peer and node: it is another time
// after a session was down.
func (f *fabric) ups(t *testing.T) map[string]time.Time {
	t.Helper()
	present, _, err := f.said(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]time.Time{}
	for _, s := range present {
		if s.State == v1beta1.SessionEstablished && s.Since != nil {
			out[s.Peer+" of "+s.Node] = s.Since.Time
		}
	}
	return out
}

// undisturbed shows that the sessions that were up have been so all along, save
// those to a peer.
func (f *fabric) undisturbed(t *testing.T, before map[string]time.Time, except string) {
	t.Helper()
	now := f.ups(t)
	for session, since := range before {
		if !strings.HasPrefix(session, except+" of ") && !now[session].Equal(since) {
			t.Errorf("the session %s, up since %v, was disturbed: %v", session, since, now[session])
		}
	}
}

// refused waits until the speakers of the nodes say of their configuration that
// it is invalid, in such words.
func (f *fabric) refused(t *testing.T, words string, nodes ...string) {
	t.Helper()
	f.configuration(t, fmt.Sprintf("refuses %q", words), func(s v1beta1.ConfigurationStateStatus) bool {
		return s.Result == v1beta1.ConfigurationInvalid && strings.Contains(s.ErrorSummary, words)
	}, nodes...)
}

// configuration waits until the nodes' ConfigurationStates are as ok says.
func (f *fabric) configuration(t *testing.T, want string, ok func(v1beta1.ConfigurationStateStatus) bool, nodes ...string) {
	t.Helper()
	for _, n := range nodes {
		s := &v1beta1.ConfigurationState{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: n}}
		if err := f.Await(t.Context(), s, &v1beta1.ConfigurationStateList{}, func() bool { return ok(s.Status) }); err != nil {
			t.Fatalf("the configuration of %s %s: %v", n, want, err)
		}
	}
}

// announced applies a Service, and returns its addresses once its condition
// says that they are announced.
func (f *fabric) announced(t *testing.T, namespace, text string) []netip.Addr {
	t.Helper()
	f.Apply(t, namespace, text)
	objects, err := cluster.Decode(namespace, text)
	if err != nil {
		t.Fatal(err)
	}
	name := objects[len(objects)-1].GetName()
	return addresses(f.Service(t, namespace, name, "announced", announced))
}

// announced says whether the Service has as many addresses as families, and
// all are.
func announced(s *corev1.Service) bool {
	return len(s.Status.LoadBalancer.Ingress) == len(s.Spec.IPFamilies) && condition(s, metav1.ConditionTrue, "Announced")
}

func condition(s *corev1.Service, status metav1.ConditionStatus, reason string) bool {
	return cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", status, reason)
}

func addresses(s *corev1.Service) []netip.Addr {
	var all []netip.Addr
	for _, a := range cluster.Addresses(s) {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// through has the far host send what it sends to the pool through routers, any
// of them.
func (f *fabric) through(t *testing.T, routers ...string) {
	t.Helper()
	for i, to := range []netip.Prefix{routed4, routed6} {
		route := []string{"ip", "route", "replace", to.String()}
		for _, router := range routers {
			route = append(route, "nexthop", "via", far[router][i])
		}
		if _, err := f.On(t.Context(), lab.HostFar, route...); err != nil {
			t.Fatal(err)
		}
	}
}

// far is a router's address on the far host's segment, of either family.
var far = map[string][2]string{lab.HostFRR: {"172.31.0.1", "fd00:31::1"}, lab.HostBIRD: {"172.31.0.2", "fd00:31::2"}}

// reachable waits until the far host is answered.
func (f *fabric) reachable(t *testing.T, ip netip.Addr) {
	t.Helper()
	f.Want(t, 200, cluster.Request{From: lab.HostFar, URL: url(ip)})
}

func url(ip netip.Addr) string { return "http://" + net.JoinHostPort(ip.String(), "80") + "/" }

// sessions says whether exactly these nodes have a session to a peer.
func (f *fabric) sessions(peer string, nodes ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		states, err := f.states(ctx, peer)
		if err != nil {
			return err
		}
		if got := slices.Sorted(maps.Keys(states)); !slices.Equal(got, nodes) {
			return fmt.Errorf("the nodes are %v; want %v", got, nodes)
		}
		return nil
	}
}
