package xds

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// invalidBackend is a cluster that is never there: what is sent to it is
// answered by the route's ClusterNotFoundResponseCode.
const invalidBackend = "invalid-backend"

const internalServerError = 500

// virtualHosts is the number of the field with the virtual hosts.
const virtualHosts = 2

// routeHead returns a route configuration but for its virtual hosts.
func routeHead(name string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name,
		// A Host header may carry a port; it takes no part in matching and is
		// passed on as it is.
		IgnorePortInHostMatching: true,
		// The changes of a backend come after those of its rule.
		MostSpecificHeaderMutationsWins: true,
		ValidateClusters:                wrapperspb.Bool(false),
		RequestHeadersToRemove:          []string{routesHeader},
	}
}

func virtualHost(v *ir.VirtualHost) *routev3.VirtualHost {
	out := &routev3.VirtualHost{Name: v.Domain, Domains: []string{v.Domain}}
	for i := range v.Routes {
		out.Routes = append(out.Routes, route(&v.Routes[i]))
	}
	return out
}

func route(r *ir.Route) *routev3.Route {
	out := &routev3.Route{Name: r.Name, Match: match(&r.Match)}
	out.RequestHeadersToAdd, out.RequestHeadersToRemove = headerChanges(r.RequestHeaders)
	out.ResponseHeadersToAdd, out.ResponseHeadersToRemove = headerChanges(r.ResponseHeaders)
	filters := map[string]*anypb.Any{}
	if r.CORS != nil {
		filters[corsFilter] = pack(corsPolicy(r.CORS))
	}
	if r.Forward != nil && r.Forward.Session != nil {
		filters[sessionFilter] = pack(session(r.Forward.Session, &r.Match))
	}
	if r.Auth != nil {
		filters[authFilter] = pack(authPolicy(r.Auth))
	}
	if len(filters) > 0 {
		out.TypedPerFilterConfig = filters
	}
	switch {
	case r.Redirect != nil:
		out.Action = &routev3.Route_Redirect{Redirect: redirect(r.Redirect, &r.Match)}
	case r.Forward != nil:
		out.Action = &routev3.Route_Route{Route: forward(r.Forward, &r.Match)}
	default:
		out.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: r.Respond.Status}}
	}
	return out
}

func match(m *ir.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch {
	case m.Path == ir.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Value}
	case m.Path == ir.PathRegex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: m.Value}}
	case m.Value == "/":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Value}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, headerMatcher(":method", &ir.ValueMatch{Value: m.Method}))
	}
	for i := range m.Headers {
		out.Headers = append(out.Headers, headerMatcher(m.Headers[i].Name, &m.Headers[i]))
	}
	for i := range m.Query {
		out.QueryParameters = append(out.QueryParameters, &routev3.QueryParameterMatcher{
			Name: m.Query[i].Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{
				StringMatch: stringMatcher(&m.Query[i]),
			},
		})
	}
	return out
}

func headerMatcher(name string, v *ir.ValueMatch) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatcher(v)},
	}
}

func stringMatcher(v *ir.ValueMatch) *matcherv3.StringMatcher {
	if v.Regex {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
			SafeRegex: &matcherv3.RegexMatcher{Regex: v.Value},
		}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v.Value}}
}

func headerChanges(c *ir.HeaderChanges) (add []*corev3.HeaderValueOption, remove []string) {
	if c == nil {
		return nil, nil
	}
	option := func(h ir.Header, action corev3.HeaderValueOption_HeaderAppendAction) {
		add = append(add, &corev3.HeaderValueOption{
			// A percent sign would begin a command of Envoy's format strings.
			Header:         &corev3.HeaderValue{Key: h.Name, Value: strings.ReplaceAll(h.Value, "%", "%%")},
			AppendAction:   action,
			KeepEmptyValue: true,
		})
	}
	for _, h := range c.Set {
		option(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for _, h := range c.Add {
		option(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	return add, c.Remove
}

var redirectStatus = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func redirect(r *ir.Redirect, m *ir.Match) *routev3.RedirectAction {
	out := &routev3.RedirectAction{
		HostRedirect: r.Hostname,
		PortRedirect: uint32(r.Port),
		ResponseCode: redirectStatus[r.Status],
	}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	if r.Path == nil {
		return out
	}
	if r.Path.Full != nil {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: absolute(*r.Path.Full)}
		return out
	}
	if prefix, regex := prefixRewrite(*r.Path.Prefix, m); regex != nil {
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: regex}
	} else {
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefix}
	}
	return out
}

func forward(f *ir.Forward, m *ir.Match) *routev3.RouteAction {
	out := &routev3.RouteAction{Timeout: durationpb.New(f.Timeout)}
	if f.BackendTimeout > 0 || f.Retry != nil {
		out.RetryPolicy = retryPolicy(f.Retry, f.BackendTimeout)
	}
	if f.Hostname != "" {
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: f.Hostname}
	}
	if f.Path != nil {
		rewritePath(out, f.Path, m)
	}
	for _, mirror := range f.Mirrors {
		out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, mirrorPolicy(mirror))
	}
	backends(out, f)
	return out
}

func rewritePath(out *routev3.RouteAction, p *ir.PathRewrite, m *ir.Match) {
	if p.Full != nil {
		out.RegexRewrite = regexRewrite("^.*$", absolute(*p.Full))
		return
	}
	out.PrefixRewrite, out.RegexRewrite = prefixRewrite(*p.Prefix, m)
}

// prefixRewrite returns how the prefix of a match is replaced segment by
// segment (the table at HTTPPathModifier.ReplacePrefixMatch): by a literal, or
// where the slashes would not come out right by a regular expression.
func prefixRewrite(replacement string, m *ir.Match) (string, *matcherv3.RegexMatchAndSubstitute) {
	replacement = strings.TrimRight(replacement, "/")
	switch {
	case m.Value == "/":
		// The prefix that is replaced is the slash itself.
		return absolute(replacement) + slashUnlessRoot(replacement), nil
	case replacement == "":
		// Replacing /foo in /foo/bar by / would leave //bar.
		return "", regexRewrite("^"+regexp.QuoteMeta(m.Value)+"/?", "/")
	default:
		return absolute(replacement), nil
	}
}

func slashUnlessRoot(path string) string {
	if path == "" {
		return ""
	}
	return "/"
}

// absolute puts a slash in front of a path that has none.
func absolute(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
}

func regexRewrite(regex, replacement string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern: &matcherv3.RegexMatcher{Regex: regex},
		// A backslash would begin a reference to a group.
		Substitution: strings.ReplaceAll(replacement, `\`, `\\`),
	}
}

// mirrorPolicy keeps the share exact up to one in a million, the finest that
// Envoy counts.
func mirrorPolicy(m ir.Mirror) *routev3.RouteAction_RequestMirrorPolicy {
	share := &typev3.FractionalPercent{Numerator: m.Numerator, Denominator: typev3.FractionalPercent_HUNDRED}
	if m.Denominator != 100 {
		share.Denominator = typev3.FractionalPercent_MILLION
		share.Numerator = uint32(uint64(m.Numerator) * 1_000_000 / uint64(m.Denominator))
	}
	return &routev3.RouteAction_RequestMirrorPolicy{
		Cluster:                       m.Cluster,
		RuntimeFraction:               &corev3.RuntimeFractionalPercent{DefaultValue: share},
		DisableShadowHostSuffixAppend: true,
	}
}

// backends sets where a route leads: one cluster, or a choice by weight.
func backends(out *routev3.RouteAction, f *ir.Forward) {
	bs := f.Backends
	out.ClusterNotFoundResponseCode = routev3.RouteAction_SERVICE_UNAVAILABLE
	if f.Invalid == internalServerError {
		out.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	}
	if len(bs) == 1 && bs[0].RequestHeaders == nil && bs[0].ResponseHeaders == nil {
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: bs[0].Cluster}
		return
	}
	weighted := &routev3.WeightedCluster{}
	for i := range bs {
		b := &bs[i]
		c := &routev3.WeightedCluster_ClusterWeight{Name: b.Cluster, Weight: wrapperspb.UInt32(b.Weight)}
		if b.Cluster == "" {
			c.Name = invalidBackend
		}
		c.RequestHeadersToAdd, c.RequestHeadersToRemove = headerChanges(b.RequestHeaders)
		c.ResponseHeadersToAdd, c.ResponseHeadersToRemove = headerChanges(b.ResponseHeaders)
		weighted.Clusters = append(weighted.Clusters, c)
	}
	out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
}
