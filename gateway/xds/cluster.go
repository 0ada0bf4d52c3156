package xds

import (
	"math"
	"net/netip"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

const (
	// connectTimeout is how long a TCP connection to an endpoint may take.
	connectTimeout = 5 * time.Second
	// bufferLimit is how much Envoy holds for one connection, in bytes, to
	// either side, before it stops reading: memory is bounded by connections.
	bufferLimit = 32 << 10
	// httpOptions is the key of a cluster's HTTP options.
	httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// Cluster returns the Envoy cluster, whose endpoints come over ADS under the
// same name.
func Cluster(c *ir.Cluster) resource.Resource {
	out := &clusterv3.Cluster{
		Name:                          c.Name(),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:              &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:                durationpb.New(connectTimeout),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		LbPolicy:                      clusterv3.Cluster_LEAST_REQUEST,
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			// Endpoints are ready or are not there: none is ever used in panic.
			HealthyPanicThreshold: &typev3.Percent{Value: 0},
		},
		// An endpoint that left gets no more requests.
		IgnoreHealthOnHostRemoval: true,
		// Backends protect themselves; Envoy's defaults would refuse the
		// 1,025th request.
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(math.MaxUint32),
			MaxPendingRequests: wrapperspb.UInt32(math.MaxUint32),
			MaxRequests:        wrapperspb.UInt32(math.MaxUint32),
			MaxRetries:         wrapperspb.UInt32(math.MaxUint32),
		}}},
	}
	if c.Protocol == ir.HTTP1 || c.Protocol == ir.HTTP2 {
		out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(upstreamHTTP(c.Protocol))}
	}
	if c.TLS != nil {
		out.TransportSocket = upstreamTLS(c)
	}
	if c.Protocol == ir.UDPDatagrams && c.Shares != nil {
		out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
	}
	if c.Shares != nil {
		out.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	return resource.New(resource.Cluster, c.Name(), out)
}

func upstreamHTTP(p ir.AppProtocol) *httpv3.HttpProtocolOptions {
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
	}
	if p == ir.HTTP2 {
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
		}
	}
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	}
}

// sink takes what falls to a share without endpoints: nobody listens there
// (RFC 863, discard).
var sink = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9)

// Endpoints returns the addresses behind a cluster.
func Endpoints(e ir.Endpoints) resource.Resource {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: e.Cluster}
	if len(e.Addresses) > 0 {
		a.Endpoints = []*endpointv3.LocalityLbEndpoints{locality(e.Addresses)}
	}
	for i, s := range e.Shares {
		addresses := s.Addresses
		if len(addresses) == 0 {
			addresses = []netip.AddrPort{sink}
		}
		l := locality(addresses)
		l.Locality = &corev3.Locality{Zone: strconv.Itoa(i)}
		if s.Weight > 0 { // a locality without a weight is given no load
			l.LoadBalancingWeight = wrapperspb.UInt32(s.Weight)
		}
		a.Endpoints = append(a.Endpoints, l)
	}
	return resource.New(resource.Endpoint, e.Cluster, a)
}

func locality(addresses []netip.AddrPort) *endpointv3.LocalityLbEndpoints {
	l := &endpointv3.LocalityLbEndpoints{}
	for _, ap := range addresses {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(ap)}},
		})
	}
	return l
}

func socket(ap netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ap.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}
}
