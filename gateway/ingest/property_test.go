package ingest_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

func ptr[T any](v T) *T { return &v }

// Few values each, so that routes meet.
var (
	listenerHosts = []string{"", "*.a.io", "x.a.io", "*.x.a.io", "b.io"}
	routeHosts    = []string{"*.a.io", "x.a.io", "y.x.a.io", "*.x.a.io", "b.io", "*.io"}
	requestHosts  = []string{"x.a.io", "y.x.a.io", "z.y.x.a.io", "b.io", "a.io", "c.io"}
	paths         = []string{"/", "/a", "/a/b", "/ab"}
	requestPaths  = []string{"/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/abc"}
	methods       = []string{"GET", "POST"}
	values        = []string{"1", "2"}
)

func world(t *rapid.T) ingest.Input {
	in := ingest.Input{
		Namespace: "porchlight-system",
		Fleets:    []*v1beta1.EnvoyFleet{{ObjectMeta: metav1.ObjectMeta{Name: "porchlight-envoy", Namespace: "porchlight-system"}}},
		GatewayClasses: []*gwv1.GatewayClass{{
			ObjectMeta: metav1.ObjectMeta{Name: "porchlight"},
			Spec:       gwv1.GatewayClassSpec{ControllerName: "porchlight.dev/gateway"},
		}},
		Facts: map[types.NamespacedName]ingest.Facts{},
	}
	for _, ns := range []string{"infra", "web"} {
		in.Namespaces = append(in.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		in.Services = append(in.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: ns},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		})
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "gateways") {
		g := &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("g%d", i), Namespace: "infra"}}
		g.Spec.GatewayClassName = "porchlight"
		g.Spec.DefaultScope = genScope(t)
		for j := range rapid.IntRange(1, 4).Draw(t, "listeners") {
			l := gwv1.Listener{Name: gwv1.SectionName(fmt.Sprintf("l%d", j)), Protocol: gwv1.HTTPProtocolType}
			l.Port = int32(rapid.IntRange(80, 81).Draw(t, "port"))
			if h := rapid.SampledFrom(listenerHosts).Draw(t, "hostname"); h != "" {
				l.Hostname = ptr(gwv1.Hostname(h))
			}
			if rapid.Bool().Draw(t, "all") {
				l.AllowedRoutes = &gwv1.AllowedRoutes{Namespaces: &gwv1.RouteNamespaces{From: ptr(gwv1.NamespacesFromAll)}}
			}
			g.Spec.Listeners = append(g.Spec.Listeners, l)
		}
		in.Gateways = append(in.Gateways, g)
		in.Facts[types.NamespacedName{Namespace: "infra", Name: g.Name}] = ingest.Facts{
			Addresses:  []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			FleetPorts: map[int32]int32{80: int32(10000 + 2*i), 81: int32(10001 + 2*i)},
		}
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "routes") {
		in.HTTPRoutes = append(in.HTTPRoutes, genRoute(t, i))
	}
	return in
}

func genRoute(t *rapid.T, i int) *gwv1.HTTPRoute {
	r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{
		Name:              fmt.Sprintf("r%d", i),
		Namespace:         rapid.SampledFrom([]string{"infra", "web"}).Draw(t, "namespace"),
		CreationTimestamp: metav1.Unix(int64(rapid.IntRange(0, 1).Draw(t, "created")), 0),
	}}
	r.Spec.UseDefaultGateways = genScope(t)
	for range rapid.IntRange(0, 2).Draw(t, "parents") {
		p := gwv1.ParentReference{Name: gwv1.ObjectName(rapid.SampledFrom([]string{"g0", "g1"}).Draw(t, "gateway")), Namespace: ptr(gwv1.Namespace("infra"))}
		if rapid.Bool().Draw(t, "by section") {
			p.SectionName = ptr(gwv1.SectionName(fmt.Sprintf("l%d", rapid.IntRange(0, 3).Draw(t, "section"))))
		}
		if rapid.IntRange(0, 3).Draw(t, "by port") == 0 {
			p.Port = ptr(int32(80))
		}
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, p)
	}
	for _, h := range rapid.SliceOfNDistinct(rapid.SampledFrom(routeHosts), 0, 3, rapid.ID).Draw(t, "hostnames") {
		r.Spec.Hostnames = append(r.Spec.Hostnames, gwv1.Hostname(h))
	}
	for range rapid.IntRange(1, 3).Draw(t, "rules") {
		rule := gwv1.HTTPRouteRule{BackendRefs: []gwv1.HTTPBackendRef{{BackendRef: gwv1.BackendRef{
			BackendObjectReference: gwv1.BackendObjectReference{Name: "s", Port: ptr(int32(80))},
		}}}, SessionPersistence: genSession(t)}
		for range rapid.IntRange(0, 2).Draw(t, "matches") {
			rule.Matches = append(rule.Matches, genMatch(t))
		}
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

func genMatch(t *rapid.T) gwv1.HTTPRouteMatch {
	m := gwv1.HTTPRouteMatch{Path: &gwv1.HTTPPathMatch{
		Type:  ptr(rapid.SampledFrom([]gwv1.PathMatchType{gwv1.PathMatchExact, gwv1.PathMatchPathPrefix}).Draw(t, "path type")),
		Value: ptr(rapid.SampledFrom(paths).Draw(t, "path")),
	}}
	if rapid.IntRange(0, 2).Draw(t, "by method") == 0 {
		m.Method = ptr(gwv1.HTTPMethod(rapid.SampledFrom(methods).Draw(t, "method")))
	}
	for _, n := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"h1", "h2"}), 0, 2, rapid.ID).Draw(t, "headers") {
		m.Headers = append(m.Headers, gwv1.HTTPHeaderMatch{Name: gwv1.HTTPHeaderName(n), Value: rapid.SampledFrom(values).Draw(t, "header")})
	}
	if rapid.IntRange(0, 3).Draw(t, "by query") == 0 {
		m.QueryParams = []gwv1.HTTPQueryParamMatch{{Name: "q", Value: rapid.SampledFrom(values).Draw(t, "query")}}
	}
	return m
}

// The same objects in another order give the same output, down to the
// versions of the Envoy resources.
func TestOrderOfInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := world(t)
		want := ingest.Translate(in)
		in.Gateways = rapid.Permutation(in.Gateways).Draw(t, "order of Gateways")
		in.HTTPRoutes = rapid.Permutation(in.HTTPRoutes).Draw(t, "order of routes")
		in.Services = rapid.Permutation(in.Services).Draw(t, "order of Services")
		got := ingest.Translate(in)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("output differs (-want +got):\n%s", diff)
		}
		for n := range want.Fleets {
			a, b := xds.Fleet(want.Fleets[n]), xds.Fleet(got.Fleets[n])
			for i := range a {
				if a[i].Version != b[i].Version {
					t.Fatalf("%s %s has versions %s and %s", a[i].Type, a[i].Name, a[i].Version, b[i].Version)
				}
			}
		}
	})
}

// Whatever the objects, each domain is there once, each route does one thing,
// and the names in a fleet lead somewhere.
func TestFleetIsConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, f := range ingest.Translate(world(t)).Fleets {
			clusters := map[string]bool{}
			for i := range f.Clusters {
				clusters[f.Clusters[i].Name()] = true
			}
			for _, l := range f.Listeners {
				for _, c := range l.Chains {
					domains := map[string]bool{}
					for _, h := range c.Table.Hosts {
						if domains[h.Domain] {
							t.Fatalf("table %s has domain %s twice", c.Name, h.Domain)
						}
						domains[h.Domain] = true
						for _, r := range h.Routes {
							if (r.Respond != nil) == (r.Forward != nil) {
								t.Fatalf("route %s has not exactly one action", r.Name)
							}
							if r.Forward == nil {
								continue
							}
							for _, b := range r.Forward.Backends {
								if !clusters[b.Cluster] {
									t.Fatalf("route %s leads to cluster %q, which is not there", r.Name, b.Cluster)
								}
							}
						}
					}
				}
			}
		}
	})
}

type request struct {
	gateway    string
	port       int32
	host, path string
	method     string
	headers    map[string]string
	query      string
}

// requests are all the requests that could tell routes apart.
func requests(yield func(request) bool) {
	for n := range 1 << 4 {
		bit := func(i int) int { return n >> i & 1 }
		for _, gateway := range []string{"g0", "g1"} {
			for _, port := range []int32{80, 81} {
				for _, host := range requestHosts {
					for _, path := range requestPaths {
						if !yield(request{
							gateway: gateway, port: port, host: host, path: path, method: methods[bit(0)],
							headers: map[string]string{"h1": values[bit(1)], "h2": values[bit(2)]}, query: values[bit(3)],
						}) {
							return
						}
					}
				}
			}
		}
	}
}

// The IR, read as Envoy reads it, leads a request to the rule that the Gateway
// API's own words lead it to.
func TestRequestsReachTheRuleThatTheSpecNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := world(t)
		fleet := ingest.Translate(in).Fleets[types.NamespacedName{Namespace: "porchlight-system", Name: "porchlight-envoy"}]
		for q := range requests {
			if want, got := oracle(in, q), serve(fleet, q); want != got {
				t.Fatalf("request %+v is led to %q, the specification says %q", q, got, want)
			}
		}
	})
}

// serve reads the IR as Envoy does and returns "namespace/name/rule" of the
// route that answers.
func serve(f *ir.Fleet, q request) string {
	for _, l := range f.Listeners {
		if l.Gateway.Name != q.gateway || l.Port != q.port {
			continue
		}
		var best *ir.VirtualHost
		for i, h := range l.Chains[0].Table.Hosts {
			if hostMatches(strings.TrimPrefix(h.Domain, "*."), strings.HasPrefix(h.Domain, "*."), h.Domain == "*", q.host) &&
				(best == nil || specificity(h.Domain) > specificity(best.Domain)) {
				best = l.Chains[0].Table.Hosts[i]
			}
		}
		if best == nil {
			return ""
		}
		for _, r := range best.Routes {
			ok := r.Match.Value == q.path ||
				r.Match.Path == ir.PathPrefix && strings.HasPrefix(q.path, strings.TrimSuffix(r.Match.Value, "/")+"/")
			ok = ok && (r.Match.Method == "" || r.Match.Method == q.method)
			for _, h := range r.Match.Headers {
				ok = ok && q.headers[h.Name] == h.Value
			}
			for _, p := range r.Match.Query {
				ok = ok && q.query == p.Value
			}
			if ok {
				return r.Name[:strings.LastIndex(r.Name, "/")]
			}
		}
	}
	return ""
}

func hostMatches(name string, wildcard, all bool, host string) bool {
	return all || !wildcard && name == host || wildcard && strings.HasSuffix(host, "."+name)
}

// specificity of a hostname, the greater the more specific.
func specificity(h string) int {
	switch {
	case h == "" || h == "*":
		return 0
	case strings.HasPrefix(h, "*."):
		return len(h)
	default:
		return 1000 + len(h)
	}
}

func specMatches(h, host string) bool {
	return hostMatches(strings.TrimPrefix(h, "*."), strings.HasPrefix(h, "*."), h == "", host)
}

// oracle goes through everything there is, slowly.
func oracle(in ingest.Input, q request) string {
	i := slices.IndexFunc(in.Gateways, func(g *gwv1.Gateway) bool { return g.Name == q.gateway })
	if i < 0 {
		return ""
	}
	g := in.Gateways[i]
	hostname := func(l gwv1.Listener) string {
		if l.Hostname == nil {
			return ""
		}
		return string(*l.Hostname)
	}

	// The listener: the most specific one of those that are distinct.
	var listener *gwv1.Listener
	for i, l := range g.Spec.Listeners {
		distinct := true
		for j, o := range g.Spec.Listeners {
			distinct = distinct && (i == j || o.Port != l.Port || hostname(o) != hostname(l))
		}
		if distinct && l.Port == q.port && specMatches(hostname(l), q.host) &&
			(listener == nil || specificity(hostname(l)) > specificity(hostname(*listener))) {
			listener = &g.Spec.Listeners[i]
		}
	}
	if listener == nil {
		return ""
	}

	// Every match of every route that is attached there.
	type candidate struct {
		rule       string
		domain     int // specificity of what route and listener have in common
		host       int
		exact      bool
		path       int
		method     bool
		headers    int
		query      int
		created    time.Time
		route      string
		ruleNumber int
		matches    bool
	}
	var all []candidate
	for _, r := range in.HTTPRoutes {
		attached := r.Spec.UseDefaultGateways == "All" && g.Spec.DefaultScope == "All" &&
			!slices.ContainsFunc(r.Spec.ParentRefs, func(p gwv1.ParentReference) bool { return string(p.Name) == g.Name })
		for _, p := range r.Spec.ParentRefs {
			attached = attached || string(p.Name) == g.Name &&
				(p.SectionName == nil || *p.SectionName == listener.Name) && (p.Port == nil || *p.Port == listener.Port)
		}
		if !attached || listener.AllowedRoutes == nil && r.Namespace != g.Namespace {
			continue
		}
		hosts := []string{""}
		if len(r.Spec.Hostnames) > 0 {
			hosts = nil
			for _, h := range r.Spec.Hostnames {
				hosts = append(hosts, string(h))
			}
		}
		for _, h := range hosts {
			if !specMatches(h, q.host) {
				continue
			}
			for i, rule := range r.Spec.Rules {
				ms := rule.Matches
				if len(ms) == 0 {
					ms = []gwv1.HTTPRouteMatch{{Path: &gwv1.HTTPPathMatch{Type: ptr(gwv1.PathMatchPathPrefix), Value: ptr("/")}}}
				}
				for _, m := range ms {
					c := candidate{
						rule: fmt.Sprintf("%s/%s/%d", r.Namespace, r.Name, i), domain: max(specificity(h), specificity(hostname(*listener))),
						host: specificity(h), exact: *m.Path.Type == gwv1.PathMatchExact, path: len(*m.Path.Value),
						method: m.Method != nil, headers: len(m.Headers), query: len(m.QueryParams),
						created: r.CreationTimestamp.Time, route: r.Namespace + "/" + r.Name, ruleNumber: i,
						matches: m.Method == nil || string(*m.Method) == q.method,
					}
					if c.exact {
						c.matches = c.matches && q.path == *m.Path.Value
					} else {
						have, want := strings.Split(q.path, "/"), strings.Split(strings.TrimSuffix(*m.Path.Value, "/"), "/")
						c.matches = c.matches && len(have) >= len(want) && slices.Equal(have[:len(want)], want)
					}
					for _, x := range m.Headers {
						c.matches = c.matches && q.headers[string(x.Name)] == x.Value
					}
					for _, x := range m.QueryParams {
						c.matches = c.matches && q.query == x.Value
					}
					all = append(all, c)
				}
			}
		}
	}
	yes := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	// Of the hosts that some route names, the most specific one that covers
	// the request's decides alone.
	top := 0
	for _, c := range all {
		top = max(top, c.domain)
	}
	all = slices.DeleteFunc(all, func(c candidate) bool { return !c.matches || c.domain < top })
	if len(all) == 0 {
		return ""
	}
	return slices.MinFunc(all, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(b.host, a.host),
			cmp.Compare(yes(b.exact), yes(a.exact)), cmp.Compare(b.path, a.path), cmp.Compare(yes(b.method), yes(a.method)),
			cmp.Compare(b.headers, a.headers), cmp.Compare(b.query, a.query),
			a.created.Compare(b.created), cmp.Compare(a.route, b.route), cmp.Compare(a.ruleNumber, b.ruleNumber),
		)
	}).rule
}
