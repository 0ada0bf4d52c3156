package ingest

import (
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// matches translates the matches of a rule; without any, everything matches.
// What can be translated is returned in any case, so that a rule that is
// refused still answers for the requests that are its own.
func matches(specs []gwv1.HTTPRouteMatch) ([]ir.Match, *refusal) {
	if len(specs) == 0 {
		return []ir.Match{{Path: ir.PathPrefix, Value: "/"}}, nil
	}
	var out []ir.Match
	var refused *refusal
	for i := range specs {
		m, err := match(&specs[i])
		if err != nil {
			refused = err
			continue
		}
		out = append(out, m)
	}
	return out, refused
}

func match(spec *gwv1.HTTPRouteMatch) (ir.Match, *refusal) {
	var m ir.Match
	var err *refusal
	if m.Path, m.Value, err = pathMatch(spec.Path); err != nil {
		return m, err
	}
	if spec.Method != nil {
		m.Method = string(*spec.Method)
	}
	// Of entries with one name, only the first counts. Names of headers do not
	// depend on case, names of query parameters do.
	for _, h := range spec.Headers {
		isRegex := h.Type != nil && *h.Type == gwv1.HeaderMatchRegularExpression
		if h.Type != nil && !isRegex && *h.Type != gwv1.HeaderMatchExact {
			return m, unsupported("header match type %s is not supported.", *h.Type)
		}
		m.Headers, err = appendValue(m.Headers, strings.ToLower(string(h.Name)), h.Value, isRegex)
		if err != nil {
			return m, err
		}
	}
	for _, q := range spec.QueryParams {
		isRegex := q.Type != nil && *q.Type == gwv1.QueryParamMatchRegularExpression
		if q.Type != nil && !isRegex && *q.Type != gwv1.QueryParamMatchExact {
			return m, unsupported("query parameter match type %s is not supported.", *q.Type)
		}
		m.Query, err = appendValue(m.Query, string(q.Name), q.Value, isRegex)
		if err != nil {
			return m, err
		}
	}
	return m, nil
}

func pathMatch(spec *gwv1.HTTPPathMatch) (ir.PathMatch, string, *refusal) {
	kind, value := gwv1.PathMatchPathPrefix, "/"
	if spec != nil && spec.Type != nil {
		kind = *spec.Type
	}
	if spec != nil && spec.Value != nil {
		value = *spec.Value
	}
	if kind == gwv1.PathMatchRegularExpression {
		return ir.PathRegex, value, checkRegex(value)
	}
	if !strings.HasPrefix(value, "/") || strings.ContainsAny(value, "?#") {
		return "", "", unsupported("%q is not a path.", value)
	}
	switch kind {
	case gwv1.PathMatchExact:
		return ir.PathExact, value, nil
	case gwv1.PathMatchPathPrefix:
		// A trailing slash of a prefix is ignored.
		if value = strings.TrimRight(value, "/"); value == "" {
			value = "/"
		}
		return ir.PathPrefix, value, nil
	default:
		return "", "", unsupported("path match type %s is not supported.", kind)
	}
}

func appendValue(ms []ir.ValueMatch, name, value string, isRegex bool) ([]ir.ValueMatch, *refusal) {
	for _, m := range ms {
		if m.Name == name {
			return ms, nil
		}
	}
	if isRegex {
		if err := checkRegex(value); err != nil {
			return ms, err
		}
	}
	return append(ms, ir.ValueMatch{Name: name, Value: value, Regex: isRegex}), nil
}
