// Package translate turns API objects into what the allocator takes: for the
// controller, and for the command that plans with the same core.
package translate

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/names"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Service is what the core must know of a Service.
func Service(svc *corev1.Service) allocator.Service {
	s := allocator.Service{
		Key:      allocator.Key{Namespace: svc.Namespace, Name: svc.Name},
		Created:  svc.CreationTimestamp.Time,
		Labels:   svc.Labels,
		Selector: labels.FormatLabels(svc.Spec.Selector),
		Local:    svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	for _, f := range svc.Spec.IPFamilies {
		s.Families = append(s.Families, map[bool]allocator.Family{true: allocator.IPv6}[f == corev1.IPv6Protocol])
	}
	if p := svc.Spec.IPFamilyPolicy; p != nil {
		s.Policy = map[corev1.IPFamilyPolicy]allocator.Policy{
			corev1.IPFamilyPolicyPreferDualStack:  allocator.PreferDualStack,
			corev1.IPFamilyPolicyRequireDualStack: allocator.RequireDualStack,
		}[*p]
	}
	for _, p := range svc.Spec.Ports {
		s.Ports = append(s.Ports, allocator.Port{Protocol: string(p.Protocol), Number: p.Port})
	}
	s.Pool, _ = names.Annotation(svc.Annotations, names.AddressPool)
	s.SharingKey, _ = names.Annotation(svc.Annotations, names.AllowSharedIP)
	asked, _ := names.Annotation(svc.Annotations, names.LoadBalancerIPs)
	var err error
	if s.Addresses, err = allocator.ParseRequest(asked, svc.Spec.LoadBalancerIP); err != nil {
		s.Malformed = err.Error()
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			s.Recorded = append(s.Recorded, a.Unmap())
		}
	}
	return s
}

// Pool is what the core must know of an IPAddressPool.
func Pool(p *v1beta1.IPAddressPool) allocator.Pool {
	out := allocator.Pool{
		Name:          p.Name,
		Created:       p.CreationTimestamp.Time,
		Addresses:     texts(p.Spec.Addresses),
		Exclude:       texts(p.Spec.Exclude),
		AvoidBuggyIPs: p.Spec.AvoidBuggyIPs,
		AutoAssign:    p.Spec.AutoAssign == nil || *p.Spec.AutoAssign,
		Drain:         p.Spec.Drain,
	}
	if a := p.Spec.ServiceAllocation; a != nil {
		out.Priority = a.Priority
		out.Namespaces = a.Namespaces
		out.NamespaceSelectors = selectors(a.NamespaceSelectors)
		out.ServiceSelectors = selectors(a.ServiceSelectors)
	}
	return out
}

func texts(blocks []v1beta1.AddressBlock) []string {
	var out []string
	for _, b := range blocks {
		out = append(out, string(b))
	}
	return out
}

func selectors(in []metav1.LabelSelector) []allocator.Selector {
	var out []allocator.Selector
	for _, s := range in {
		sel := allocator.Selector{}
		for _, k := range slices.Sorted(maps.Keys(s.MatchLabels)) {
			sel = append(sel, allocator.Requirement{Key: k, Operator: allocator.In, Values: []string{s.MatchLabels[k]}})
		}
		for _, e := range s.MatchExpressions {
			sel = append(sel, allocator.Requirement{Key: e.Key, Operator: allocator.Operator(e.Operator), Values: e.Values})
		}
		out = append(out, sel)
	}
	return out
}
