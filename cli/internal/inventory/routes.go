package inventory

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
)

// Route is what the routes of all kinds have in common.
type Route struct {
	Kind      string
	Namespace string
	Name      string
	Hostnames []gatewayv1.Hostname
	// Parents are what the parentRefs name, and from the Defaults-th on those of
	// the installation's default Gateways that the route asks for beside them.
	Parents  []gatewayv1.ParentReference
	Defaults int
	// UsesDefaults says that the route asks for default Gateways.
	UsesDefaults bool
	// Statuses that the installation's gateway wrote.
	Statuses []gatewayv1.RouteParentStatus
	Rules    []Rule
}

// Rule of a route, and where it sends what matches.
type Rule struct {
	Name     string
	Backends []gatewayv1.BackendRef
}

// Ref names the route for a person.
func (r *Route) Ref() string { return Ref(r.Kind, r.Namespace, r.Name) }

// ParentRef names the parent that a parentRef of the route means.
func (r *Route) ParentRef(p gatewayv1.ParentReference) string {
	kind, namespace := "Gateway", r.Namespace
	if p.Kind != nil {
		kind = string(*p.Kind)
	}
	if p.Namespace != nil {
		namespace = string(*p.Namespace)
	}
	return Ref(kind, namespace, string(p.Name))
}

// Gateway returns the Gateway that a parentRef of a route leads to, perhaps by a
// ListenerSet; nil where there is none. It is false where the parentRef names
// neither.
func (o *Objects) Gateway(r *Route, p gatewayv1.ParentReference) (*gatewayv1.Gateway, bool) {
	if p.Group != nil && *p.Group != gatewayv1.GroupName {
		return nil, false
	}
	namespace := r.Namespace
	if p.Namespace != nil {
		namespace = string(*p.Namespace)
	}
	switch {
	case p.Kind == nil || *p.Kind == "Gateway":
		return Find(o.Gateways.Items, namespace, string(p.Name)), true
	case *p.Kind == "ListenerSet":
		s := Find(o.ListenerSets.Items, namespace, string(p.Name))
		if s == nil {
			return nil, true
		}
		if s.Spec.ParentRef.Namespace != nil {
			namespace = string(*s.Spec.ParentRef.Namespace)
		}
		return Find(o.Gateways.Items, namespace, string(s.Spec.ParentRef.Name)), true
	}
	return nil, false
}

// Status returns the conditions that our gateway wrote for a parentRef, and
// whether it wrote any.
func (r *Route) Status(p gatewayv1.ParentReference) ([]metav1.Condition, bool) {
	for _, s := range r.Statuses {
		if r.ParentRef(s.ParentRef) == r.ParentRef(p) &&
			equal(s.ParentRef.SectionName, p.SectionName) && equal(s.ParentRef.Port, p.Port) {
			return s.Conditions, true
		}
	}
	return nil, false
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Service returns the Service that a backendRef of the route names; false where
// it names something else.
func (r *Route) Service(b gatewayv1.BackendRef) (namespace, name string, ok bool) {
	if b.Kind != nil && *b.Kind != "Service" || b.Group != nil && *b.Group != "" {
		return "", "", false
	}
	namespace = r.Namespace
	if b.Namespace != nil {
		namespace = string(*b.Namespace)
	}
	return namespace, string(b.Name), true
}

// Routes are the routes of all kinds, by kind, namespace and name.
func (o *Objects) Routes() []Route {
	var all []Route
	controller, defaults := o.GatewayController(), o.defaultGateways()
	add := func(kind string, r metav1.Object, spec *gatewayv1.CommonRouteSpec, hostnames []gatewayv1.Hostname, statuses []gatewayv1.RouteParentStatus, rules []Rule) {
		parents, _ := ingest.Parents(r.GetNamespace(), spec, defaults)
		all = append(all, Route{
			Kind: kind, Namespace: r.GetNamespace(), Name: r.GetName(), Hostnames: hostnames,
			Parents: parents, Defaults: len(spec.ParentRefs), UsesDefaults: ingest.UsesDefaults(spec), Rules: rules,
			Statuses: slices.DeleteFunc(slices.Clone(statuses), func(s gatewayv1.RouteParentStatus) bool { return s.ControllerName != controller }),
		})
	}
	for i := range o.HTTPRoutes.Items {
		r := &o.HTTPRoutes.Items[i]
		add("HTTPRoute", r, &r.Spec.CommonRouteSpec, r.Spec.Hostnames, r.Status.Parents,
			rules(r.Spec.Rules, func(rule *gatewayv1.HTTPRouteRule) Rule {
				return Rule{section(rule.Name), refs(rule.BackendRefs, func(b gatewayv1.HTTPBackendRef) gatewayv1.BackendRef { return b.BackendRef })}
			}))
	}
	for i := range o.GRPCRoutes.Items {
		r := &o.GRPCRoutes.Items[i]
		add("GRPCRoute", r, &r.Spec.CommonRouteSpec, r.Spec.Hostnames, r.Status.Parents,
			rules(r.Spec.Rules, func(rule *gatewayv1.GRPCRouteRule) Rule {
				return Rule{section(rule.Name), refs(rule.BackendRefs, func(b gatewayv1.GRPCBackendRef) gatewayv1.BackendRef { return b.BackendRef })}
			}))
	}
	for i := range o.TLSRoutes.Items {
		r := &o.TLSRoutes.Items[i]
		add("TLSRoute", r, &r.Spec.CommonRouteSpec, r.Spec.Hostnames, r.Status.Parents,
			rules(r.Spec.Rules, func(rule *gatewayv1.TLSRouteRule) Rule { return Rule{section(rule.Name), rule.BackendRefs} }))
	}
	for i := range o.TCPRoutes.Items {
		r := &o.TCPRoutes.Items[i]
		add("TCPRoute", r, &r.Spec.CommonRouteSpec, nil, r.Status.Parents,
			rules(r.Spec.Rules, func(rule *gatewayv1.TCPRouteRule) Rule { return Rule{section(rule.Name), rule.BackendRefs} }))
	}
	for i := range o.UDPRoutes.Items {
		r := &o.UDPRoutes.Items[i]
		add("UDPRoute", r, &r.Spec.CommonRouteSpec, nil, r.Status.Parents,
			rules(r.Spec.Rules, func(rule *gatewayv1.UDPRouteRule) Rule { return Rule{section(rule.Name), rule.BackendRefs} }))
	}
	slices.SortFunc(all, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// defaultGateways are the installation's, in the order in which routes get them.
func (o *Objects) defaultGateways() []*gatewayv1.Gateway {
	var all []*gatewayv1.Gateway
	ours := o.GatewayClasses()
	for i := range o.Gateways.Items {
		if g := &o.Gateways.Items[i]; ours[string(g.Spec.GatewayClassName)] && ingest.IsDefault(g) {
			all = append(all, g)
		}
	}
	ingest.SortDefaults(all)
	return all
}

func rules[T any](in []T, rule func(*T) Rule) []Rule {
	var out []Rule
	for i := range in {
		out = append(out, rule(&in[i]))
	}
	return out
}

func refs[T any](in []T, ref func(T) gatewayv1.BackendRef) []gatewayv1.BackendRef {
	var out []gatewayv1.BackendRef
	for _, b := range in {
		out = append(out, ref(b))
	}
	return out
}

func section(name *gatewayv1.SectionName) string {
	if name == nil {
		return ""
	}
	return string(*name)
}
