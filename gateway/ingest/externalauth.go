package ingest

import (
	"path"
	"regexp"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// externalAuth translates an ExternalAuth filter and follows its backendRef.
func (f *filters) externalAuth(r *route, x *index, spec *gwv1.HTTPExternalAuthFilter) *refusal {
	if f.auth != nil {
		return unsupported("more than one filter ExternalAuth is not supported.")
	}
	out := &ir.ExternalAuth{}
	speaks := ir.HTTP1
	var err *refusal
	switch grpc, http := spec.GRPCAuthConfig, spec.HTTPAuthConfig; {
	case spec.ExternalAuthProtocol == gwv1.HTTPRouteExternalAuthGRPCProtocol && http == nil:
		out.Protocol, speaks = ir.AuthGRPC, ir.HTTP2
		if grpc != nil {
			out.Headers, err = authHeaders(grpc.AllowedRequestHeaders)
		}
	case spec.ExternalAuthProtocol == gwv1.HTTPRouteExternalAuthHTTPProtocol && grpc == nil:
		out.Protocol = ir.AuthHTTP
		if http != nil {
			err = authOverHTTP(out, http)
		}
	default:
		err = unsupported("an ExternalAuth of protocol %q, or with the settings of another one, is not supported.", spec.ExternalAuthProtocol)
	}
	if err != nil {
		return err
	}
	if spec.ForwardBody != nil {
		out.Body = uint32(spec.ForwardBody.MaxSize)
	}
	b := &backend{}
	b.cluster, b.insecure = r.cluster(x, &spec.BackendRef, speaks)
	if c := b.cluster; c != nil && speaks == ir.HTTP2 && c.Protocol != ir.HTTP2 {
		r.unresolved(gwv1.RouteReasonUnsupportedProtocol, "Port %d of Service %s does not speak gRPC, as its appProtocol says.", c.Port, c.Service)
		b.cluster = nil
	}
	if c := b.cluster; c != nil {
		out.Host = c.Service.Name + "." + c.Service.Namespace
		if c.TLS != nil {
			out.Host = c.TLS.ServerName
		}
		out.Cluster = c.Name()
	}
	f.auth, f.authorizer = out, b
	return nil
}

// checked gives the rule the service that checks its requests. It says false
// where there has to be one and it cannot be reached: nothing gets past it.
func (f *filters) checked(u *rule) bool {
	if f.auth == nil {
		return true
	}
	if _, ok := f.authorizer.reach(binding{}); !ok {
		return false
	}
	u.route.Auth, u.auth = f.auth, []backend{*f.authorizer}
	return true
}

func authOverHTTP(out *ir.ExternalAuth, spec *gwv1.HTTPAuthConfig) (err *refusal) {
	if out.Headers, err = authHeaders(spec.AllowedRequestHeaders); err != nil {
		return err
	}
	if out.ResponseHeaders, err = authHeaders(spec.AllowedResponseHeaders); err != nil {
		return err
	}
	for _, n := range out.ResponseHeaders {
		if headersOfAnswer.MatchString(n) {
			return unsupported("header %q of the authorization server's own answer cannot be copied into the request.", n)
		}
	}
	out.Path, err = authPath(spec.Path)
	return err
}

// headersOfAnswer says that no backend gets the header from a service that
// checked the request.
var headersOfAnswer = regexp.MustCompile("^(" + ir.HeadersOfAnswer + ")$")

// authHeaders translates a list of header names.
func authHeaders(names []string) ([]string, *refusal) {
	var out []string
	for _, n := range names {
		if !token(n) {
			return nil, unsupported("%q is not the name of a header.", n)
		}
		out = append(out, strings.ToLower(n))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// pathCharacters are those that the API lets HTTPAuthConfig.Path have.
var pathCharacters = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$`)

// authPath translates the path in front of that of a request. One that would be
// another after its dots and slashes are resolved is refused.
func authPath(p string) (string, *refusal) {
	if p == "" || p == "/" {
		return "", nil
	}
	out := "/" + strings.Trim(p, "/")
	if !pathCharacters.MatchString(p) || path.Clean(out) != out || strings.HasPrefix(p, "//") || strings.HasSuffix(p, "//") {
		return "", unsupported("%q is not a path that can be put in front of another.", p)
	}
	return out, nil
}
