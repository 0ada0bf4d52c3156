// Package xds turns the gateway's IR into Envoy resources, one function for
// each kind of unit. Every function is pure, and its output depends on its
// argument alone, so a caller may keep results by the argument and compare
// them by their versions.
package xds

import (
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Fleet returns the listeners, route configurations and clusters of a fleet.
// Endpoints and secrets come from Endpoints and Secret, for each of
// f.Clusters and f.Certificates.
func Fleet(f *ir.Fleet) []resource.Resource {
	var out []resource.Resource
	for i := range f.Clusters {
		out = append(out, Cluster(&f.Clusters[i]))
	}
	for i := range f.Listeners {
		l := &f.Listeners[i]
		out = append(out, Listener(l))
		for j := range l.Chains {
			out = append(out, RouteConfiguration(l, &l.Chains[j].Table))
		}
	}
	return out
}
