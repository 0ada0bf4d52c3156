//go:build e2e

// Package layer2 shows, with real kernels as clients, that the network knows
// where an address lives and that it moves when its owner goes.
package layer2

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// echo is a backend on every node, behind a dual-stack Service whose traffic
// stays on the node that it reaches.
var echo = cluster.Echo("DaemonSet", "echo") + `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo}
`

// announced is a Service that the network can reach: its addresses, and the
// node that answers for each of them.
type announced struct {
	*cluster.Cluster
	namespace string
	v4, v6    string
}

func announce(t *testing.T) *announced {
	t.Helper()
	c := cluster.ForTest(t)
	a := &announced{Cluster: c, namespace: c.Namespace(t)}
	c.Apply(t, a.namespace, echo)
	s := c.Service(t, a.namespace, "echo", "two addresses, announced", func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 2 &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionTrue, "Announced")
	})
	a.v4, a.v6 = cluster.Addresses(s)[0], cluster.Addresses(s)[1]
	t.Cleanup(func() {
		if err := c.Lab.Heal(context.Background()); err != nil {
			t.Errorf("undoing the faults: %v", err)
		}
		a.allReady(t)
	})
	return a
}

// allReady waits until every node and every speaker works again, so that one
// test's fault is not the next one's.
func (a *announced) allReady(t *testing.T) {
	t.Helper()
	for _, wait := range [][]string{
		{"wait", "node", "--all", "--for=condition=Ready", "--timeout=80s"},
		{"rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"},
	} {
		if _, err := a.Kubectl(wait...); err != nil {
			t.Errorf("not all is well after the test: %v", err)
		}
	}
}

var macAddress = regexp.MustCompile(`(?i)\b([0-9a-f]{1,2}(:[0-9a-f]{1,2}){5})\b`)

// answers are the hardware addresses that answer for the address on the LAN.
func (a *announced) answers(ctx context.Context, address string) ([]string, error) {
	command := []string{"arping", "-c", "2", "-w", "2", "-I", "eth0", address}
	if strings.Contains(address, ":") {
		command = []string{"ndisc6", "-m", "-r", "1", "-w", "1000", address, "eth0"}
	}
	out, err := a.On(ctx, "client", command...)
	var macs []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "rom") && !strings.Contains(line, "Target") { // "bytes from", "reply from", "Target link-layer address"
			continue
		}
		if m := macAddress.FindString(line); m != "" {
			hw, perr := net.ParseMAC(pad(m))
			if perr != nil {
				return nil, perr
			}
			macs = append(macs, hw.String())
		}
	}
	slices.Sort(macs)
	macs = slices.Compact(macs)
	if len(macs) == 0 {
		return nil, fmt.Errorf("nobody answers for %s: %v: %s", address, err, out)
	}
	return macs, nil
}

// pad gives each byte of a hardware address two digits: ndisc6 prints fewer.
func pad(mac string) string {
	parts := strings.Split(mac, ":")
	for i, p := range parts {
		if len(p) == 1 {
			parts[i] = "0" + p
		}
	}
	return strings.Join(parts, ":")
}

// node names the node whose interface has the hardware address.
func (a *announced) node(t *testing.T, mac string) string {
	t.Helper()
	var nodes corev1.NodeList
	if err := a.List(t.Context(), &nodes); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		out, err := a.On(t.Context(), n.Name, "ip", "link", "show", "eth0")
		if err != nil {
			continue // the host is off: it is not the one that answered
		}
		if strings.Contains(out, mac) {
			return n.Name
		}
	}
	t.Fatalf("no node has the hardware address %s", mac)
	return ""
}

// owner is the one node that answers for the address.
func (a *announced) owner(t *testing.T, address string) string {
	t.Helper()
	var macs []string
	cluster.Eventually(t, "exactly one answers for "+address, func(ctx context.Context) error {
		var err error
		if macs, err = a.answers(ctx, address); err == nil && len(macs) > 1 {
			err = fmt.Errorf("%v all answer", macs)
		}
		return err
	})
	return a.node(t, macs[0])
}

// reachable sends a request to the address from the client.
func (a *announced) reachable(t *testing.T, address string) {
	t.Helper()
	a.Want(t, 200, cluster.Request{URL: "http://" + net.JoinHostPort(address, "80") + "/"})
}

func TestOneOwnerAnswers(t *testing.T) {
	a := announce(t)
	for _, address := range []string{a.v4, a.v6} {
		a.reachable(t, address)
		owner := a.owner(t, address)
		l2 := &v1beta1.ServiceL2StatusList{}
		if err := a.List(t.Context(), l2, client.InNamespace(cluster.System)); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(l2.Items, func(s v1beta1.ServiceL2Status) bool {
			return s.Status.Node == owner && s.Status.ServiceName == "echo" && s.Status.ServiceNamespace == a.namespace
		}) {
			t.Errorf("%s answers for %s, and no ServiceL2Status says so: %+v", owner, address, l2.Items)
		}
	}
}

// lose takes the owner of the address away, and shows that another answers,
// and that the one that returns takes nothing back.
func lose(t *testing.T, a *announced, address string, fault lab.FaultKind) {
	t.Helper()
	old := a.owner(t, address)
	a.reachable(t, address)
	began := time.Now()
	if err := a.Lab.Fault(t.Context(), fault, old); err != nil {
		t.Fatal(err)
	}
	a.reachable(t, address)
	t.Logf("%s of %s: %s was reachable again within %v", fault, old, address, time.Since(began).Round(time.Millisecond))
	heir := a.owner(t, address)
	if heir == old {
		t.Fatalf("%s still answers for %s after %s", old, address, fault)
	}
	if err := a.Lab.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.allReady(t)
	if now := a.owner(t, address); now != heir {
		t.Errorf("%s moved to %s when %s returned; want it to stay on %s", address, now, old, heir)
	}
	a.reachable(t, address)
}

func TestOwnersLinkCut(t *testing.T) {
	a := announce(t)
	t.Run("IPv4", func(t *testing.T) { lose(t, a, a.v4, lab.LinkDown) })
	t.Run("IPv6", func(t *testing.T) { lose(t, a, a.v6, lab.LinkDown) })
}

func TestOwnerPoweredOff(t *testing.T) {
	a := announce(t)
	lose(t, a, a.v4, lab.PowerOff)
}

func TestSpeakerKilled(t *testing.T) {
	a := announce(t)
	old := a.owner(t, a.v4)
	if err := a.Lab.Fault(t.Context(), lab.KillSpeaker, old); err != nil {
		t.Fatal(err)
	}
	a.allReady(t)
	a.reachable(t, a.v4)
	a.owner(t, a.v4)
}

// An address that no advertisement names is not announced, and says so.
func TestNoAdvertisement(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: quiet, namespace: porchlight-system}
spec: {addresses: [172.30.0.180-172.30.0.189], autoAssign: false}
---
apiVersion: v1
kind: Service
metadata:
  name: quiet
  annotations: {porchlight.dev/address-pool: quiet}
spec: {type: LoadBalancer, ports: [{port: 80}], selector: {app: none}}
`)
	c.Service(t, ns, "quiet", "Announced=False, NoAdvertisement", func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 1 &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionFalse, "NoAdvertisement")
	})
}

// A Service that nobody could serve is not announced, whatever its policy.
func TestNoEndpoints(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	for _, policy := range []string{"Cluster", "Local"} {
		name := strings.ToLower(policy)
		c.Apply(t, ns, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {type: LoadBalancer, externalTrafficPolicy: %s, ports: [{port: 80}], selector: {app: none}}
`, name, policy))
		c.Service(t, ns, name, "Announced=False, NoEndpoints", func(s *corev1.Service) bool {
			return cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionFalse, "NoEndpoints")
		})
	}
}
