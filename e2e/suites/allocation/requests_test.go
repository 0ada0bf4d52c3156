//go:build e2e

package allocation

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The annotations are read under three prefixes: ours before MetalLB's, and
// MetalLB's new one before its old one.
func TestAnnotationAddressPool(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("a", "203.0.113.0/28")+pool("b", "203.0.113.16/28"))
	for name, annotations := range map[string]string{
		"ours":            `"porchlight.dev/address-pool": b`,
		"metallb":         `"metallb.io/address-pool": b`,
		"metallb-old":     `"metallb.universe.tf/address-pool": b`,
		"ours-wins":       `"metallb.universe.tf/address-pool": a, "metallb.io/address-pool": a, "porchlight.dev/address-pool": b`,
		"new-before-old":  `"metallb.universe.tf/address-pool": a, "metallb.io/address-pool": b`,
		"ours-before-old": `"metallb.universe.tf/address-pool": a, "porchlight.dev/address-pool": b`,
	} {
		c.Apply(t, ns, service(name, annotations))
		s := served(t, c, ns, name, 1)
		if from := s.Annotations["porchlight.dev/ip-allocated-from-pool"]; from != "b" {
			t.Errorf("%s: address %v from pool %q; want pool b", name, cluster.Addresses(s), from)
		}
	}
	c.Apply(t, ns, service("absent", fromPool("absent")))
	refused(t, c, ns, "absent", "PoolNotFound", "absent")
}

func TestAnnotationLoadBalancerIPs(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("wide", "203.0.113.32/27, 2001:db8:4::/120"))
	for i, annotation := range []string{"porchlight.dev", "metallb.io", "metallb.universe.tf"} {
		name, want := fmt.Sprintf("prefix-%d", i), fmt.Sprintf("203.0.113.%d", 41+i)
		c.Apply(t, ns, service(name, fmt.Sprintf(`"%s/loadBalancerIPs": %s`, annotation, want)))
		has(t, c, ns, name, want)
	}
	c.Apply(t, ns, service("ours-wins", `"metallb.io/loadBalancerIPs": 203.0.113.50, "porchlight.dev/loadBalancerIPs": 203.0.113.51`))
	has(t, c, ns, "ours-wins", "203.0.113.51")

	// One per family, and any number per family, in the order asked for.
	c.Apply(t, ns, service("both", asking("2001:db8:4::7, 203.0.113.52"), "ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	has(t, c, ns, "both", "203.0.113.52", "2001:db8:4::7")
	c.Apply(t, ns, service("many", asking("203.0.113.55,203.0.113.53,2001:db8:4::9,203.0.113.54,2001:db8:4::8"),
		"ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	has(t, c, ns, "many", "203.0.113.55", "203.0.113.53", "203.0.113.54", "2001:db8:4::9", "2001:db8:4::8")
	// All that is asked for, or nothing.
	c.Apply(t, ns, service("half", asking("203.0.113.56,203.0.113.55")))
	refused(t, c, ns, "half", "AddressInUse", "203.0.113.55", ns+"/many")

	// A live Service that asks for something else moves there.
	change(t, c, aService(ns, "many"), `{"metadata":{"annotations":{"porchlight.dev/loadBalancerIPs":"203.0.113.57,2001:db8:4::9"}}}`)
	has(t, c, ns, "many", "203.0.113.57", "2001:db8:4::9")
	has(t, c, ns, "half", "203.0.113.56", "203.0.113.55")
	awaitTold(t, c, ns, "many", "Allocated", "203.0.113.57", "2001:db8:4::9")
}

func TestSpecLoadBalancerIP(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("spec", "203.0.113.64/29"))
	c.Apply(t, ns, service("alone", "", "loadBalancerIP: 203.0.113.65"))
	has(t, c, ns, "alone", "203.0.113.65")
	c.Apply(t, ns, service("agree", asking("203.0.113.66"), "loadBalancerIP: 203.0.113.66"))
	has(t, c, ns, "agree", "203.0.113.66")
	c.Apply(t, ns, service("differ", asking("203.0.113.67"), "loadBalancerIP: 203.0.113.68"))
	refused(t, c, ns, "differ", "InvalidRequest", "203.0.113.67", "203.0.113.68")
	change(t, c, aService(ns, "differ"), `{"spec":{"loadBalancerIP":null}}`)
	has(t, c, ns, "differ", "203.0.113.67")
}

// We write which pools the addresses are from, and take it back with them.
func TestAnnotationIPAllocatedFromPool(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("four", "203.0.113.72/29")+pool("six", "2001:db8:5::/120"))
	c.Apply(t, ns, service("one", fromPool("four"))+
		service("two", asking("203.0.113.73,2001:db8:5::1"), "ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	for name, want := range map[string]string{"one": "four", "two": "four,six"} {
		c.Service(t, ns, name, "the annotation says "+want, func(s *corev1.Service) bool {
			return len(s.Status.LoadBalancer.Ingress) > 0 && s.Annotations["porchlight.dev/ip-allocated-from-pool"] == want
		})
	}
	change(t, c, aService(ns, "one"), `{"metadata":{"annotations":{"porchlight.dev/address-pool":"five"}}}`)
	refused(t, c, ns, "one", "PoolNotFound", "five") // and no annotation

	// It is ours to write.
	change(t, c, aService(ns, "two"), `{"metadata":{"annotations":{"porchlight.dev/ip-allocated-from-pool":"mine"}}}`)
	c.Service(t, ns, "two", "the annotation is put right", func(s *corev1.Service) bool {
		return s.Annotations["porchlight.dev/ip-allocated-from-pool"] == "four,six"
	})
}

func TestIPModeVIP(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, service("web", "", "ipFamilyPolicy: RequireDualStack"))
	isVIP := func(s *corev1.Service) bool {
		return len(s.Status.LoadBalancer.Ingress) == 2 && !slices.ContainsFunc(s.Status.LoadBalancer.Ingress,
			func(in corev1.LoadBalancerIngress) bool {
				return in.IPMode == nil || *in.IPMode != corev1.LoadBalancerIPModeVIP
			})
	}
	s := c.Service(t, ns, "web", "ipMode VIP", isVIP)
	before := cluster.Addresses(s)
	patch := []byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"` + before[0] + `","ipMode":"Proxy"},{"ip":"` + before[1] + `"}]}}}`)
	if err := c.Status().Patch(t.Context(), s, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
	if after := cluster.Addresses(c.Service(t, ns, "web", "ipMode VIP again", isVIP)); !slices.Equal(before, after) {
		t.Errorf("addresses %v after %v", after, before)
	}
}

// Ours are the Services of our class and, unless the controller is told
// otherwise, those of none.
func TestLoadBalancerClass(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	const ours, theirs = "loadBalancerClass: porchlight.dev/lb", "loadBalancerClass: example.com/other"
	c.Apply(t, ns, service("theirs", "", theirs)+service("none", "")+service("ours", "", ours))
	kept := map[string]string{"none": address(t, c, ns, "none"), "ours": address(t, c, ns, "ours")}
	untouched := func(name string) {
		t.Helper()
		s := aService(ns, name)
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			t.Fatal(err)
		}
		if len(s.Status.LoadBalancer.Ingress) > 0 || len(s.Status.Conditions) > 0 || len(s.Annotations) > 0 {
			t.Errorf("Service %s is not ours, and has %v, %v, %v", name, s.Annotations, s.Status.LoadBalancer, s.Status.Conditions)
		}
	}
	untouched("theirs")

	requireClass(t, c, true)
	c.Apply(t, ns, service("later-none", "")+service("later-ours", "", ours))
	address(t, c, ns, "later-ours")
	untouched("later-none")
	if a := address(t, c, ns, "ours"); a != kept["ours"] {
		t.Errorf("Service ours had %s and has %s", kept["ours"], a)
	}
	requireClass(t, c, false)
	address(t, c, ns, "later-none")
	address(t, c, ns, "none")
	untouched("theirs")
}

// requireClass sets the controllers' flag --require-class, and waits until
// they all run with it.
func requireClass(t *testing.T, c *cluster.Cluster, required bool) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "porchlight-controller"}}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(d.Spec.Template.Spec.Containers[0].Args, func(arg string) bool {
		return strings.HasPrefix(arg, "--require-class=")
	})
	if i < 0 {
		t.Fatalf("the controllers' arguments are %v", d.Spec.Template.Spec.Containers[0].Args)
	}
	set := func(required bool) error {
		patch, err := json.Marshal([]map[string]any{{
			"op": "replace", "path": fmt.Sprintf("/spec/template/spec/containers/0/args/%d", i),
			"value": fmt.Sprintf("--require-class=%v", required),
		}})
		if err != nil {
			return err
		}
		if _, err := c.Kubectl("patch", "deployment", "-n", cluster.System, d.Name, "--type=json", "--patch="+string(patch)); err != nil {
			return err
		}
		return c.ControllersReady()
	}
	if err := set(required); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set(false); err != nil {
			t.Error(err)
		}
	})
}

// What cannot be read in a request is refused with a reason that quotes it;
// nothing else is disturbed.
func TestBadRequests(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	untouched := bystander(t, c, ns)
	c.Apply(t, ns, pool("two", "203.0.113.76/31, 2001:db8:6::/127"))
	for _, bad := range []struct{ name, annotations, reason, says string }{
		{"octet", asking("203.0.113.300"), "InvalidRequest", "203.0.113.300"},
		{"word", asking("first"), "InvalidRequest", "first"},
		{"prefix", asking("203.0.113.76/32"), "InvalidRequest", "203.0.113.76/32"},
		{"range", asking("203.0.113.76-203.0.113.77"), "InvalidRequest", "203.0.113.76-203.0.113.77"},
		{"zone", asking("fe80::1%eth0"), "InvalidRequest", "fe80::1%eth0"},
		{"mapped", asking("::ffff:203.0.113.76"), "InvalidRequest", "::ffff:203.0.113.76"},
		{"comma", asking("203.0.113.76,"), "InvalidRequest", "not an IP address"},
		{"blanks", asking("203.0.113.76 203.0.113.77"), "InvalidRequest", "203.0.113.76 203.0.113.77"},
		{"twice", asking("203.0.113.76,203.0.113.76"), "InvalidRequest", "203.0.113.76"},
		{"twice6", asking("2001:db8:6::1,2001:DB8:6:0::1"), "InvalidRequest", "2001:db8:6::1"},
		{"family", asking("2001:db8:6::1"), "InvalidRequest", "2001:db8:6::1"},
		{"mixed", asking("203.0.113.76,2001:db8:6::1"), "InvalidRequest", "2001:db8:6::1"},
		{"metallb", `"metallb.universe.tf/loadBalancerIPs": "203.0.113.76;203.0.113.77"`, "InvalidRequest", "203.0.113.76;203.0.113.77"},
		{"long", asking(strings.Repeat("9", 40_000)), "InvalidRequest", "999"},
		{"more", fromPool("two") + ", " + asking("203.0.113.76,203.0.113.77,203.0.113.78"), "AddressNotInPool", "203.0.113.78"},
		{"elsewhere", fromPool("two") + ", " + asking("172.30.0.201"), "AddressNotInPool", "two"},
		{"outside", asking("10.1.2.3"), "AddressNotInPool", "10.1.2.3"},
		{"pool", fromPool("no such pool!"), "PoolNotFound", "no such pool!"},
		{"pools", fromPool("two,default"), "PoolNotFound", "two,default"},
	} {
		c.Apply(t, ns, service(bad.name, bad.annotations, "ipFamilyPolicy: SingleStack", "ipFamilies: [IPv4]"))
		refused(t, c, ns, bad.name, bad.reason, bad.says)
		awaitTold(t, c, ns, bad.name, bad.reason, bad.says)
	}
	c.Apply(t, ns, service("field", "", "ipFamilies: [IPv4]", `loadBalancerIP: "2001:db8:6::1"`))
	refused(t, c, ns, "field", "InvalidRequest", "2001:db8:6::1")
	poolCounts(t, c, "two", "0", "2", "0", "2")
	untouched()
}
