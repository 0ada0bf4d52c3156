package infra

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/names"
)

func TestServiceName(t *testing.T) {
	long := strings.Repeat("a", 253)
	seen := map[string]string{}
	for _, g := range []string{"web", "web.example", "web-example", "1st", "gateway-1st", long, long[:252] + "b", strings.Repeat("b.", 60) + "c", "a." + strings.Repeat("-", 1) + "b"} {
		n := ServiceName(g)
		if problems := validation.IsDNS1035Label(n); problems != nil {
			t.Errorf("%s: %s: %v", g, n, problems)
		}
		if other, ok := seen[n]; ok {
			t.Errorf("%s and %s are both %s", g, other, n)
		}
		seen[n] = g
	}
	if n := ServiceName("web"); n != "web-porchlight" {
		t.Errorf("web: %s", n)
	}
}

func wanted() *Wanted {
	return &Wanted{UID: "u", GatewayPlan: ingest.GatewayPlan{
		Name: name("web"), Fleet: name("fleet"),
		Ports:       []ingest.PlanPort{{Port: 80, Protocol: ir.HTTP}, {Port: 443, Protocol: ir.TLS}},
		Addresses:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Labels:      map[string]string{"team": "a", names.ManagedBy: "somebody"},
		Annotations: map[string]string{"note": "b"},
	}}
}

// A Gateway may have a longer name than the value of a label.
func TestServiceOfALongName(t *testing.T) {
	w := wanted()
	for _, gateway := range []string{"web", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 63) + "b"} {
		w.Name.Name = gateway
		s := service(w, &v1beta1.EnvoyFleet{}, nil)
		for k, v := range s.Labels {
			if problems := validation.IsValidLabelValue(v); problems != nil {
				t.Errorf("%s: label %s: %v", gateway, k, problems)
			}
		}
		if of, ok := gatewayOf(s); !ok || of != w.Name || !Ours(s, gateway) {
			t.Errorf("%s: the Service is that of %v, %v", gateway, of, ok)
		}
		s.Name = "another"
		if of, ok := gatewayOf(s); ok {
			t.Errorf("a Service that only has our labels is taken for that of %v", of)
		}
	}
}

func TestServiceIsOfTheGateway(t *testing.T) {
	f := &v1beta1.EnvoyFleet{}
	class := "example.com/other"
	f.Spec.Service = v1beta1.FleetService{
		ExternalTrafficPolicy: "Local", AddressPool: "public", LoadBalancerClass: &class,
		Labels: map[string]v1beta1.LabelValue{"team": "fleet", "x": "y"}, Annotations: map[string]string{"note": "fleet", "v": "w"},
	}
	s := service(wanted(), f, []corev1.ServicePort{servicePort(wanted().Ports[0], 20007)})
	if !Ours(s, "web") || s.Labels["team"] != "a" || s.Labels["x"] != "y" || s.Annotations["note"] != "b" || s.Annotations["v"] != "w" {
		t.Errorf("metadata %v %v", s.Labels, s.Annotations)
	}
	if s.Annotations["porchlight.dev/loadBalancerIPs"] != "192.0.2.1,2001:db8::1" || s.Annotations["porchlight.dev/address-pool"] != "public" {
		t.Errorf("annotations %v", s.Annotations)
	}
	if s.Spec.Selector != nil || s.Spec.ExternalTrafficPolicy != "Local" || *s.Spec.LoadBalancerClass != class || *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicyPreferDualStack {
		t.Errorf("spec %+v", s.Spec)
	}

	f.Spec.Service.LoadBalancerClass = nil
	other := "example.com/another"
	for name, c := range map[string]struct {
		live, wanted *string
		want         bool
	}{
		"none": {nil, nil, true}, "the same": {&class, &class, true}, "one where there was none": {nil, &class, false},
		"another": {&class, &other, false}, "one that the cluster gave": {&class, nil, true},
	} {
		live, s := &corev1.Service{}, &corev1.Service{}
		live.Spec.LoadBalancerClass, s.Spec.LoadBalancerClass = c.live, c.wanted
		if got := movable(live, s); got != c.want {
			t.Errorf("class, %s: movable %v, want %v", name, got, c.want)
		}
	}

	one := wanted()
	one.Addresses = one.Addresses[1:]
	if s := service(one, f, nil); *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || !slices.Equal(s.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv6Protocol}) {
		t.Errorf("asked for an IPv6 address alone: %v %v", *s.Spec.IPFamilyPolicy, s.Spec.IPFamilies)
	} else if live := (&corev1.Service{Spec: corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}}}); movable(live, s) {
		t.Error("the first family of a Service cannot change")
	}

	// What it records comes back as facts.
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "x"}}
	g := &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	facts := Facts(s, g)
	if facts.FleetPorts[80] != 20007 || len(facts.Addresses) != 1 || facts.AddressRefused != "" {
		t.Errorf("facts %+v", facts)
	}
	s.Status.Conditions = []metav1.Condition{{Type: names.Allocated, Status: metav1.ConditionFalse, Reason: "AddressInUse", Message: "taken"}}
	if f := Facts(s, g); f.AddressRefused != "" {
		t.Errorf("an address that nobody asked for is refused: %s", f.AddressRefused)
	}
	g.Spec.Addresses = []gwv1.GatewaySpecAddress{{Value: "192.0.2.1"}}
	if f := Facts(s, g); f.AddressRefused != "AddressInUse: taken" {
		t.Errorf("refusal %q", f.AddressRefused)
	}
	delete(s.Labels, names.ManagedBy)
	if f := Facts(s, g); f.AddressRefused == "" || f.FleetPorts != nil {
		t.Errorf("facts of a Service that is not ours: %+v", f)
	}
	if f := Facts(nil, g); f.FleetPorts != nil || f.AddressRefused != "" {
		t.Errorf("facts without a Service: %+v", f)
	}
}

func pod(node string, ready bool, ips ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: node}}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

// The slices are looked at again when an Envoy that leaves should be used no
// more.
func TestNextToLeave(t *testing.T) {
	now := time.Now()
	leaves := func(in time.Duration) *corev1.Pod {
		p := pod("n", true, "10.0.0.1")
		p.DeletionTimestamp = &metav1.Time{Time: now.Add(in)}
		return p
	}
	early, late := leaves(time.Minute), leaves(time.Hour)
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		want time.Time
	}{
		"nobody leaves":    {[]*corev1.Pod{pod("n", true, "10.0.0.1")}, time.Time{}},
		"one is past that": {[]*corev1.Pod{leaves(0), late}, fleet.ServesUntil(late)},
		"two leave":        {[]*corev1.Pod{late, early}, fleet.ServesUntil(early)},
	} {
		if got := nextToLeave(map[string][]*corev1.Pod{"f": c.pods}, now); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestEndpointSlices(t *testing.T) {
	leaving := pod("n2", true, "10.0.0.2")
	now := time.Now()
	leaving.DeletionTimestamp = &metav1.Time{Time: now.Add(time.Minute)}
	leaving.Annotations = map[string]string{fleet.ServesAnnotation: "ns/web/80"}
	leaving.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "envoy", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	done := pod("n3", false, "10.0.0.3")
	done.Status.Phase = corev1.PodFailed
	s := service(wanted(), &v1beta1.EnvoyFleet{}, []corev1.ServicePort{servicePort(wanted().Ports[0], 20007)})
	out := endpointSlices(s, []*corev1.Pod{leaving, pod("n1", true, "10.0.0.1", "fd00::1"), done, pod("", false)}, now)
	if len(out) != 2 || out[0].AddressType != discoveryv1.AddressTypeIPv4 || out[1].AddressType != discoveryv1.AddressTypeIPv6 {
		t.Fatalf("slices %v", out)
	}
	e := out[0].Endpoints
	if len(e) != 2 || *e[0].NodeName != "n1" || !*e[0].Conditions.Ready || *e[1].Conditions.Ready || !*e[1].Conditions.Serving || !*e[1].Conditions.Terminating {
		t.Errorf("endpoints %+v", e)
	}
	if p := out[0].Ports[0]; *p.Port != 20007 || *p.Name != "http-80" {
		t.Errorf("port %v %v", *p.Port, *p.Name)
	}
	if v := validation.IsValidLabelValue(out[0].Labels[discoveryv1.LabelManagedBy]); v != nil {
		t.Errorf("label: %v", v)
	}
	many := make([]*corev1.Pod, 1001)
	for i := range many {
		many[i] = pod("n", true, netip.AddrFrom4([4]byte{10, 1, byte(i / 256), byte(i)}).String())
	}
	if out := endpointSlices(s, many, now); len(out) != 2 || len(out[0].Endpoints) != 1000 || out[0].Name == out[1].Name {
		t.Errorf("%d slices for 1,001 pods", len(out))
	}
}
