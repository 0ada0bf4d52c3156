package ingest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// The kinds of routes.
const (
	httpRouteKind gwv1.Kind = "HTTPRoute"
	grpcRouteKind gwv1.Kind = "GRPCRoute"
	tlsRouteKind  gwv1.Kind = "TLSRoute"
	tcpRouteKind  gwv1.Kind = "TCPRoute"
	udpRouteKind  gwv1.Kind = "UDPRoute"
)

// route is a route of any kind with its rules translated: everything about it
// that does not depend on where it is attached.
type route struct {
	kind       gwv1.Kind
	name       types.NamespacedName
	generation int64
	created    int64 // seconds since 1970
	common     *gwv1.CommonRouteSpec
	// hostnames in lower case; one that is empty where the route has none.
	hostnames []string
	rules     []rule

	// accepted is false where a rule asks for what we do not have; those rules
	// answer with an error and the others work.
	accepted verdict
	resolved verdict
	// partial is set where some rules are refused and others are not.
	partial *verdict
	// services that the route refers to, whether they exist or not.
	services []types.NamespacedName
}

// rule is a rule of a route.
type rule struct {
	// matches of a route whose requests are told apart.
	matches []ir.Match
	// route is the rule's part of each ir.Route, as it is for a Gateway that
	// shows backends no certificate of its own. A redirect, if any, still lacks
	// the port that follows from the listener.
	route    ir.Route
	redirect *gwv1.HTTPRequestRedirectFilter
	// backends that the rule names, those of its mirrors behind, and the one that
	// checks its requests, if any.
	backends []backend
	mirrors  []backend
	auth     []backend
}

// backend is a backendRef that was followed.
type backend struct {
	// cluster is nil where the backend is invalid.
	cluster *ir.Cluster
	// insecure says that the cluster is invalid unless TLS is passed through,
	// because the policy for its TLS is.
	insecure bool
	share    ir.Backend
}

// binding is what differs from one place to another where a route is attached.
type binding struct {
	// certificate is what backends are shown.
	certificate *types.NamespacedName
	// passthrough says that the client's own TLS goes to the backend.
	passthrough bool
}

// reach returns the cluster of a backend, and false where it is invalid.
func (b *backend) reach(at binding) (ir.Cluster, bool) {
	if b.cluster == nil || b.insecure && !at.passthrough {
		return ir.Cluster{}, false
	}
	c := *b.cluster
	switch {
	case c.TLS == nil:
	case at.passthrough:
		c.TLS = nil
	case at.certificate != nil:
		t := *c.TLS
		t.Certificate = at.certificate
		c.TLS = &t
	}
	return c, true
}

// forwards names the clusters of a rule's backends.
func forwards(backends []backend, at binding) []ir.Backend {
	out := make([]ir.Backend, 0, len(backends))
	for i := range backends {
		b := backends[i].share
		if c, ok := backends[i].reach(at); ok {
			b.Cluster = c.Name()
		}
		out = append(out, b)
	}
	return out
}

// clusters that a route reaches from where it is attached.
func (r *route) clusters(at binding) []ir.Cluster {
	var out []ir.Cluster
	for i := range r.rules {
		if r.kind == udpRouteKind {
			out = append(out, datagrams(r.rules[i].backends)...)
			continue
		}
		for _, list := range [][]backend{r.rules[i].backends, r.rules[i].mirrors, r.rules[i].auth} {
			for j := range list {
				if c, ok := list[j].reach(at); ok {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// at returns the rule's part of each ir.Route where the route is attached.
func (u *rule) at(at binding) ir.Route {
	out := u.route
	secured := func(b backend) bool { return b.cluster != nil && b.cluster.TLS != nil }
	if out.Auth != nil && at.certificate != nil && secured(u.auth[0]) {
		a := *out.Auth
		if c, ok := u.auth[0].reach(at); ok {
			a.Cluster = c.Name()
		}
		out.Auth = &a
	}
	if out.Forward == nil || at.certificate == nil ||
		!slices.ContainsFunc(u.backends, secured) && !slices.ContainsFunc(u.mirrors, secured) {
		return out
	}
	f := *out.Forward
	f.Backends = forwards(u.backends, at)
	f.Mirrors = slices.Clone(f.Mirrors)
	for i := range f.Mirrors {
		if c, ok := u.mirrors[i].reach(at); ok {
			f.Mirrors[i].Cluster = c.Name()
		}
	}
	out.Forward = &f
	return out
}

// refusal is why a rule cannot be translated.
type refusal struct {
	reason  gwv1.RouteConditionReason
	message string
}

func unsupported(format string, args ...any) *refusal {
	return &refusal{gwv1.RouteReasonUnsupportedValue, fmt.Sprintf(format, args...)}
}

// newRoute returns a route without rules.
func newRoute(kind gwv1.Kind, obj metav1.Object, hostnames []gwv1.Hostname) *route {
	return &route{
		kind: kind, name: nameOf(obj),
		generation: obj.GetGeneration(), created: obj.GetCreationTimestamp().Unix(),
		common: commonSpec(obj), hostnames: hostnamesOf(hostnames),
		accepted: yes(gwv1.RouteReasonAccepted, "The route is accepted."),
		resolved: yes(gwv1.RouteReasonResolvedRefs, "All references are resolved."),
	}
}

// addRules translates n rules. One that is refused answers with the status for
// as much of its matches as is understood.
func (r *route) addRules(n int, status uint32, translate func(i int) (rule, *refusal)) {
	var refused []string
	for i := range n {
		u, err := translate(i)
		if err != nil {
			if len(refused) == 0 {
				r.accepted = no(err.reason, fmt.Sprintf("Rule %d: %s", i, err.message))
			}
			refused = append(refused, strconv.Itoa(i))
			u = rule{matches: u.matches, route: ir.Route{Respond: &ir.Respond{Status: status}}}
		}
		r.rules = append(r.rules, u)
	}
	if len(refused) > 0 && len(refused) < n {
		p := yes(gwv1.RouteConditionReason(r.accepted.reason),
			fmt.Sprintf("Dropped Rule %s: requests that match get %d. %s", strings.Join(refused, ", "), status, r.accepted.message))
		r.partial = &p
	}
}

// unresolved notes the first reference that cannot be followed.
func (r *route) unresolved(reason gwv1.RouteConditionReason, format string, args ...any) {
	if r.resolved.ok {
		r.resolved = no(reason, fmt.Sprintf(format, args...))
	}
}

// older orders routes by age, then by name, as the Gateway API does where
// nothing else decides.
func older(a, b *route) int {
	return cmp.Or(cmp.Compare(a.created, b.created), ir.CompareNames(a.name, b.name), strings.Compare(string(a.kind), string(b.kind)))
}

// place is where a table is served.
type place struct {
	binding
	scheme string
	port   int32
}

// appendCandidates appends the routes that this one has at a place.
func (r *route) appendCandidates(out []*ir.Candidate, hostname string, p place) []*ir.Candidate {
	prefix := r.name.String() + "/"
	for i := range r.rules {
		u := &r.rules[i]
		route := u.at(p.binding)
		route.Forward = sessionOver(p.scheme, route.Forward)
		if u.redirect != nil {
			route.Redirect = redirect(u.redirect, p.scheme, p.port)
		}
		for j, m := range u.matches {
			c := &ir.Candidate{
				Route: route, Hostname: hostname,
				Created: r.created, Kind: string(r.kind), Source: r.name, Rule: i, Match: j,
			}
			c.Route.Name = prefix + strconv.Itoa(i) + "/" + strconv.Itoa(j)
			c.Route.Match = m
			out = append(out, c)
		}
	}
	return out
}

// domains returns the domains that the route has on a listener with the given
// hostname, each with the most specific of the route's hostnames that leads to
// it.
func (r *route) domains(listenerHostname string) map[string]string {
	out := map[string]string{}
	for _, h := range r.hostnames {
		d, ok := intersect(listenerHostname, h)
		if !ok {
			continue
		}
		if old, found := out[d]; !found || ir.CompareSpecificity(h, old) > 0 {
			out[d] = h
		}
	}
	return out
}

func hostnamesOf(hostnames []gwv1.Hostname) []string {
	if len(hostnames) == 0 {
		return []string{""}
	}
	out := make([]string, len(hostnames))
	for i, h := range hostnames {
		out[i] = strings.ToLower(string(h))
	}
	return out
}
