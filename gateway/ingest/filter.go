package ingest

import (
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// filters are the filters of one rule, translated.
type filters struct {
	requestHeaders, responseHeaders *ir.HeaderChanges
	redirect                        *gwv1.HTTPRequestRedirectFilter
	rewrites                        bool
	hostname                        string
	path                            *ir.PathRewrite
	mirrors                         []ir.Mirror
	// mirrored are the backends of the mirrors, one for each.
	mirrored []backend
	cors     *ir.CORS
	// auth is by whom requests are checked, by the authorizer; both or neither.
	auth       *ir.ExternalAuth
	authorizer *backend
}

// filters translates the filters of a rule. A filter that is not supported is
// never skipped: the rule is refused as a whole.
func (r *route) filters(x *index, spec *gwv1.HTTPRouteRule) (filters, *refusal) {
	var out filters
	for i := range spec.Filters {
		f := &spec.Filters[i]
		var err *refusal
		switch {
		case f.Type == gwv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			out.requestHeaders, err = headerChanges(f.RequestHeaderModifier)
		case f.Type == gwv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			out.responseHeaders, err = headerChanges(f.ResponseHeaderModifier)
		case f.Type == gwv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
			out.redirect, err = f.RequestRedirect, checkRedirect(f.RequestRedirect, spec.Matches)
		case f.Type == gwv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
			out.rewrites = true
			if f.URLRewrite.Hostname != nil {
				out.hostname = string(*f.URLRewrite.Hostname)
			}
			out.path, err = pathRewrite(f.URLRewrite.Path, spec.Matches)
		case f.Type == gwv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
			err = out.mirror(r, x, f.RequestMirror, ir.HTTP1)
		case f.Type == gwv1.HTTPRouteFilterCORS && f.CORS != nil:
			out.cors, err = cors(f.CORS)
		case f.Type == gwv1.HTTPRouteFilterExternalAuth && f.ExternalAuth != nil:
			err = out.externalAuth(r, x, f.ExternalAuth)
		default:
			err = unsupported("filter %s is not supported.", f.Type)
		}
		if err != nil {
			return out, err
		}
	}
	if out.redirect != nil && out.rewrites {
		return out, &refusal{gwv1.RouteReasonIncompatibleFilters, "RequestRedirect and URLRewrite may not be combined."}
	}
	return out, nil
}

// backendFilters translates the filters of one backendRef.
func backendFilters(b *ir.Backend, fs []gwv1.HTTPRouteFilter) *refusal {
	for i := range fs {
		f := &fs[i]
		if err := backendFilter(b, f.Type, f.RequestHeaderModifier, f.ResponseHeaderModifier); err != nil {
			return err
		}
	}
	return nil
}

// backendFilter translates a filter of one backendRef, where only the header
// modifiers are supported.
func backendFilter(b *ir.Backend, kind gwv1.HTTPRouteFilterType, request, response *gwv1.HTTPHeaderFilter) (err *refusal) {
	switch {
	case kind == gwv1.HTTPRouteFilterRequestHeaderModifier && request != nil:
		b.RequestHeaders, err = headerChanges(request)
	case kind == gwv1.HTTPRouteFilterResponseHeaderModifier && response != nil:
		b.ResponseHeaders, err = headerChanges(response)
	default:
		err = unsupported("filter %s is not supported on a backendRef.", kind)
	}
	return err
}

// headerChanges translates a header modifier. Of entries with one name, only
// the first counts.
func headerChanges(f *gwv1.HTTPHeaderFilter) (*ir.HeaderChanges, *refusal) {
	out := &ir.HeaderChanges{}
	var err *refusal
	if out.Set, err = headers(f.Set); err != nil {
		return nil, err
	}
	if out.Add, err = headers(f.Add); err != nil {
		return nil, err
	}
	for _, n := range f.Remove {
		if err := checkHeaderName(n); err != nil {
			return nil, err
		}
		out.Remove = append(out.Remove, n)
	}
	return out, nil
}

// endOfLine are the characters that Envoy refuses where a header may have the
// value, those of paths and hosts included.
const endOfLine = "\r\n\x00"

func headers(in []gwv1.HTTPHeader) ([]ir.Header, *refusal) {
	var out []ir.Header
	seen := map[string]bool{}
	for _, h := range in {
		if err := checkHeaderName(string(h.Name)); err != nil {
			return nil, err
		}
		if strings.ContainsAny(h.Value, endOfLine) {
			return nil, unsupported("the value of header %s has control characters.", h.Name)
		}
		if n := strings.ToLower(string(h.Name)); !seen[n] {
			seen[n] = true
			out = append(out, ir.Header{Name: string(h.Name), Value: h.Value})
		}
	}
	return out, nil
}

// checkHeaderName refuses the headers that Envoy does not let routes change.
func checkHeaderName(name string) *refusal {
	if name == "" || strings.ContainsAny(name, ":\r\n\x00") || strings.EqualFold(name, "host") {
		return unsupported("header %q cannot be modified; the host is changed by URLRewrite.", name)
	}
	return nil
}

// pathRewrite translates a path modifier, nil where there is none.
func pathRewrite(p *gwv1.HTTPPathModifier, ms []gwv1.HTTPRouteMatch) (*ir.PathRewrite, *refusal) {
	switch {
	case p == nil:
		return nil, nil
	case p.ReplaceFullPath != nil && strings.ContainsAny(*p.ReplaceFullPath, endOfLine),
		p.ReplacePrefixMatch != nil && strings.ContainsAny(*p.ReplacePrefixMatch, endOfLine):
		return nil, unsupported("the path that replaces another has control characters.")
	case p.Type == gwv1.FullPathHTTPPathModifier && p.ReplaceFullPath != nil:
		return &ir.PathRewrite{Full: p.ReplaceFullPath}, nil
	case p.Type == gwv1.PrefixMatchHTTPPathModifier && p.ReplacePrefixMatch != nil:
		for i := range ms {
			if m := ms[i].Path; m != nil && m.Type != nil && *m.Type != gwv1.PathMatchPathPrefix {
				return nil, unsupported("ReplacePrefixMatch needs a match of type PathPrefix, not %s.", *m.Type)
			}
		}
		return &ir.PathRewrite{Prefix: p.ReplacePrefixMatch}, nil
	default:
		return nil, unsupported("path modifier %s is not supported.", p.Type)
	}
}

func checkRedirect(f *gwv1.HTTPRequestRedirectFilter, ms []gwv1.HTTPRouteMatch) *refusal {
	if f.Scheme != nil && *f.Scheme != "http" && *f.Scheme != "https" {
		return unsupported("redirect scheme %s is not supported.", *f.Scheme)
	}
	if f.StatusCode != nil {
		switch *f.StatusCode {
		case 301, 302, 303, 307, 308:
		default:
			return unsupported("redirect status code %d is not supported.", *f.StatusCode)
		}
	}
	_, err := pathRewrite(f.Path, ms)
	return err
}

// redirect translates a checked RequestRedirect for a listener of the scheme
// and port: the port that it leads to follows from the scheme, or else from the
// listener (HTTPRequestRedirectFilter.Port).
func redirect(f *gwv1.HTTPRequestRedirectFilter, scheme string, port int32) *ir.Redirect {
	out := &ir.Redirect{Status: 302}
	if f.StatusCode != nil {
		out.Status = uint32(*f.StatusCode)
	}
	if f.Hostname != nil {
		out.Hostname = string(*f.Hostname)
	}
	if f.Path != nil {
		out.Path = &ir.PathRewrite{Full: f.Path.ReplaceFullPath, Prefix: f.Path.ReplacePrefixMatch}
		if f.Path.Type == gwv1.FullPathHTTPPathModifier {
			out.Path.Prefix = nil
		} else {
			out.Path.Full = nil
		}
	}
	if f.Scheme != nil {
		out.Scheme, scheme = *f.Scheme, *f.Scheme
	}
	wellKnown := int32(80)
	if scheme == "https" {
		wellKnown = 443
	}
	switch {
	case f.Port != nil:
		out.Port = *f.Port
	case f.Scheme != nil:
		out.Port = wellKnown
	default:
		out.Port = port
	}
	// A well-known port is not written. It must be where the request's own
	// host is kept and would bring the port of this listener with it.
	if out.Port == wellKnown && (out.Hostname != "" || port == 80 || port == 443) {
		out.Port = 0
	}
	return out
}
