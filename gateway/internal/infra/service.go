// Package infra gives each Gateway its Service of type LoadBalancer, and the
// EndpointSlices that lead from it to the fleet's pods, on ports that no other
// Gateway of the fleet has. What was given to whom is recorded in the Services
// alone: every replica reads it there, so all translate the same.
package infra

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// slicesManager is the value of the label by which others know that they must
// not touch an EndpointSlice.
const slicesManager = "gateway.porchlight.dev"

// maxEndpoints is the API's limit for one EndpointSlice.
const maxEndpoints = 1000

// Wanted is a Gateway that wants a Service.
type Wanted struct {
	ingest.GatewayPlan
	UID types.UID
}

// suffix of the names of Gateways' Services.
const suffix = "-porchlight"

// Named says whether a Service may be one that ServiceName names.
func Named(service string) bool { return strings.HasSuffix(service, suffix) }

// ServiceName returns the name of a Gateway's Service: a DNS label that begins
// with a letter, as the name of a Service must be, unlike that of a Gateway.
func ServiceName(gateway string) string {
	label := strings.ReplaceAll(gateway, ".", "-")
	if label[0] >= '0' && label[0] <= '9' {
		label = "gateway-" + label
	}
	if label == gateway && len(label)+len(suffix) <= 63 {
		return label + suffix
	}
	sum := sha256.Sum256([]byte(gateway))
	hash := "-" + hex.EncodeToString(sum[:4])
	label = label[:min(len(label), 63-len(hash)-len(suffix))]
	return strings.TrimRight(label, "-") + hash + suffix
}

// Ours says whether the Service was made for the Gateway.
func Ours(s *corev1.Service, gateway string) bool {
	return s.Labels[names.ManagedBy] == names.Porchlight && s.Labels[gwv1.GatewayNameLabelKey] == labelOf(gateway)
}

// fleetNamespace is the label with the namespace of the fleet, and so of the
// installation, that a Service was made by.
const fleetNamespace = names.Prefix + "fleet-namespace"

// Fleet returns the group of Envoys that a Gateway's Service records. One that
// records no namespace is from a version that had one installation, and counts
// as that of whoever asks.
func Fleet(s *corev1.Service, installation string) types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(s.Labels[fleetNamespace], installation), Name: s.Labels[fleet.Label]}
}

// labelOf is the value of the label for a Gateway, whose name may be longer
// than that of a label.
func labelOf(gateway string) string {
	if len(gateway) <= validation.LabelValueMaxLength {
		return gateway
	}
	return ServiceName(gateway)
}

// gatewayOf returns the Gateway that a Service of ours was made for.
func gatewayOf(s *corev1.Service) (types.NamespacedName, bool) {
	i := slices.IndexFunc(s.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Gateway" })
	if i < 0 || !Ours(s, s.OwnerReferences[i].Name) || s.Name != ServiceName(s.OwnerReferences[i].Name) {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: s.Namespace, Name: s.OwnerReferences[i].Name}, true
}

// Facts returns what a Gateway's Service, which may be nil, says to
// translation.
func Facts(s *corev1.Service, g *gwv1.Gateway) ingest.Facts {
	var f ingest.Facts
	if s == nil {
		return f
	}
	if !Ours(s, g.Name) {
		f.AddressRefused = fmt.Sprintf("Service %s exists and is not the Gateway's; rename one of them.", s.Name)
		return f
	}
	f.FleetPorts = map[int32]int32{}
	for _, p := range s.Spec.Ports {
		if p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal > 0 {
			f.FleetPorts[p.Port] = p.TargetPort.IntVal
		}
	}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			f.Addresses = append(f.Addresses, a)
		}
	}
	for _, c := range s.Status.Conditions {
		if c.Type == names.Allocated && c.Status == metav1.ConditionFalse && len(g.Spec.Addresses) > 0 {
			f.AddressRefused = fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return f
}

// service renders a Gateway's Service. It has no selector: the pods of a
// shared fleet are in another namespace.
func service(w *Wanted, f *v1beta1.EnvoyFleet, ports []corev1.ServicePort) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Name.Namespace, Name: ServiceName(w.Name.Name),
			Labels:      map[string]string{},
			Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: gwv1.GroupVersion.String(), Kind: "Gateway", Name: w.Name.Name, UID: w.UID,
				Controller: ptr(true),
			}},
		},
		Spec: corev1.ServiceSpec{
			Type:                          corev1.ServiceTypeLoadBalancer,
			IPFamilyPolicy:                ptr(corev1.IPFamilyPolicyPreferDualStack),
			AllocateLoadBalancerNodePorts: ptr(false),
			ExternalTrafficPolicy:         corev1.ServiceExternalTrafficPolicyCluster,
			LoadBalancerClass:             f.Spec.Service.LoadBalancerClass,
			Ports:                         ports,
		},
	}
	if p := f.Spec.Service.ExternalTrafficPolicy; p != "" {
		s.Spec.ExternalTrafficPolicy = p
	}
	for k, v := range f.Spec.Service.Labels {
		s.Labels[k] = string(v)
	}
	maps.Copy(s.Labels, w.Labels)
	maps.Copy(s.Labels, serviceLabels(w))
	maps.Copy(s.Annotations, f.Spec.Service.Annotations)
	if pool := f.Spec.Service.AddressPool; pool != "" {
		s.Annotations[names.Prefix+names.AddressPool] = pool
	}
	maps.Copy(s.Annotations, w.Annotations)
	if len(w.Addresses) > 0 {
		var ips []string
		for _, a := range w.Addresses {
			ips = append(ips, a.String())
		}
		s.Annotations[names.Prefix+names.LoadBalancerIPs] = strings.Join(ips, ",")
		if only, ok := onlyFamily(w.Addresses); ok {
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = ptr(corev1.IPFamilyPolicySingleStack), []corev1.IPFamily{only}
		}
	}
	return s
}

// onlyFamily returns the one family of the addresses. A Gateway that asks for
// addresses has those and no other, so it gets none of the other family.
func onlyFamily(addresses []netip.Addr) (only corev1.IPFamily, ok bool) {
	family := map[bool]corev1.IPFamily{false: corev1.IPv4Protocol, true: corev1.IPv6Protocol}
	for _, a := range addresses {
		if f := family[a.Is6()]; only != "" && f != only {
			return "", false
		} else {
			only = f
		}
	}
	return only, only != ""
}

// movable says whether the live Service can become the wanted one: the first
// family and the class of a Service are for its life.
func movable(live, wanted *corev1.Service) bool {
	class := wanted.Spec.LoadBalancerClass
	return (len(live.Spec.IPFamilies) == 0 || len(wanted.Spec.IPFamilies) == 0 || live.Spec.IPFamilies[0] == wanted.Spec.IPFamilies[0]) &&
		(class == nil || live.Spec.LoadBalancerClass != nil && *live.Spec.LoadBalancerClass == *class)
}

// serviceLabels are those that the gateway itself relies on.
func serviceLabels(w *Wanted) map[string]string {
	return map[string]string{
		names.ManagedBy:          names.Porchlight,
		gwv1.GatewayNameLabelKey: labelOf(w.Name.Name),
		fleet.Label:              w.Fleet.Name,
		fleetNamespace:           w.Fleet.Namespace,
	}
}

// servicePort is a port of a Gateway's Service that leads to a fleet port.
func servicePort(p ingest.PlanPort, fleetPort int32) corev1.ServicePort {
	transport := corev1.ProtocolTCP
	if p.Protocol == ir.UDP {
		transport = corev1.ProtocolUDP
	}
	return corev1.ServicePort{
		Name:       strings.ToLower(string(p.Protocol)) + "-" + strconv.Itoa(int(p.Port)),
		Protocol:   transport,
		Port:       p.Port,
		TargetPort: intstr.FromInt32(fleetPort),
	}
}

// endpointSlices renders the slices that lead from a Service to the pods, one
// for each family that a pod has an address of.
func endpointSlices(s *corev1.Service, pods []*corev1.Pod, now time.Time) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for _, family := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		endpoints := endpointsOf(pods, family, now)
		for n := 0; len(endpoints) > 0; n++ {
			part := endpoints[:min(len(endpoints), maxEndpoints)]
			endpoints = endpoints[len(part):]
			slice := &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: s.Namespace,
					Name:      fmt.Sprintf("%s-%s-%d", s.Name, strings.ToLower(string(family)), n),
					Labels: map[string]string{
						discoveryv1.LabelServiceName: s.Name,
						discoveryv1.LabelManagedBy:   slicesManager,
					},
					OwnerReferences: []metav1.OwnerReference{{
						APIVersion: "v1", Kind: "Service", Name: s.Name, UID: s.UID,
						Controller: ptr(true),
					}},
				},
				AddressType: family,
				Endpoints:   part,
			}
			for _, p := range s.Spec.Ports {
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
					Name: ptr(p.Name), Port: ptr(p.TargetPort.IntVal), Protocol: ptr(p.Protocol),
				})
			}
			out = append(out, slice)
		}
	}
	return out
}

func endpointsOf(pods []*corev1.Pod, family discoveryv1.AddressType, now time.Time) []discoveryv1.Endpoint {
	var out []discoveryv1.Endpoint
	for _, p := range pods {
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.Spec.NodeName == "" {
			continue
		}
		for _, a := range fleet.Addresses(p) {
			if a.Is4() != (family == discoveryv1.AddressTypeIPv4) {
				continue
			}
			out = append(out, discoveryv1.Endpoint{
				Addresses: []string{a.String()},
				NodeName:  ptr(p.Spec.NodeName),
				TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
				Conditions: discoveryv1.EndpointConditions{
					Ready: ptr(fleet.Ready(p)), Serving: ptr(fleet.Serving(p, now)), Terminating: ptr(p.DeletionTimestamp != nil),
				},
			})
			break
		}
	}
	slices.SortFunc(out, func(a, b discoveryv1.Endpoint) int { return strings.Compare(a.Addresses[0], b.Addresses[0]) })
	return out
}

func ptr[T any](v T) *T { return &v }
