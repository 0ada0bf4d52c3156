package ingest

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// ref is a backendRef to be followed, with what its filters make of it.
type ref struct {
	*gwv1.BackendRef
	share ir.Backend
}

// follow resolves backendRefs. An invalid one keeps its weight and has no
// cluster. The protocol is what is spoken where the Service does not say.
func (r *route) follow(x *index, refs []ref, p ir.AppProtocol) []backend {
	var out []backend
	for i := range refs {
		b := backend{share: refs[i].share}
		b.share.Weight = 1
		if w := refs[i].Weight; w != nil {
			b.share.Weight = uint32(max(*w, 0))
		}
		// Resolved whatever the weight is, so that the status tells.
		b.cluster, b.insecure = r.cluster(x, &refs[i].BackendObjectReference, p)
		out = append(out, b)
	}
	return out
}

// weighted leaves out the backends of weight zero.
func weighted(bs []backend) []backend {
	return slices.DeleteFunc(bs, func(b backend) bool { return b.share.Weight == 0 })
}

// reachable says whether anything can reach any of the backends.
func reachable(bs []backend, at binding) bool {
	return slices.ContainsFunc(bs, func(b backend) bool { _, ok := b.reach(at); return ok })
}

// invalidStatus is the status of the share of invalid backends.
func invalidStatus(bs []backend, status uint32) uint32 {
	if slices.ContainsFunc(bs, func(b backend) bool { _, ok := b.reach(binding{}); return !ok }) {
		return status
	}
	return 0
}

// mirror adds a RequestMirror to the filters, unless its backend is invalid:
// the request itself is not disturbed by that.
func (f *filters) mirror(r *route, x *index, spec *gwv1.HTTPRequestMirrorFilter, p ir.AppProtocol) *refusal {
	m := ir.Mirror{Numerator: 100, Denominator: 100}
	switch {
	case spec.Percent != nil:
		m.Numerator = uint32(max(*spec.Percent, 0))
	case spec.Fraction != nil:
		m.Numerator = uint32(max(spec.Fraction.Numerator, 0))
		if spec.Fraction.Denominator != nil {
			m.Denominator = uint32(max(*spec.Fraction.Denominator, 0))
		}
	}
	if m.Denominator == 0 || m.Numerator > m.Denominator {
		return unsupported("a mirror of %d in %d requests is not supported.", m.Numerator, m.Denominator)
	}
	b := backend{}
	b.cluster, b.insecure = r.cluster(x, &spec.BackendRef, p)
	if c, ok := b.reach(binding{}); ok {
		m.Cluster = c.Name()
		f.mirrors = append(f.mirrors, m)
		f.mirrored = append(f.mirrored, b)
	}
	return nil
}

// cluster resolves a reference to a port of a Service. Where it cannot, the
// cluster is nil and the route's ResolvedRefs says why. Where it can and the
// policy for the backend's TLS is not valid, insecure is set: nothing may reach
// the backend in the clear.
func (r *route) cluster(x *index, ref *gwv1.BackendObjectReference, p ir.AppProtocol) (c *ir.Cluster, insecure bool) {
	name := types.NamespacedName{Namespace: r.name.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != "Service" {
		r.unresolved(gwv1.RouteReasonInvalidKind, "Backend %s is not a Service.", name)
		return nil, false
	}
	if !slices.Contains(r.services, name) {
		r.services = append(r.services, name)
	}
	if !x.permitted(reference{
		fromGroup: gwv1.GroupName, fromKind: string(r.kind), fromNamespace: r.name.Namespace,
		toKind: "Service", toNamespace: name.Namespace, toName: name.Name,
	}) {
		r.unresolved(gwv1.RouteReasonRefNotPermitted, "No ReferenceGrant in namespace %s lets %ss of namespace %s use Service %s.",
			name.Namespace, r.kind, r.name.Namespace, name.Name)
		return nil, false
	}
	s := x.service(name)
	if s == nil {
		r.unresolved(gwv1.RouteReasonBackendNotFound, "Service %s does not exist.", name)
		return nil, false
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		// It could name what its author has no right to reach.
		r.unresolved(gwv1.RouteReasonInvalidKind, "Service %s is of type ExternalName, which is not supported.", name)
		return nil, false
	}
	if ref.Port == nil {
		r.unresolved(gwv1.RouteReasonBackendNotFound, "The reference to Service %s names no port.", name)
		return nil, false
	}
	transport := corev1.ProtocolTCP
	if p == ir.UDPDatagrams {
		transport = corev1.ProtocolUDP
	}
	port := servicePort(s, *ref.Port, transport)
	if port == nil {
		r.unresolved(gwv1.RouteReasonBackendNotFound, "Service %s has no %s port %d.", name, transport, *ref.Port)
		return nil, false
	}
	policy := x.policyFor(name, port.Name)
	c = &ir.Cluster{Service: name, Port: *ref.Port, PortName: port.Name, Protocol: p}
	switch p {
	case ir.UDPDatagrams:
		return c, false
	case ir.HTTP1, ir.HTTP2:
		protocol, ok := appProtocol(port, p, policy != nil)
		if !ok {
			r.unresolved(gwv1.RouteReasonUnsupportedProtocol, "Port %d of Service %s has appProtocol %s, which needs a BackendTLSPolicy.",
				*ref.Port, name, *port.AppProtocol)
			return nil, false
		}
		c.Protocol = protocol
	}
	if policy == nil || r.kind == tcpRouteKind {
		return c, false
	}
	c.TLS = policy.tls
	return c, policy.tls == nil
}

func servicePort(s *corev1.Service, number int32, transport corev1.Protocol) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Port == number && (p.Protocol == transport || p.Protocol == "" && transport == corev1.ProtocolTCP) {
			return p
		}
	}
	return nil
}

// appProtocol says what a port speaks (KEP-3726; unknown names are taken for
// the protocol that the route is about), and false where that needs TLS and
// there is none.
func appProtocol(p *corev1.ServicePort, otherwise ir.AppProtocol, secured bool) (ir.AppProtocol, bool) {
	if p.AppProtocol == nil {
		return otherwise, true
	}
	switch *p.AppProtocol {
	case "kubernetes.io/h2c", "h2c", "grpc":
		return ir.HTTP2, true
	case "kubernetes.io/wss":
		return ir.HTTP1, secured
	default:
		return otherwise, true
	}
}
