//go:build e2e

// Package allocation shows that Services of type LoadBalancer get their
// addresses in a real cluster, and that what is refused says so.
package allocation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// service is a Service of type LoadBalancer without endpoints; more is YAML
// of its spec, annotations YAML of its annotations.
func service(name, annotations, more string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata:
  name: %s
  annotations: {%s}
spec:
  type: LoadBalancer
  ports: [{port: 80}]
  selector: {app: none}
%s`, name, annotations, indent(more))
}

func indent(s string) string {
	if s == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(s, "\n", "\n  ") + "\n"
}

func pool(name, addresses string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: %s, namespace: porchlight-system}
spec: {addresses: [%s], autoAssign: false}
`, name, addresses)
}

// served waits until the Service has as many addresses.
func served(t *testing.T, c *cluster.Cluster, ns, name string, addresses int) *corev1.Service {
	t.Helper()
	return c.Service(t, ns, name, fmt.Sprintf("%d addresses", addresses), func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == addresses &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Allocated", metav1.ConditionTrue, "Allocated")
	})
}

// refused waits until the Service says why it has no address, and returns what
// it says.
func refused(t *testing.T, c *cluster.Cluster, ns, name, reason string) string {
	t.Helper()
	var message string
	c.Service(t, ns, name, "Allocated=False, "+reason, func(s *corev1.Service) bool {
		for _, cond := range s.Status.Conditions {
			if cond.Type == "porchlight.dev/Allocated" {
				message = cond.Message
			}
		}
		return len(s.Status.LoadBalancer.Ingress) == 0 &&
			cluster.Condition(s.Status.Conditions, "porchlight.dev/Allocated", metav1.ConditionFalse, reason)
	})
	return message
}

func TestExternalIPOfEitherFamily(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, service("four", "", "ipFamilies: [IPv4]")+"---"+
		service("six", "", "ipFamilies: [IPv6]")+"---"+
		service("both", "", "ipFamilyPolicy: RequireDualStack"))

	four := served(t, c, ns, "four", 1)
	if ip := four.Status.LoadBalancer.Ingress[0]; !strings.HasPrefix(ip.IP, "172.30.0.2") {
		t.Errorf("address %s; want one of the pool 172.30.0.200-172.30.0.250", ip.IP)
	} else if ip.IPMode == nil || *ip.IPMode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("ipMode %v; want VIP", ip.IPMode)
	}
	if got := four.Annotations["porchlight.dev/ip-allocated-from-pool"]; got != "default" {
		t.Errorf("annotation ip-allocated-from-pool is %q; want default", got)
	}
	six := served(t, c, ns, "six", 1)
	if ip := six.Status.LoadBalancer.Ingress[0].IP; !strings.HasPrefix(ip, "fd00:30::2") {
		t.Errorf("address %s; want one of the pool fd00:30::200-fd00:30::2ff", ip)
	}
	both := served(t, c, ns, "both", 2)
	all := slices.Concat(cluster.Addresses(four), cluster.Addresses(six), cluster.Addresses(both))
	slices.Sort(all)
	if len(slices.Compact(all)) != 4 {
		t.Errorf("addresses %v; want four different ones", all)
	}
}

func TestAddressFreedOnDeleteServesTheWaiting(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("single", "203.0.113.77/32"))
	want := `"metallb.io/address-pool": single`
	c.Apply(t, ns, service("first", want, ""))
	served(t, c, ns, "first", 1)
	c.Apply(t, ns, service("second", want, ""))
	if m := refused(t, c, ns, "second", "PoolExhausted"); !strings.Contains(m, "single") {
		t.Errorf("the refusal is %q; want it to name the pool", m)
	}
	c.Apply(t, ns, service("third", want, ""))
	refused(t, c, ns, "third", "PoolExhausted")

	if err := c.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "first"}}); err != nil {
		t.Fatal(err)
	}
	served(t, c, ns, "second", 1)
	refused(t, c, ns, "third", "PoolExhausted")
}

func TestTypeChangedFreesAddress(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, service("web", "", ""))
	s := served(t, c, ns, "web", 1)
	change := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"type":"ClusterIP"}}`))
	if err := c.Patch(t.Context(), s, change); err != nil { // a patch: the speakers write to the Service meanwhile
		t.Fatal(err)
	}
	c.Service(t, ns, "web", "no address and no trace of one", func(s *corev1.Service) bool {
		_, annotated := s.Annotations["porchlight.dev/ip-allocated-from-pool"]
		return len(s.Status.LoadBalancer.Ingress) == 0 && !annotated && len(s.Status.Conditions) == 0
	})
}

func TestRefusals(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, service("holder", `"porchlight.dev/loadBalancerIPs": 172.30.0.249`, ""))
	served(t, c, ns, "holder", 1)
	for _, refusal := range []struct{ name, annotation, reason, says string }{
		{"outside", `"porchlight.dev/loadBalancerIPs": 10.1.2.3`, "AddressNotInPool", "10.1.2.3"},
		{"taken", `"porchlight.dev/loadBalancerIPs": 172.30.0.249`, "AddressInUse", ns + "/holder"},
		{"garbage", `"porchlight.dev/loadBalancerIPs": "172.30.0.300"`, "InvalidRequest", "172.30.0.300"},
		{"nopool", `"porchlight.dev/address-pool": absent`, "PoolNotFound", "absent"},
	} {
		c.Apply(t, ns, service(refusal.name, refusal.annotation, ""))
		if m := refused(t, c, ns, refusal.name, refusal.reason); !strings.Contains(m, refusal.says) {
			t.Errorf("%s: refused with %q; want it to name %s", refusal.name, m, refusal.says)
		}
		awaitEvent(t, c, ns, refusal.name, refusal.reason)
	}
	c.Apply(t, ns, service("fine", "", ""))
	served(t, c, ns, "fine", 1)
}

// awaitEvent waits for an event of that reason on the Service.
func awaitEvent(t *testing.T, c *cluster.Cluster, ns, name, reason string) {
	t.Helper()
	has := func() bool {
		var events corev1.EventList
		if err := c.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == name && e.Reason == reason
		})
	}
	w, err := c.Watch(t.Context(), &corev1.EventList{}, client.InNamespace(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for !has() {
		if _, open := <-w.ResultChan(); !open {
			t.Fatalf("no event %s on service %s", reason, name)
		}
	}
}

func TestBadPools(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	for _, bad := range []struct{ addresses, says string }{
		{"10.0.0.0/33", "CIDR"},
		{"10.0.0.1-fd00::1", "one family"},
		{"10.0.0.1-", "range"},
		{"nonsense", "CIDR"},
		{"10.0.0.5-10.0.0.1", "end before it starts"},
	} {
		if why := c.Refused(t, cluster.System, pool("bad", `"`+bad.addresses+`"`)); !strings.Contains(why, bad.says) {
			t.Errorf("%s: refused with %q; want it to say %q", bad.addresses, why, bad.says)
		}
	}

	c.Apply(t, ns, pool("reversed", `"2001:db8::5-2001:db8::1"`))
	poolCondition(t, c, "reversed", metav1.ConditionFalse, "InvalidAddresses", "2001:db8::5-2001:db8::1")
	c.Apply(t, ns, pool("overlapping", "172.30.0.250-172.30.0.252"))
	poolCondition(t, c, "overlapping", metav1.ConditionFalse, "Overlap", "default")
	poolCondition(t, c, "default", metav1.ConditionTrue, "Ready", "")

	c.Apply(t, ns, service("fine", "", ""))
	served(t, c, ns, "fine", 1)
}

func poolCondition(t *testing.T, c *cluster.Cluster, name string, status metav1.ConditionStatus, reason, says string) {
	t.Helper()
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: name}}
	err := c.Await(t.Context(), p, &v1beta1.IPAddressPoolList{}, func() bool {
		return cluster.Condition(p.Status.Conditions, "Ready", status, reason) &&
			slices.ContainsFunc(p.Status.Conditions, func(c metav1.Condition) bool {
				return c.Type == "Ready" && strings.Contains(c.Message, says)
			})
	})
	if err != nil {
		t.Fatalf("pool %s: want Ready=%s, %s, naming %q: %v", name, status, reason, says, err)
	}
}

func TestPoolCountsItsAddresses(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("counted", "203.0.113.64/30, 2001:db8:77::/64"))
	c.Apply(t, ns, service("one", `"porchlight.dev/address-pool": counted`, "ipFamilyPolicy: RequireDualStack"))
	served(t, c, ns, "one", 2)
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "counted"}}
	if err := c.Await(t.Context(), p, &v1beta1.IPAddressPoolList{}, func() bool {
		s := &p.Status
		return s.AssignedIPv4 == "1" && s.AvailableIPv4 == "3" &&
			s.AssignedIPv6 == "1" && s.AvailableIPv6 == "18446744073709551615"
	}); err != nil {
		t.Fatalf("want 1 of 4 and 1 of 2^64 addresses assigned: %v", err)
	}
}

// A controller that starts anew gives nobody's address away, and changes
// nobody's.
func TestRestartChangesNothing(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("adopted", "203.0.113.16/28"))
	want := `"porchlight.dev/address-pool": adopted`
	held := map[string]string{}
	for i := range 8 {
		name := fmt.Sprintf("before-%d", i)
		c.Apply(t, ns, service(name, want, ""))
		held[name] = served(t, c, ns, name, 1).Status.LoadBalancer.Ingress[0].IP
	}
	if _, err := c.Kubectl("delete", "pod", "-n", cluster.System, "-l", "app.kubernetes.io/component=controller",
		"--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	taken := map[string]string{}
	for i := range 8 {
		name := fmt.Sprintf("after-%d", i)
		c.Apply(t, ns, service(name, want, ""))
		taken[name] = served(t, c, ns, name, 1).Status.LoadBalancer.Ingress[0].IP
	}
	owner := map[string]string{}
	for name, ip := range taken {
		owner[ip] = name
	}
	for name, ip := range held {
		if other, both := owner[ip]; both {
			t.Errorf("%s was given %s, which %s holds", other, ip, name)
		}
		if now := cluster.Addresses(served(t, c, ns, name, 1))[0]; now != ip {
			t.Errorf("%s had %s and has %s after the restart", name, ip, now)
		}
	}
}
