package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// FleetPlan is a group of Envoys to run.
type FleetPlan struct {
	// Name by which GatewayPlan.Fleet refers to it: that of its EnvoyFleet, or
	// one that DedicatedName gives.
	Name types.NamespacedName `json:"name"`
	// Parameters is the EnvoyFleet with its shape.
	Parameters types.NamespacedName `json:"parameters"`
	// Gateway is the only one that it serves; nil: it is shared.
	Gateway *types.NamespacedName `json:"gateway,omitempty"`
	// Labels and Annotations are those of the only Gateway's
	// spec.infrastructure.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// fleetName returns the group of Envoys that serves the Gateway.
func (g *gateway) fleetName(x *index) types.NamespacedName {
	if f := x.fleet(g.parameters); f != nil && f.Spec.Mode == v1beta1.FleetDedicated {
		return types.NamespacedName{Namespace: x.namespace, Name: DedicatedName(g.name)}
	}
	return g.parameters
}

// DedicatedName is the name of the Envoys that serve one Gateway alone: a DNS
// label of at most 52 characters, another for each Gateway.
func DedicatedName(gateway types.NamespacedName) string {
	const readable = 52 - len("envoy--") - 8
	sum := sha256.Sum256([]byte(gateway.String()))
	words := strings.ReplaceAll(gateway.Namespace+"-"+gateway.Name, ".", "-")
	words = strings.TrimRight(words[:min(len(words), readable)], "-")
	return "envoy-" + words + "-" + hex.EncodeToString(sum[:4])
}

// fleetPlans returns the groups of Envoys to run, by name: each shared
// EnvoyFleet that a GatewayClass or a Gateway refers to, also where it serves
// nothing, and one for each Gateway of a dedicated EnvoyFleet that has a port.
func fleetPlans(x *index, classes map[string]*class, gateways map[types.NamespacedName]*gateway) map[types.NamespacedName]FleetPlan {
	plans := map[types.NamespacedName]FleetPlan{}
	for _, c := range classes {
		if c.accepted.ok && x.fleets[c.fleet].Spec.Mode != v1beta1.FleetDedicated {
			plans[c.fleet] = FleetPlan{Name: c.fleet, Parameters: c.fleet}
		}
	}
	for _, g := range gateways {
		if len(g.ports()) == 0 {
			continue
		}
		p := FleetPlan{Name: g.fleet, Parameters: g.parameters}
		if p.Name != p.Parameters {
			p.Gateway = &g.name
			p.Labels, p.Annotations = g.infrastructure()
		}
		plans[p.Name] = p
	}
	return plans
}

func compareFleetPlans(a, b FleetPlan) int { return ir.CompareNames(a.Name, b.Name) }

// infrastructure returns the labels and annotations for everything that is
// made for the Gateway.
func (g *gateway) infrastructure() (labels, annotations map[string]string) {
	labels = map[string]string{gwv1.GatewayNameLabelKey: g.name.Name}
	i := g.obj.Spec.Infrastructure
	if i == nil {
		return labels, nil
	}
	maps.Insert(labels, asStrings(i.Labels))
	annotations = maps.Collect(asStrings(i.Annotations))
	return labels, annotations
}

func asStrings[K, V ~string](m map[K]V) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for k, v := range m {
			if !yield(string(k), string(v)) {
				return
			}
		}
	}
}

// ownParameters returns the EnvoyFleet that the Gateway's own parametersRef
// names; nil where it has none and its class decides. The reference is local
// to the Gateway's namespace, and EnvoyFleets are read in one namespace alone.
func (x *index) ownParameters(g *gwv1.Gateway) (*types.NamespacedName, verdict) {
	if g.Spec.Infrastructure == nil || g.Spec.Infrastructure.ParametersRef == nil {
		return nil, verdict{ok: true}
	}
	invalid := func(message string, args ...any) (*types.NamespacedName, verdict) {
		return nil, no(gwv1.GatewayReasonInvalidParameters, "infrastructure.parametersRef "+fmt.Sprintf(message, args...))
	}
	p := g.Spec.Infrastructure.ParametersRef
	fleet := types.NamespacedName{Namespace: g.Namespace, Name: p.Name}
	switch {
	case string(p.Group) != v1beta1.GroupVersion.Group || p.Kind != "EnvoyFleet":
		return invalid("is a %s of group %q, not an EnvoyFleet of %s.", p.Kind, p.Group, v1beta1.GroupVersion.Group)
	case g.Namespace != x.namespace:
		return invalid("names an EnvoyFleet in namespace %s; they are read in namespace %s alone.", g.Namespace, x.namespace)
	case x.fleet(fleet) == nil:
		return invalid("names EnvoyFleet %s, which does not exist.", fleet)
	}
	return &fleet, verdict{ok: true}
}
