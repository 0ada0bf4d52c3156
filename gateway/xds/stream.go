package xds

import (
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// udpIdleTimeout ends what Envoy remembers of a client of UDP that is silent:
// its next datagram may go to another backend.
const udpIdleTimeout = time.Minute

// tcpProxy passes connections on. One for which there is no cluster is closed.
func tcpProxy(l *ir.Listener, s *ir.Stream) *tcpv3.TcpProxy {
	out := &tcpv3.TcpProxy{
		// One name for all, as for HTTP.
		StatPrefix:  "tcp",
		AccessLog:   accessLogs(l.AccessLog),
		IdleTimeout: durationpb.New(idleTimeout),
	}
	switch len(s.Backends) {
	case 0:
		out.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: invalidBackend}
	case 1:
		out.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: orInvalid(s.Backends[0].Cluster)}
	default:
		weighted := &tcpv3.TcpProxy_WeightedCluster{}
		for _, b := range s.Backends {
			weighted.Clusters = append(weighted.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{
				Name: orInvalid(b.Cluster), Weight: b.Weight,
			})
		}
		out.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	}
	return out
}

func orInvalid(cluster string) string {
	if cluster == "" {
		return invalidBackend
	}
	return cluster
}

// udpFilter passes datagrams on. Those for which there is no cluster are
// dropped.
func udpFilter(l *ir.Listener, s *ir.Stream) *listenerv3.ListenerFilter {
	cluster := invalidBackend
	if len(s.Backends) > 0 {
		cluster = orInvalid(s.Backends[0].Cluster)
	}
	return &listenerv3.ListenerFilter{
		Name: "stream",
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(&udpv3.UdpProxyConfig{
			StatPrefix:  "udp",
			AccessLog:   accessLogs(l.AccessLog),
			IdleTimeout: durationpb.New(udpIdleTimeout),
			RouteSpecifier: &udpv3.UdpProxyConfig_Matcher{Matcher: &xdsmatcherv3.Matcher{
				OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
					Action: &xdscorev3.TypedExtensionConfig{
						Name: "route", TypedConfig: pack(&udpv3.Route{Cluster: cluster}),
					},
				}},
			}},
		})},
	}
}
