package ingest

import (
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Endpoints returns the addresses behind a cluster. Slices of other Services
// are ignored, so the caller may pass those of a namespace.
func Endpoints(c *ir.Cluster, endpointSlices []*discoveryv1.EndpointSlice) ir.Endpoints {
	out := ir.Endpoints{Cluster: c.Name()}
	if c.Shares == nil {
		out.Addresses = addresses(c.Service, c.PortName, endpointSlices)
		return out
	}
	for _, s := range c.Shares {
		out.Shares = append(out.Shares, ir.EndpointShare{Weight: s.Weight, Addresses: addresses(s.Service, s.PortName, endpointSlices)})
	}
	if c.Protocol != ir.UDPDatagrams {
		out.Shares = disjoint(out.Shares)
	}
	return out
}

// addresses behind a port of a Service, sorted, each once.
//
// Ready endpoints are used; where none is, those that still serve while they
// terminate, as kube-proxy does.
func addresses(service types.NamespacedName, portName string, endpointSlices []*discoveryv1.EndpointSlice) []netip.AddrPort {
	var ready, serving []netip.AddrPort
	for _, s := range endpointSlices {
		if s.Namespace != service.Namespace || s.Labels[discoveryv1.LabelServiceName] != service.Name ||
			s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		port, ok := slicePort(s, portName)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				addr, err := netip.ParseAddr(a)
				if err != nil {
					continue
				}
				ap := netip.AddrPortFrom(addr, port)
				switch {
				// Nil is unknown and counts as ready, as the API asks for.
				case e.Conditions.Ready == nil || *e.Conditions.Ready:
					ready = append(ready, ap)
				case e.Conditions.Serving != nil && *e.Conditions.Serving:
					serving = append(serving, ap)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready)
}

// slicePort returns the number that a Service's port of the given name has in
// a slice. A named targetPort may have another number in each slice.
func slicePort(s *discoveryv1.EndpointSlice, name string) (uint16, bool) {
	for _, p := range s.Ports {
		n := ""
		if p.Name != nil {
			n = *p.Name
		}
		if n == name && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}
