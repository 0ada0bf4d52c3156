package ingest

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Default Gateways (GEP-3793): a route that asks for them is attached to each
// Gateway that is one as if its parentRefs named it.

// DefaultGateway is the condition of a Gateway that is a default one. The GEP
// names it; the Gateway API has no constant for it.
const DefaultGateway = "DefaultGateway"

// MaxParents is how many parents a route has at most, of all controllers: as
// many as its status holds.
const MaxParents = 32

// theDefaults is what routes ask for that ask for default Gateways.
var theDefaults = parentKey{kind: "default Gateways"}

// IsDefault says whether a Gateway is a default one.
func IsDefault(g *gwv1.Gateway) bool { return g.Spec.DefaultScope == gwv1.GatewayDefaultScopeAll }

// UsesDefaults says whether a route asks for default Gateways.
func UsesDefaults(spec *gwv1.CommonRouteSpec) bool {
	return spec.UseDefaultGateways == gwv1.GatewayDefaultScopeAll
}

// SortDefaults puts default Gateways in the order in which they come to be
// parents of a route: the oldest first, so that a new one takes no route from
// one that is there.
func SortDefaults(gateways []*gwv1.Gateway) {
	slices.SortFunc(gateways, func(a, b *gwv1.Gateway) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return ir.CompareNames(nameOf(a), nameOf(b))
	})
}

// Parents returns the parents of a route in a namespace: what its parentRefs
// name and, if it asks for them, the default Gateways, which are sorted. A
// default Gateway that a parentRef names, whole or in part, is that parent
// alone. Those that are more than MaxParents are omitted.
func Parents(namespace string, spec *gwv1.CommonRouteSpec, defaults []*gwv1.Gateway) (refs []gwv1.ParentReference, omitted []types.NamespacedName) {
	if !UsesDefaults(spec) || len(defaults) == 0 {
		return spec.ParentRefs, nil
	}
	named := parentKeys(namespace, spec)
	refs = slices.Clone(spec.ParentRefs)
	for _, g := range defaults {
		n := nameOf(g)
		switch {
		case slices.Contains(named, parentKey{"Gateway", n}):
		case len(refs) >= MaxParents:
			omitted = append(omitted, n)
		default:
			refs = append(refs, gwv1.ParentReference{
				Group: ptr(gwv1.Group(gwv1.GroupName)), Kind: ptr(gwv1.Kind("Gateway")),
				Namespace: ptr(gwv1.Namespace(n.Namespace)), Name: gwv1.ObjectName(n.Name),
			})
		}
	}
	return refs, omitted
}

// tooManyParents names default Gateways that a route is not attached to.
func tooManyParents(omitted []types.NamespacedName) verdict {
	var all []string
	for _, n := range omitted {
		all = append(all, n.String())
	}
	return yes(reason.TooManyParents, fmt.Sprintf("A route has at most %d parents. It is not attached to these default Gateways: %s.", MaxParents, excerpt.Names(all, 10)))
}

// isDefault says whether a parent is a default Gateway of ours.
func (t *Translator) isDefault(p parentKey) bool {
	g, _ := t.parents.find(p)
	return g != nil && p.kind == "Gateway" && IsDefault(g.obj)
}

// asking calls f for the routes that ask for a parent, whatever comes of it;
// twice for one that names a default Gateway and asks for those, too.
func (t *Translator) asking(p parentKey, f func(routeKey)) {
	for k := range t.routesOf[p] {
		f(k)
	}
	if t.isDefault(p) {
		for k := range t.routesOf[theDefaults] {
			f(k)
		}
	}
}

// askedFor returns the parents that a route asks for, whatever comes of it.
func (t *Translator) askedFor(namespace string, spec *gwv1.CommonRouteSpec) []parentKey {
	out := parentKeys(namespace, spec)
	if UsesDefaults(spec) {
		for _, g := range t.parents.defaults {
			out = append(out, parentKey{"Gateway", nameOf(g)})
		}
	}
	return out
}

// decideDefaults collects the default Gateways where they may be others. All
// routes that ask for them are placed anew: one that comes first may leave no
// room for another.
func (t *Translator) decideDefaults() {
	if !t.dirty.defaults {
		return
	}
	t.parents.defaults = nil
	for _, g := range t.parents.gateways {
		if IsDefault(g.obj) {
			t.parents.defaults = append(t.parents.defaults, g.obj)
		}
	}
	SortDefaults(t.parents.defaults)
	t.replace(theDefaults)
}
