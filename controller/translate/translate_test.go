package translate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestAnnotations(t *testing.T) {
	for _, prefix := range []string{"porchlight.dev/", "metallb.io/", "metallb.universe.tf/"} {
		svc := balancer("a")
		svc.Annotations = map[string]string{
			prefix + "address-pool": "gold", prefix + "loadBalancerIPs": "10.0.0.1, fd00::1", prefix + "allow-shared-ip": "k",
			prefix + "ip-allocated-from-pool": "written by us, not read",
		}
		s := Service(svc)
		if s.Pool != "gold" || s.SharingKey != "k" || len(s.Addresses) != 2 || s.Malformed != "" {
			t.Errorf("%s: %+v", prefix, s)
		}
	}
	svc := balancer("a")
	svc.Annotations = map[string]string{
		"metallb.universe.tf/address-pool": "oldest", "metallb.io/address-pool": "old", "porchlight.dev/address-pool": "ours",
		"metallb.universe.tf/loadBalancerIPs": "10.0.0.3", "metallb.io/loadBalancerIPs": "10.0.0.2",
	}
	if s := Service(svc); s.Pool != "ours" || s.Addresses[0].String() != "10.0.0.2" {
		t.Errorf("ours wins, then metallb.io: %+v", s)
	}
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		annotation, field string
		addresses         []string
		malformed         string // part of what is said
	}{
		{"", "10.0.0.1", []string{"10.0.0.1"}, ""},
		{"10.0.0.1", "10.0.0.1", []string{"10.0.0.1"}, ""},
		{"fd00::2,10.0.0.1,10.0.0.3", "", []string{"fd00::2", "10.0.0.1", "10.0.0.3"}, ""},
		{"10.0.0.1", "10.0.0.2", nil, "asks for 10.0.0.1, spec.loadBalancerIP for 10.0.0.2"},
		{"10.0.0.1,10.0.0.1", "", nil, "named twice"},
		{"10.0.0.1,", "", nil, `"" is not an IP address`},
		{"10.0.0.1;10.0.0.2", "", nil, "is not an IP address"},
		{"10.0.0.0/24", "", nil, "is not an IP address"},
		{"010.0.0.1", "", nil, "is not an IP address"},
		{"fe80::1%eth0", "", nil, "has a zone"},
		{"::ffff:10.0.0.1", "", nil, "write 10.0.0.1"},
		{"", "example.com", nil, "spec.loadBalancerIP: "},
	} {
		svc := balancer("a")
		svc.Annotations = map[string]string{"porchlight.dev/loadBalancerIPs": c.annotation}
		svc.Spec.LoadBalancerIP = c.field
		s := Service(svc)
		var addresses []string
		for _, a := range s.Addresses {
			addresses = append(addresses, a.String())
		}
		if !slices.Equal(addresses, c.addresses) || !strings.Contains(s.Malformed, c.malformed) || (s.Malformed == "") != (c.malformed == "") {
			t.Errorf("%q and %q: %v, %q", c.annotation, c.field, addresses, s.Malformed)
		}
	}
}

func TestPoolSelectors(t *testing.T) {
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"10.0.0.0/24"}}}
	p.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{
		Priority: 7, Namespaces: []string{"x"},
		NamespaceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"b": "2", "a": "1"}}},
		ServiceSelectors: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "c", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"3"}},
		}}},
	}
	want := allocator.Pool{
		Name: "p", Addresses: []string{"10.0.0.0/24"}, AutoAssign: true, Priority: 7, Namespaces: []string{"x"},
		NamespaceSelectors: []allocator.Selector{{
			{Key: "a", Operator: allocator.In, Values: []string{"1"}}, {Key: "b", Operator: allocator.In, Values: []string{"2"}},
		}},
		ServiceSelectors: []allocator.Selector{{{Key: "c", Operator: allocator.NotIn, Values: []string{"3"}}}},
	}
	if diff := cmp.Diff(want, Pool(p)); diff != "" {
		t.Error(diff)
	}
	off := false
	p.Spec.AutoAssign = &off
	if Pool(p).AutoAssign {
		t.Error("autoAssign is false")
	}
}

func TestServiceFields(t *testing.T) {
	svc := balancer("a", "10.0.0.1", "fd00::1", "")
	policy := corev1.IPFamilyPolicyRequireDualStack
	svc.Spec.IPFamilyPolicy = &policy
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	svc.Spec.Selector = map[string]string{"b": "2", "a": "1"}
	svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Protocol: corev1.ProtocolUDP, Port: 53})
	s := Service(svc)
	if s.Policy != allocator.RequireDualStack || !slices.Equal(s.Families, []allocator.Family{allocator.IPv6, allocator.IPv4}) ||
		!s.Local || s.Selector != "a=1,b=2" || len(s.Recorded) != 2 ||
		!slices.Equal(s.Ports, []allocator.Port{{Protocol: "TCP", Number: 80}, {Protocol: "UDP", Number: 53}}) {
		t.Errorf("%+v", s)
	}
}

func balancer(name string, ips ...string) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name},
		Spec: corev1.ServiceSpec{
			Type:  corev1.ServiceTypeLoadBalancer,
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	for _, ip := range ips {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
	}
	return svc
}
