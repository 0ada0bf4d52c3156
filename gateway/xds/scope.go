package xds

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	taggingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ip_tagging/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// A table is two route configurations, because Envoy loads a whole one for a
// change of one virtual host; see docs/decisions/0011-two-route-configurations.md.
// A request is looked for in the one of the table's name. Where that is not the
// whole table, what it has no virtual host for matches its last one, which has
// the request looked for in the rest.
const (
	// routesHeader names the route configuration that a request is looked for
	// in. Clients cannot set it, and backends do not see it.
	routesHeader = "x-porchlight-routes"
	// restFilter changes it.
	restFilter  = "rest"
	everyDomain = "*"
)

// scopes returns what a chain has beside its table: the rest, with nothing in it
// but what leads to it, and the keys of both.
func scopes(chain string) []resource.Resource {
	rest := resource.Rest(chain)
	return []resource.Resource{
		scope(chain),
		scope(rest),
		resource.Compose(resource.Route, rest, routeHead(rest), virtualHosts, []*resource.Part{
			resource.NewPart(everyDomain, toRest()),
		}),
	}
}

func scope(name string) resource.Resource {
	return resource.New(resource.Scope, name, &routev3.ScopedRouteConfiguration{
		Name:                   name,
		RouteConfigurationName: name,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name},
		}}},
	})
}

// toRest has a request looked for in the rest of its table, whose answer is the
// one that counts.
func toRest() *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: everyDomain, Domains: []string{everyDomain}, Routes: []*routev3.Route{{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 404}},
		TypedPerFilterConfig: map[string]*anypb.Any{
			// Nothing but that it is on.
			restFilter: pack(&routev3.FilterConfig{Config: &anypb.Any{}}),
		},
	}}}
}

// scopedRoutes has requests looked for in the route configuration whose name is
// in the header.
func scopedRoutes(name string) *hcmv3.HttpConnectionManager_ScopedRoutes {
	return &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: name,
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
				HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
					Name:        routesHeader,
					ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{},
				},
			},
		}}},
		RdsConfigSource: ads(),
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
	}}
}

// KeepScopes is a filter chain for a listener that an Envoy always has; no
// connection matches it. All listeners share one subscription to scopes, which
// ends with the last of them. Envoy would then acknowledge scopes, and ask for
// none of their routes, until a listener comes that is not sent before them.
func KeepScopes() *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name: "scopes",
		FilterChainMatch: &listenerv3.FilterChainMatch{SourcePrefixRanges: []*corev3.CidrRange{
			{AddressPrefix: "255.255.255.255", PrefixLen: wrapperspb.UInt32(32)},
		}},
		Filters: []*listenerv3.Filter{{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(&hcmv3.HttpConnectionManager{
			StatPrefix:     "scopes",
			RouteSpecifier: scopedRoutes("none"),
			HttpFilters:    []*hcmv3.HttpFilter{router()},
		})}}},
	}
}

// inScopes has a connection manager look for requests in the two route
// configurations of a chain.
func inScopes(m *hcmv3.HttpConnectionManager, chain string) {
	m.RouteSpecifier = scopedRoutes(chain)
	m.EarlyHeaderMutationExtensions = []*corev3.TypedExtensionConfig{{
		Name: "first",
		TypedConfig: pack(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: routesHeader, Value: chain},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
		}}}),
	}}
	// Of the filters that have a route looked for again it is the one that does
	// nothing else but write a header, the same for clients of all addresses.
	every := func(family string) *corev3.CidrRange {
		return &corev3.CidrRange{AddressPrefix: family, PrefixLen: wrapperspb.UInt32(0)}
	}
	m.HttpFilters = append([]*hcmv3.HttpFilter{{
		Name:     restFilter,
		Disabled: true,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&taggingv3.IPTagging{
			IpTags:      []*taggingv3.IPTagging_IPTag{{IpTagName: resource.Rest(chain), IpList: []*corev3.CidrRange{every("0.0.0.0"), every("::")}}},
			IpTagHeader: &taggingv3.IPTagging_IpTagHeader{Header: routesHeader, Action: taggingv3.IPTagging_IpTagHeader_SANITIZE},
		})},
	}}, m.HttpFilters...)
}
