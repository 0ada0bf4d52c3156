package ingest

import (
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

func newTLSRoute(x *index, obj *gwv1.TLSRoute) *route {
	r := newRoute(tlsRouteKind, obj, obj.Spec.Hostnames)
	for i := range obj.Spec.Rules {
		r.addStream(x, obj.Spec.Rules[i].BackendRefs, ir.TCPStream)
	}
	return r
}

func newTCPRoute(x *index, obj *gwv1.TCPRoute) *route {
	r := newRoute(tcpRouteKind, obj, nil)
	for i := range obj.Spec.Rules {
		r.addStream(x, obj.Spec.Rules[i].BackendRefs, ir.TCPStream)
	}
	return r
}

func newUDPRoute(x *index, obj *gwv1.UDPRoute) *route {
	r := newRoute(udpRouteKind, obj, nil)
	for i := range obj.Spec.Rules {
		r.addStream(x, obj.Spec.Rules[i].BackendRefs, ir.UDPDatagrams)
	}
	return r
}

// addStream translates a rule of a route whose connections nothing tells
// apart. The API admits one rule; of more, the first counts.
func (r *route) addStream(x *index, specs []gwv1.BackendRef, p ir.AppProtocol) {
	var refs []ref
	for i := range specs {
		refs = append(refs, ref{BackendRef: &specs[i]})
	}
	b := weighted(r.follow(x, refs, p))
	if len(r.rules) == 0 {
		r.rules = []rule{{backends: b}}
	}
}

// stream returns what a listener does with what falls to one of the routes:
// the oldest of them gets it. Without a route, all is refused.
func stream(routes []*route, at binding) *ir.Stream {
	if len(routes) == 0 {
		return &ir.Stream{}
	}
	r := slices.MinFunc(routes, older)
	out := &ir.Stream{Route: string(r.kind) + "/" + r.name.String()}
	switch {
	case len(r.rules) == 0 || !reachable(r.rules[0].backends, at):
	case r.kind == udpRouteKind:
		for _, c := range datagrams(r.rules[0].backends) {
			out.Backends = append(out.Backends, ir.Backend{Cluster: c.Name(), Weight: 1})
		}
	default:
		out.Backends = forwards(r.rules[0].backends, at)
	}
	return out
}

// datagrams returns the one cluster that all backends of a UDPRoute are; none
// where all of them are invalid.
func datagrams(backends []backend) []ir.Cluster {
	if !reachable(backends, binding{}) {
		return nil
	}
	if len(backends) == 1 {
		return []ir.Cluster{*backends[0].cluster}
	}
	out := ir.Cluster{Protocol: ir.UDPDatagrams}
	for _, b := range backends {
		s := ir.Share{Weight: b.share.Weight}
		if c := b.cluster; c != nil {
			s.Service, s.Port, s.PortName = c.Service, c.Port, c.PortName
			if out.Service.Name == "" {
				out.Service, out.Port, out.PortName = c.Service, c.Port, c.PortName
			}
		}
		out.Shares = append(out.Shares, s)
	}
	return []ir.Cluster{out}
}
