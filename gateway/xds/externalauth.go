package xds

import (
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// authFilter stands for the filter that has requests checked by a service, which
// their route brings. It is in every chain, and is nothing where the route brings
// none; see docs/decisions/0016-a-route-brings-its-authorization.md.
const authFilter = "external-auth"

// authTimeout is how long a service may take to answer.
const authTimeout = 5 * time.Second

func auth() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: authFilter,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&matchingv3.ExtensionWithMatcher{
			XdsMatcher:      &xdsmatcherv3.Matcher{},
			ExtensionConfig: &corev3.TypedExtensionConfig{Name: "composite", TypedConfig: pack(&compositev3.Composite{})},
		})},
	}
}

// authPolicy of a route: for all of its requests the filter is the one that asks
// the service.
func authPolicy(a *ir.ExternalAuth) *matchingv3.ExtensionWithMatcherPerRoute {
	filter := &corev3.TypedExtensionConfig{Name: "envoy.filters.http.ext_authz", TypedConfig: pack(extAuthz(a))}
	return &matchingv3.ExtensionWithMatcherPerRoute{XdsMatcher: &xdsmatcherv3.Matcher{
		OnNoMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
			Action: &xdscorev3.TypedExtensionConfig{Name: "check", TypedConfig: pack(&compositev3.ExecuteFilterAction{TypedConfig: filter})},
		}},
	}}
}

func extAuthz(a *ir.ExternalAuth) *authv3.ExtAuthz {
	out := &authv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		// As where no backend answers; a service that denies says so by itself.
		StatusOnError:     &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		ValidateMutations: true,
		AllowedHeaders:    anyOf(a.Headers),
		DisallowedHeaders: anyOf([]string{routesHeader}),
	}
	if a.Body > 0 {
		out.WithRequestBody = &authv3.BufferSettings{MaxRequestBytes: a.Body}
	}
	if a.Protocol == ir.AuthGRPC {
		out.Services = &authv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: a.Cluster, Authority: a.Host,
			}},
			Timeout: durationpb.New(authTimeout),
		}}
		return out
	}
	passed := anyOf(a.ResponseHeaders)
	if passed == nil {
		passed = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "[^:].*"}},
		}}}
		out.DecoderHeaderMutationRules = &rulesv3.HeaderMutationRules{
			DisallowExpression: &matcherv3.RegexMatcher{Regex: ir.HeadersOfAnswer + "|" + routesHeader},
		}
	}
	out.Services = &authv3.ExtAuthz_HttpService{HttpService: &authv3.HttpService{
		// The cluster is what counts; the service sees the host of the request.
		ServerUri: &corev3.HttpUri{
			Uri: "http://" + a.Host, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: a.Cluster},
			Timeout: durationpb.New(authTimeout),
		},
		PathPrefix:            a.Path,
		AuthorizationResponse: &authv3.AuthorizationResponse{AllowedUpstreamHeaders: passed},
	}}
	return out
}

// anyOf matches the names, nil where there are none.
func anyOf(names []string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	out := &matcherv3.ListStringMatcher{}
	for _, n := range names {
		out.Patterns = append(out.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: n}, IgnoreCase: true,
		})
	}
	return out
}
