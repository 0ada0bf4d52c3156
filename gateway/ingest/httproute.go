package ingest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// httpRoute is an HTTPRoute with its rules translated: everything about it
// that does not depend on where it is attached.
type httpRoute struct {
	obj       *gwv1.HTTPRoute
	name      types.NamespacedName
	hostnames []string
	rules     []httpRule

	// accepted is false where a rule asks for what we do not have; those rules
	// answer 500 and the others work.
	accepted verdict
	resolved verdict
	// partial is set where some rules are refused and others are not.
	partial *verdict
}

// httpRule is a rule of an HTTPRoute.
type httpRule struct {
	matches []ir.Match
	// route is the rule's part of each ir.Route; its redirect, if any, still
	// lacks the port that follows from the listener.
	route    ir.Route
	redirect *gwv1.HTTPRequestRedirectFilter
	// clusters that the rule names.
	clusters []ir.Cluster
}

// refusal is why a rule cannot be translated.
type refusal struct {
	reason  gwv1.RouteConditionReason
	message string
}

func unsupported(format string, args ...any) *refusal {
	return &refusal{gwv1.RouteReasonUnsupportedValue, fmt.Sprintf(format, args...)}
}

const internalServerError = 500

func newHTTPRoute(x *index, obj *gwv1.HTTPRoute) *httpRoute {
	r := &httpRoute{
		obj:       obj,
		name:      nameOf(obj),
		hostnames: hostnamesOf(obj),
		accepted:  yes(gwv1.RouteReasonAccepted, "The route is accepted."),
		resolved:  yes(gwv1.RouteReasonResolvedRefs, "All references are resolved."),
	}
	var refused []string
	for i := range obj.Spec.Rules {
		rule, err := r.rule(x, &obj.Spec.Rules[i])
		if err != nil {
			if len(refused) == 0 {
				r.accepted = no(err.reason, fmt.Sprintf("Rule %d: %s", i, err.message))
			}
			refused = append(refused, fmt.Sprint(i))
			rule = httpRule{matches: rule.matches, route: ir.Route{Respond: &ir.Respond{Status: internalServerError}}}
		}
		r.rules = append(r.rules, rule)
	}
	if len(refused) > 0 && len(refused) < len(obj.Spec.Rules) {
		r.partial = ptr(yes(gwv1.RouteConditionReason(r.accepted.reason),
			fmt.Sprintf("Dropped Rule %s: requests that match get 500. %s", strings.Join(refused, ", "), r.accepted.message)))
	}
	return r
}

// rule translates one rule. On a refusal the matches that could be translated
// are still returned.
func (r *httpRoute) rule(x *index, spec *gwv1.HTTPRouteRule) (httpRule, *refusal) {
	rule := httpRule{}
	var err *refusal
	if rule.matches, err = matches(spec.Matches); err != nil {
		return rule, err
	}
	if spec.Retry != nil {
		return rule, unsupported("retry is not supported.")
	}
	if spec.SessionPersistence != nil {
		return rule, unsupported("sessionPersistence is not supported.")
	}
	f, err := r.filters(x, spec)
	if err != nil {
		return rule, err
	}
	rule.route.RequestHeaders, rule.route.ResponseHeaders = f.requestHeaders, f.responseHeaders
	if f.redirect != nil {
		rule.redirect = f.redirect
		return rule, nil
	}
	backends, clusters, err := r.backends(x, spec.BackendRefs)
	if err != nil {
		return rule, err
	}
	if backends == nil {
		rule.route.Respond = &ir.Respond{Status: internalServerError}
		return rule, nil
	}
	rule.clusters = append(clusters, f.clusters...)
	rule.route.Forward = &ir.Forward{Backends: backends, Hostname: f.hostname, Path: f.path, Mirrors: f.mirrors}
	if t := spec.Timeouts; t != nil {
		if rule.route.Forward.Timeout, err = timeout(t.Request); err != nil {
			return rule, err
		}
		if rule.route.Forward.BackendTimeout, err = timeout(t.BackendRequest); err != nil {
			return rule, err
		}
	}
	return rule, nil
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

// unresolved notes the first reference that cannot be followed.
func (r *httpRoute) unresolved(reason gwv1.RouteConditionReason, format string, args ...any) {
	if r.resolved.ok {
		r.resolved = no(reason, fmt.Sprintf(format, args...))
	}
}

// appendCandidates appends the routes that this one has on the given listener.
func (r *httpRoute) appendCandidates(out []*ir.Candidate, hostname string, l *ir.Listener) []*ir.Candidate {
	prefix := r.name.String() + "/"
	for i := range r.rules {
		rule := &r.rules[i]
		route := rule.route
		if rule.redirect != nil {
			route.Redirect = redirect(rule.redirect, l)
		}
		for j, m := range rule.matches {
			c := &ir.Candidate{
				Route: route, Hostname: hostname,
				Created: r.obj.CreationTimestamp.Unix(), Source: r.name, Rule: i, Match: j,
			}
			c.Route.Name = prefix + strconv.Itoa(i) + "/" + strconv.Itoa(j)
			c.Route.Match = m
			out = append(out, c)
		}
	}
	return out
}
