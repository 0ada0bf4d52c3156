//go:build e2e

package layer2

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// arping, ndisc6 and the kernels of a client and of a router find the same one
// node, and the Service's status names it.
func TestOneOwnerAnswers(t *testing.T) {
	l := scenario(t)
	now := l.owners(t, l.ips...)
	l.warm(t, l.ips...)
	l.turned(t, now)
	for ip, node := range now {
		macs, err := l.tool(t.Context(), ip)
		if err != nil {
			t.Error(err)
		} else if names := l.named(macs); !slices.Equal(names, []string{node}) {
			t.Errorf("%v answer for %s; want %s alone", names, ip, node)
		}
	}
	for i := range services {
		s := l.Service(t, l.namespace, fmt.Sprintf("s%d", i), "announced", announced)
		wanted := map[string]bool{}
		for _, ip := range addresses(s) {
			wanted[now[ip]] = true
			if want := fmt.Sprintf("%s answers for %s", now[ip], ip); !strings.Contains(message(s), want) {
				t.Errorf("%s: condition Announced says %q; want %q", s.Name, message(s), want)
			}
		}
		// Why the others are not chosen is told of the first address; within half
		// a minute of what made them better than they were.
		for _, n := range l.others(now[addresses(s)[0]]) {
			l.tells(t, l.namespace, s.Name, n, "NotOwner")
		}
		l.l2Statuses(t, s, wanted)
	}
	for _, node := range l.names() {
		if owned, err := probe.Metric(t.Context(), l.Cluster, node, metricsPort, "porchlight_layer2_owned_addresses"); err != nil {
			t.Error(err)
		} else if int(owned) != len(now.of(node)) {
			t.Errorf("%s counts %v addresses of its own; it answers for %v", node, owned, now.of(node))
		}
	}
}

var macAddress = regexp.MustCompile(`(?i)\b[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}\b`)

// tool lists the hardware addresses that answer arping or ndisc6.
func (l *lan) tool(ctx context.Context, ip netip.Addr) ([]string, error) {
	command := []string{"arping", "-c", "2", "-w", "2", "-W", "0.2", "-I", "eth0", ip.String()}
	if ip.Is6() {
		command = []string{"ndisc6", "-m", "-r", "1", "-w", "200", ip.String(), "eth0"}
	}
	out, err := l.On(ctx, "client", command...)
	var macs []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "rom") && !strings.Contains(line, "Target") { // "bytes from", "reply from", "Target link-layer address"
			continue
		}
		if m := macAddress.FindString(line); m != "" {
			hw, perr := net.ParseMAC(padded(m))
			if perr != nil {
				return nil, perr
			}
			macs = append(macs, hw.String())
		}
	}
	if len(macs) == 0 {
		return nil, fmt.Errorf("nobody answers %s for %s: %w: %s", command[0], ip, err, out)
	}
	slices.Sort(macs)
	return slices.Compact(macs), nil
}

// padded gives each byte of a hardware address two digits: ndisc6 prints fewer.
func padded(mac string) string {
	parts := strings.Split(mac, ":")
	for i, p := range parts {
		if len(p) == 1 {
			parts[i] = "0" + p
		}
	}
	return strings.Join(parts, ":")
}

// l2Statuses waits until the ServiceL2Statuses of a Service name these nodes,
// and the interface of the LAN.
func (l *lan) l2Statuses(t *testing.T, s *corev1.Service, nodes map[string]bool) {
	t.Helper()
	cluster.Eventually(t, "ServiceL2Statuses of "+s.Name, func(ctx context.Context) error {
		all := &v1beta1.ServiceL2StatusList{}
		if err := l.List(ctx, all, client.InNamespace(cluster.System)); err != nil {
			return err
		}
		got := map[string]bool{}
		for _, o := range all.Items {
			if o.Status.ServiceName != s.Name || o.Status.ServiceNamespace != s.Namespace {
				continue
			}
			if !slices.Equal(o.Status.Interfaces, []v1beta1.InterfaceInfo{{Name: "eth0"}}) {
				return fmt.Errorf("%s: interfaces %v", o.Name, o.Status.Interfaces)
			}
			got[o.Status.Node] = true
		}
		if fmt.Sprint(got) != fmt.Sprint(nodes) {
			return fmt.Errorf("they name %v; want %v", got, nodes)
		}
		return nil
	})
}

// An address that no advertisement names is not announced, and says so.
func TestNoAdvertisement(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	l.Apply(t, ns, cluster.Echo("Deployment", "echo")+pool("quiet", "172.30.0.180-172.30.0.189", "fd00:30::1:0/120")+
		service("quiet", "porchlight.dev/address-pool: quiet"))
	s := l.Service(t, ns, "quiet", "Announced=False, NoAdvertisement", func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 2 && condition(s, metav1.ConditionFalse, "NoAdvertisement")
	})
	l.silent(t, addresses(s)...)
	l.Apply(t, ns, advertisement("quiet", ""))
	l.Service(t, ns, "quiet", "announced", announced)
	l.owners(t, addresses(s)...)
}

// A Service that nobody could serve is not announced, whatever its policy.
func TestNoEndpoints(t *testing.T) {
	l := scenario(t)
	ns := l.Namespace(t)
	for _, policy := range []string{"Cluster", "Local"} {
		name := strings.ToLower(policy)
		l.Apply(t, ns, service(name, "", "externalTrafficPolicy: "+policy))
		s := l.Service(t, ns, name, "Announced=False, NoEndpoints", func(s *corev1.Service) bool {
			return len(s.Status.LoadBalancer.Ingress) == 2 && condition(s, metav1.ConditionFalse, "NoEndpoints")
		})
		l.silent(t, addresses(s)...)
	}
}

// pool is YAML of a pool that Services ask for by name.
func pool(name string, blocks ...string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: %s, namespace: porchlight-system}
spec: {addresses: [%s], autoAssign: false}
---
`, name, strings.Join(blocks, ", "))
}

// advertisement is YAML of an L2Advertisement of the pool of the same name;
// more is YAML of its spec.
func advertisement(name, more string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: L2Advertisement
metadata: {name: %s, namespace: porchlight-system}
spec:
  ipAddressPools: [%[1]s]
  %s
---
`, name, more)
}
