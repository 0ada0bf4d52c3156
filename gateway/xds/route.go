package xds

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// RouteConfiguration returns the Envoy route configuration of one of the
// listener's tables.
func RouteConfiguration(l *ir.Listener, t *ir.RouteTable) resource.Resource {
	return resource.New(resource.Route, t.Name, &routev3.RouteConfiguration{Name: t.Name})
}
