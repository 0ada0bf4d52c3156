package xds

import (
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

const (
	// idleTimeout closes a connection of a client that asks for nothing.
	idleTimeout = time.Hour
	// requestHeadersTimeout is how long a client may take to send the headers
	// of a request: it cannot hold a connection by sending them slowly.
	requestHeadersTimeout = 10 * time.Second
	// handshakeTimeout is how long a TLS handshake may take.
	handshakeTimeout = 10 * time.Second
	// Of HTTP/2: requests at once, and bytes in flight per request and per
	// connection.
	maxStreams       = 100
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
)

// Listener returns the Envoy listener of a Gateway's port. Its routes come
// over ADS in the scopes of its chains.
func Listener(l *ir.Listener) resource.Resource {
	out := &listenerv3.Listener{
		Name:                          l.Name(),
		Address:                       anyAddress(l.FleetPort),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
	}
	if l.Protocol == ir.UDP {
		out.Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
		out.UdpListenerConfig = &listenerv3.UdpListenerConfig{DownstreamSocketConfig: &corev3.UdpSocketConfig{}}
		out.ListenerFilters = []*listenerv3.ListenerFilter{udpFilter(l, l.Chains[0].Stream)}
		return resource.New(resource.Listener, l.Name(), out)
	}
	if l.Protocol == ir.TLS {
		out.ListenerFilters = []*listenerv3.ListenerFilter{{
			Name:       "tls_inspector",
			ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&inspectorv3.TlsInspector{})},
		}}
	}
	for i := range l.Chains {
		out.FilterChains = append(out.FilterChains, filterChain(l, &l.Chains[i]))
	}
	return resource.New(resource.Listener, l.Name(), out)
}

// anyAddress is every address of both families.
func anyAddress(port int32) *corev3.Address {
	a := socket(netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)))
	a.GetSocketAddress().Ipv4Compat = true
	return a
}

func filterChain(l *ir.Listener, c *ir.Chain) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{Name: c.Name, Filters: []*listenerv3.Filter{{Name: "stream"}}}
	if c.Table != nil {
		out.Filters[0].Name = "http"
		out.Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(connectionManager(l, c))}
	} else {
		out.Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(tcpProxy(l, c.Stream))}
	}
	if c.ServerName != "" {
		out.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{c.ServerName}}
	}
	if len(c.Certificates) > 0 {
		out.TransportSocketConnectTimeout = durationpb.New(handshakeTimeout)
		out.TransportSocket = tlsSocket(downstreamTLS(c))
	}
	return out
}

func connectionManager(l *ir.Listener, c *ir.Chain) *hcmv3.HttpConnectionManager {
	out := &hcmv3.HttpConnectionManager{
		// One name for all, so that the number of statistics does not grow with
		// the number of Gateways.
		StatPrefix: "http",
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       corsFilter,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&corsv3.Cors{})},
		}, auth(), {
			Name:       sessionFilter,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&sessionv3.StatefulSession{})},
		}, router()},
		// X-Forwarded-For carries the client's address and nothing that the
		// client made up.
		UseRemoteAddress: wrapperspb.Bool(true),
		// /a/../b must not get past the rules for /b.
		NormalizePath:         wrapperspb.Bool(true),
		AccessLog:             accessLogs(l.AccessLog),
		UpgradeConfigs:        []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		RequestHeadersTimeout: durationpb.New(requestHeadersTimeout),
		// What the backend says of itself is passed on.
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		CommonHttpProtocolOptions:  &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			MaxConcurrentStreams:        wrapperspb.UInt32(maxStreams),
			InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
			InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		},
	}
	inScopes(out, c.Name)
	return out
}

// router is the last filter of all.
func router() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       "envoy.filters.http.router",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&routerv3.Router{SuppressEnvoyHeaders: true})},
	}
}
