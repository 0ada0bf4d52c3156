package xds

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Listener returns the Envoy listener of a Gateway's port. Its routes come
// over ADS under the names of its chains' tables.
func Listener(l *ir.Listener) resource.Resource {
	return resource.New(resource.Listener, l.Name(), &listenerv3.Listener{Name: l.Name()})
}
