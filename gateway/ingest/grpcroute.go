package ingest

import (
	"regexp"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// serviceUnavailable becomes the status UNAVAILABLE for a client of gRPC, as
// GRPCRouteRule.BackendRefs asks for.
const serviceUnavailable = 503

func newGRPCRoute(x *index, obj *gwv1.GRPCRoute) *route {
	r := newRoute(grpcRouteKind, obj, obj.Spec.Hostnames)
	r.addRules(len(obj.Spec.Rules), serviceUnavailable, func(i int) (rule, *refusal) {
		return r.grpcRule(x, &obj.Spec.Rules[i], i)
	})
	return r
}

func (r *route) grpcRule(x *index, spec *gwv1.GRPCRouteRule, i int) (rule, *refusal) {
	u := rule{}
	var refused *refusal
	for i := range spec.Matches {
		m, err := grpcMatch(&spec.Matches[i])
		if err != nil {
			refused = err
			continue
		}
		u.matches = append(u.matches, m)
	}
	if len(spec.Matches) == 0 {
		u.matches = []ir.Match{{Path: ir.PathPrefix, Value: "/"}}
	}
	if refused != nil {
		return u, refused
	}
	session, err := r.session(spec.SessionPersistence, i, spec.Name)
	if err != nil {
		return u, err
	}
	f, err := r.grpcFilters(x, spec.Filters)
	if err != nil {
		return u, err
	}
	u.route.RequestHeaders, u.route.ResponseHeaders = f.requestHeaders, f.responseHeaders
	var refs []ref
	for i := range spec.BackendRefs {
		b := &spec.BackendRefs[i]
		w := ref{BackendRef: &b.BackendRef}
		if err := grpcBackendFilters(&w.share, b.Filters); err != nil {
			return u, err
		}
		refs = append(refs, w)
	}
	if u.backends, err = choice(r.follow(x, refs, ir.HTTP2), session); err != nil {
		return u, err
	}
	if !reachable(u.backends, binding{}) {
		u.route.Respond = &ir.Respond{Status: serviceUnavailable}
		return u, nil
	}
	u.mirrors = f.mirrored
	u.route.Forward = &ir.Forward{
		Backends: forwards(u.backends, binding{}), Invalid: invalidStatus(u.backends, serviceUnavailable),
		Mirrors: f.mirrors, Session: session,
	}
	return u, nil
}

// grpcMatch translates a match: a call of gRPC is a request for the path
// /service/method.
func grpcMatch(spec *gwv1.GRPCRouteMatch) (ir.Match, *refusal) {
	m := ir.Match{Path: ir.PathPrefix, Value: "/"}
	if spec.Method != nil {
		var err *refusal
		if m.Path, m.Value, err = grpcMethod(spec.Method); err != nil {
			return m, err
		}
	}
	for _, h := range spec.Headers {
		isRegex := h.Type != nil && *h.Type == gwv1.GRPCHeaderMatchRegularExpression
		if h.Type != nil && !isRegex && *h.Type != gwv1.GRPCHeaderMatchExact {
			return m, unsupported("header match type %s is not supported.", *h.Type)
		}
		var err *refusal
		if m.Headers, err = appendValue(m.Headers, strings.ToLower(string(h.Name)), h.Value, isRegex); err != nil {
			return m, err
		}
	}
	return m, nil
}

func grpcMethod(spec *gwv1.GRPCMethodMatch) (ir.PathMatch, string, *refusal) {
	const anything = "[^/]+"
	service, method := "", ""
	if spec.Service != nil {
		service = *spec.Service
	}
	if spec.Method != nil {
		method = *spec.Method
	}
	kind := gwv1.GRPCMethodMatchExact
	if spec.Type != nil {
		kind = *spec.Type
	}
	switch {
	case kind == gwv1.GRPCMethodMatchRegularExpression:
		expr := "/" + group(service, anything) + "/" + group(method, anything)
		return ir.PathRegex, expr, checkRegex(expr)
	case kind != gwv1.GRPCMethodMatchExact:
		return "", "", unsupported("method match type %s is not supported.", kind)
	case strings.ContainsAny(service+method, "/?#"):
		return "", "", unsupported("%q and %q are not the names of a service and a method.", service, method)
	case service == "" && method == "":
		return ir.PathPrefix, "/", nil
	case service == "":
		return ir.PathRegex, "/" + anything + "/" + regexp.QuoteMeta(method), nil
	case method == "":
		return ir.PathPrefix, "/" + service, nil
	default:
		return ir.PathExact, "/" + service + "/" + method, nil
	}
}

func group(expr, otherwise string) string {
	if expr == "" {
		return otherwise
	}
	return "(?:" + expr + ")"
}

// grpcFilters translates the filters of a rule: those of an HTTPRoute that a
// GRPCRoute has too.
func (r *route) grpcFilters(x *index, specs []gwv1.GRPCRouteFilter) (filters, *refusal) {
	var out filters
	for i := range specs {
		f := &specs[i]
		var err *refusal
		switch {
		case f.Type == gwv1.GRPCRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			out.requestHeaders, err = headerChanges(f.RequestHeaderModifier)
		case f.Type == gwv1.GRPCRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			out.responseHeaders, err = headerChanges(f.ResponseHeaderModifier)
		case f.Type == gwv1.GRPCRouteFilterRequestMirror && f.RequestMirror != nil:
			err = out.mirror(r, x, f.RequestMirror, ir.HTTP2)
		default:
			err = unsupported("filter %s is not supported.", f.Type)
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func grpcBackendFilters(b *ir.Backend, fs []gwv1.GRPCRouteFilter) *refusal {
	for i := range fs {
		f := &fs[i]
		if err := backendFilter(b, gwv1.HTTPRouteFilterType(f.Type), f.RequestHeaderModifier, f.ResponseHeaderModifier); err != nil {
			return err
		}
	}
	return nil
}
