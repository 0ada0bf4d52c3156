package ingest

import (
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

const internalServerError = 500

func newHTTPRoute(x *index, obj *gwv1.HTTPRoute) *route {
	r := newRoute(httpRouteKind, obj, obj.Spec.Hostnames)
	r.addRules(len(obj.Spec.Rules), internalServerError, func(i int) (rule, *refusal) {
		return r.httpRule(x, &obj.Spec.Rules[i], i)
	})
	return r
}

// httpRule translates one rule. On a refusal the matches that could be
// translated are still returned.
func (r *route) httpRule(x *index, spec *gwv1.HTTPRouteRule, i int) (rule, *refusal) {
	u := rule{}
	var err *refusal
	if u.matches, err = matches(spec.Matches); err != nil {
		return u, err
	}
	session, err := r.session(spec.SessionPersistence, i, spec.Name)
	if err != nil {
		return u, err
	}
	f, err := r.filters(x, spec)
	if err != nil {
		return u, err
	}
	u.route.RequestHeaders, u.route.ResponseHeaders, u.route.CORS = f.requestHeaders, f.responseHeaders, f.cors
	checked := f.checked(&u)
	if f.redirect != nil && checked {
		u.redirect = f.redirect
		return u, nil
	}
	var refs []ref
	for i := range spec.BackendRefs {
		b := &spec.BackendRefs[i]
		w := ref{BackendRef: &b.BackendRef}
		if err := backendFilters(&w.share, b.Filters); err != nil {
			return u, err
		}
		refs = append(refs, w)
	}
	if u.backends, err = choice(r.follow(x, refs, ir.HTTP1), session); err != nil {
		return u, err
	}
	if !checked || !reachable(u.backends, binding{}) {
		u.route.Auth, u.auth = nil, nil
		u.route.Respond = &ir.Respond{Status: internalServerError}
		return u, nil
	}
	u.mirrors = f.mirrored
	u.route.Forward = &ir.Forward{
		Backends: forwards(u.backends, binding{}), Invalid: invalidStatus(u.backends, internalServerError),
		Hostname: f.hostname, Path: f.path, Mirrors: f.mirrors, Session: session,
	}
	if t := spec.Timeouts; t != nil {
		if u.route.Forward.Timeout, err = timeout(t.Request); err != nil {
			return u, err
		}
		if u.route.Forward.BackendTimeout, err = timeout(t.BackendRequest); err != nil {
			return u, err
		}
	}
	u.route.Forward.Retry, err = retry(spec.Retry)
	return u, err
}

func timeout(d *gwv1.Duration) (time.Duration, *refusal) {
	if d == nil {
		return 0, nil
	}
	t, err := time.ParseDuration(string(*d))
	if err != nil || t < 0 {
		return 0, unsupported("%q is not a duration.", *d)
	}
	return t, nil
}

// maxAttempts bounds how often a request is sent again.
const maxAttempts = 100

func retry(spec *gwv1.HTTPRouteRetry) (*ir.Retry, *refusal) {
	if spec == nil {
		return nil, nil
	}
	out := &ir.Retry{Attempts: 1}
	if spec.Attempts != nil {
		if *spec.Attempts < 0 || *spec.Attempts > maxAttempts {
			return nil, unsupported("retry.attempts of %d is not between 0 and %d.", *spec.Attempts, maxAttempts)
		}
		out.Attempts = uint32(*spec.Attempts)
	}
	for _, c := range spec.Codes {
		if c < 400 || c > 599 {
			return nil, unsupported("retry code %d is not between 400 and 599.", c)
		}
		out.Codes = append(out.Codes, uint32(c))
	}
	var err *refusal
	out.Backoff, err = timeout(spec.Backoff)
	return out, err
}
