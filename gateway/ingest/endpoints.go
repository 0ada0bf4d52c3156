package ingest

import (
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Endpoints returns the addresses behind a cluster. Slices of other Services
// are ignored, so the caller may pass those of a namespace.
//
// Ready endpoints are used; where none is, those that still serve while they
// terminate, as kube-proxy does.
func Endpoints(c ir.Cluster, endpointSlices []*discoveryv1.EndpointSlice) ir.Endpoints {
	var ready, serving []netip.AddrPort
	for _, s := range endpointSlices {
		if s.Namespace != c.Service.Namespace || s.Labels[discoveryv1.LabelServiceName] != c.Service.Name ||
			s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		port, ok := slicePort(s, c.PortName)
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
	out := ir.Endpoints{Cluster: c.Name(), Addresses: ready}
	if len(ready) == 0 {
		out.Addresses = serving
	}
	slices.SortFunc(out.Addresses, netip.AddrPort.Compare)
	out.Addresses = slices.Compact(out.Addresses)
	return out
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
