package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// policy is a BackendTLSPolicy and what is decided about it.
type policy struct {
	obj  *gwv1.BackendTLSPolicy
	name types.NamespacedName
	// tls to the backends; nil where the policy is not valid: nothing may reach
	// them then.
	tls *ir.BackendTLS
	// trust is what they are checked against; nothing where that is the system's.
	trust
	accepted verdict
	resolved verdict
}

// target is what a policy is for: a port of a Service by name, or all of its
// ports.
type target struct {
	service types.NamespacedName
	port    string
}

// decidePolicies decides which policy counts for each target: of several, the
// oldest.
func (x *index) decidePolicies() {
	x.policies, x.policiesOf = map[target]*policy{}, map[types.NamespacedName][]*policy{}
	sorted := slices.Collect(maps.Values(x.policyObjects))
	slices.SortFunc(sorted, func(a, b *gwv1.BackendTLSPolicy) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), ir.CompareNames(nameOf(a), nameOf(b)))
	})
	for _, obj := range sorted {
		p := newPolicy(x, obj)
		for _, t := range p.targets() {
			x.policiesOf[t.service] = append(x.policiesOf[t.service], p)
			if first := x.policies[t]; first != nil {
				p.accepted = no(gwv1.PolicyReasonConflicted,
					fmt.Sprintf("BackendTLSPolicy %s is older and has the same target.", first.name))
				continue
			}
			x.policies[t] = p
			if t.port == "" || !p.accepted.ok {
				continue
			}
			if s := x.service(t.service); s != nil && !hasPort(s, t.port) {
				p.accepted = no(gwv1.PolicyReasonTargetNotFound, fmt.Sprintf("Service %s has no port named %s.", t.service, t.port))
			}
		}
	}
}

func hasPort(s *corev1.Service, name string) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == name })
}

// policyFor returns the policy for a port of a Service; nil: there is none.
func (x *index) policyFor(service types.NamespacedName, port string) *policy {
	x.deps.note(thePolicies, service)
	if port != "" {
		if p := x.policies[target{service, port}]; p != nil {
			return p
		}
	}
	return x.policies[target{service, ""}]
}

// targets of a policy, each once.
func (p *policy) targets() []target {
	var out []target
	for _, ref := range p.obj.Spec.TargetRefs {
		if ref.Group != "" || ref.Kind != "Service" {
			continue
		}
		t := target{service: types.NamespacedName{Namespace: p.obj.Namespace, Name: string(ref.Name)}}
		if ref.SectionName != nil {
			t.port = string(*ref.SectionName)
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

func newPolicy(x *index, obj *gwv1.BackendTLSPolicy) *policy {
	p := &policy{
		obj: obj, name: nameOf(obj),
		accepted: yes(gwv1.PolicyReasonAccepted, "The policy is accepted."),
		resolved: yes(gwv1.BackendTLSPolicyReasonResolvedRefs, "All references are resolved."),
	}
	v := &obj.Spec.Validation
	tls := &ir.BackendTLS{ServerName: string(v.Hostname)}
	if len(v.CACertificateRefs) == 0 {
		if w := v.WellKnownCACertificates; w == nil || *w != gwv1.WellKnownCACertificatesSystem {
			p.accepted = no(gwv1.PolicyReasonInvalid, fmt.Sprintf("The policy has neither caCertificateRefs nor the wellKnownCACertificates %s.",
				gwv1.WellKnownCACertificatesSystem))
			return p
		}
		tls.Authorities = ir.SystemAuthorities()
	}
	for _, n := range v.SubjectAltNames {
		switch n.Type {
		case gwv1.HostnameSubjectAltNameType:
			tls.Names = append(tls.Names, ir.SubjectName{DNS: string(n.Hostname)})
		case gwv1.URISubjectAltNameType:
			tls.Names = append(tls.Names, ir.SubjectName{URI: string(n.URI)})
		default:
			p.accepted = no(gwv1.PolicyReasonInvalid, fmt.Sprintf("Subject alternative names of type %s are not supported.", n.Type))
			return p
		}
	}
	if tls.Names == nil {
		tls.Names = []ir.SubjectName{{DNS: tls.ServerName}}
	}
	var all []authority
	for _, ref := range v.CACertificateRefs {
		name := types.NamespacedName{Namespace: obj.Namespace, Name: string(ref.Name)}
		found, refused := x.authorities(authorityReference{group: string(ref.Group), kind: string(ref.Kind), name: name},
			string(gwv1.BackendTLSPolicyReasonInvalidKind), string(gwv1.BackendTLSPolicyReasonInvalidCACertificateRef))
		switch {
		case refused == nil:
			tls.Authorities = append(tls.Authorities, name)
			all = append(all, found...)
		case p.resolved.ok:
			p.resolved = *refused
		}
	}
	if len(tls.Authorities) == 0 {
		p.accepted = no(gwv1.BackendTLSPolicyReasonNoValidCACertificate, p.resolved.message)
		return p
	}
	p.tls, p.trust = tls, x.hold(all, &p.resolved)
	return p
}

// authorityReference is a reference to CA certificates.
type authorityReference struct {
	group, kind string
	name        types.NamespacedName
}

// authorities follows a reference to CA certificates. What is refused is
// refused with one of the reasons.
func (x *index) authorities(ref authorityReference, invalidKind, invalidRef string) ([]authority, *verdict) {
	if ref.group != "" || ref.kind != "ConfigMap" {
		return nil, &verdict{false, invalidKind, fmt.Sprintf("CA certificate %s is not a ConfigMap.", ref.name)}
	}
	m := x.configMap(ref.name)
	if m == nil {
		return nil, &verdict{false, invalidRef, fmt.Sprintf("ConfigMap %s does not exist.", ref.name)}
	}
	all, err := Authority(m)
	if err != nil {
		return nil, &verdict{false, invalidRef, upperFirst(err.Error()) + "."}
	}
	out := make([]authority, 0, len(all))
	for _, c := range all {
		out = append(out, authority{ref.name, c.Subject.String(), validity{c.NotBefore, c.NotAfter}})
	}
	return out, nil
}

// maxAncestors is the API's limit for the status of a policy.
const maxAncestors = 16

// status of a policy for the Gateways that reach its targets, sorted.
func (p *policy) status(controller gwv1.GatewayController, gateways []types.NamespacedName) PolicyStatus {
	s := PolicyStatus{Name: p.name}
	if p.accepted.ok && len(gateways) > 0 {
		s.Authorities = ends("", p.trust.authorities)
	}
	conditions := []metav1.Condition{
		condition(gwv1.PolicyConditionAccepted, p.accepted, p.obj.Generation),
		condition(gwv1.BackendTLSPolicyConditionResolvedRefs, p.resolved, p.obj.Generation),
	}
	if p.warning.ok {
		conditions = append(conditions, condition(names.CACertificateWarning, p.warning, p.obj.Generation))
	}
	for _, g := range gateways[:min(len(gateways), maxAncestors)] {
		s.Ancestors = append(s.Ancestors, gwv1.PolicyAncestorStatus{
			AncestorRef: gwv1.ParentReference{
				Group: ptr(gwv1.Group(gwv1.GroupName)), Kind: ptr(gwv1.Kind("Gateway")),
				Namespace: ptr(gwv1.Namespace(g.Namespace)), Name: gwv1.ObjectName(g.Name),
			},
			ControllerName: controller,
			Conditions:     slices.Clone(conditions),
		})
	}
	return s
}
