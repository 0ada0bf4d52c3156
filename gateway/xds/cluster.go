package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Cluster returns the Envoy cluster, whose endpoints come over ADS under the
// same name.
func Cluster(c *ir.Cluster) resource.Resource {
	return resource.New(resource.Cluster, c.Name(), &clusterv3.Cluster{Name: c.Name()})
}

// Endpoints returns the addresses behind a cluster.
func Endpoints(e ir.Endpoints) resource.Resource {
	return resource.New(resource.Endpoint, e.Cluster, &endpointv3.ClusterLoadAssignment{ClusterName: e.Cluster})
}
