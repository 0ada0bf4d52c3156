package ingest

import (
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// backends translates the backendRefs of a rule. An invalid one keeps its
// weight and has no cluster. Nil where no request can reach any: there is
// none, all are invalid, or all weights are zero.
func (r *httpRoute) backends(x *index, refs []gwv1.HTTPBackendRef) ([]ir.Backend, []ir.Cluster, *refusal) {
	var out []ir.Backend
	var clusters []ir.Cluster
	for i := range refs {
		ref := &refs[i]
		b := ir.Backend{Weight: 1}
		if ref.Weight != nil {
			b.Weight = uint32(max(*ref.Weight, 0))
		}
		if err := backendFilters(&b, ref.Filters); err != nil {
			return nil, nil, err
		}
		// Resolved whatever the weight is, so that the status tells.
		c, ok := r.cluster(x, &ref.BackendObjectReference)
		if b.Weight == 0 {
			continue
		}
		if ok {
			b.Cluster = c.Name()
			clusters = append(clusters, c)
		}
		out = append(out, b)
	}
	if clusters == nil {
		return nil, nil, nil
	}
	return out, clusters, nil
}

// mirror adds a RequestMirror to the filters, unless its backend is invalid:
// the request itself is not disturbed by that.
func (f *filters) mirror(r *httpRoute, x *index, spec *gwv1.HTTPRequestMirrorFilter) *refusal {
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
	if c, ok := r.cluster(x, &spec.BackendRef); ok {
		m.Cluster = c.Name()
		f.mirrors = append(f.mirrors, m)
		f.clusters = append(f.clusters, c)
	}
	return nil
}

// cluster resolves a reference to a port of a Service. Where it cannot, the
// route's ResolvedRefs says why.
func (r *httpRoute) cluster(x *index, ref *gwv1.BackendObjectReference) (ir.Cluster, bool) {
	name := types.NamespacedName{Namespace: r.name.Namespace, Name: string(ref.Name)}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != "Service" {
		r.unresolved(gwv1.RouteReasonInvalidKind, "Backend %s is not a Service.", name)
		return ir.Cluster{}, false
	}
	if !x.permitted(reference{
		fromGroup: gwv1.GroupName, fromKind: "HTTPRoute", fromNamespace: r.name.Namespace,
		toKind: "Service", toNamespace: name.Namespace, toName: name.Name,
	}) {
		r.unresolved(gwv1.RouteReasonRefNotPermitted, "No ReferenceGrant in namespace %s lets HTTPRoutes of namespace %s use Service %s.",
			name.Namespace, r.name.Namespace, name.Name)
		return ir.Cluster{}, false
	}
	s := x.services[name]
	if s == nil {
		r.unresolved(gwv1.RouteReasonBackendNotFound, "Service %s does not exist.", name)
		return ir.Cluster{}, false
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		// It could name what its author has no right to reach.
		r.unresolved(gwv1.RouteReasonInvalidKind, "Service %s is of type ExternalName, which is not supported.", name)
		return ir.Cluster{}, false
	}
	if ref.Port == nil {
		r.unresolved(gwv1.RouteReasonBackendNotFound, "The reference to Service %s names no port.", name)
		return ir.Cluster{}, false
	}
	port := servicePort(s, *ref.Port)
	if port == nil {
		r.unresolved(gwv1.RouteReasonBackendNotFound, "Service %s has no TCP port %d.", name, *ref.Port)
		return ir.Cluster{}, false
	}
	protocol, ok := appProtocol(port)
	if !ok {
		r.unresolved(gwv1.RouteReasonUnsupportedProtocol, "Port %d of Service %s has appProtocol %s, which is not supported.",
			*ref.Port, name, *port.AppProtocol)
		return ir.Cluster{}, false
	}
	return ir.Cluster{Service: name, Port: *ref.Port, PortName: port.Name, Protocol: protocol}, true
}

func servicePort(s *corev1.Service, number int32) *corev1.ServicePort {
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Port == number && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "") {
			return p
		}
	}
	return nil
}

// appProtocol says what a port speaks (KEP-3726; unknown names are taken for
// HTTP/1.1), and false where that needs TLS.
func appProtocol(p *corev1.ServicePort) (ir.AppProtocol, bool) {
	if p.AppProtocol == nil {
		return ir.HTTP1, true
	}
	switch *p.AppProtocol {
	case "kubernetes.io/h2c", "h2c", "grpc":
		return ir.H2C, true
	case "kubernetes.io/wss":
		return "", false
	default:
		return ir.HTTP1, true
	}
}
