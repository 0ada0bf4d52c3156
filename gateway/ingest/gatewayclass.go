package ingest

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// supportedFeatures are the features of the Gateway API that the status of
// each GatewayClass claims, and that the conformance suite then tests: all that
// there are for gateways. A golden case lists them.
var supportedFeatures = features.SetsToNamesSet(
	features.GatewayCoreFeatures, features.GatewayExtendedFeatures,
	features.ReferenceGrantCoreFeatures,
	features.HTTPRouteCoreFeatures, features.HTTPRouteExtendedFeatures,
	features.GRPCRouteCoreFeatures, features.GRPCRouteExtendedFeatures,
	features.TLSRouteCoreFeatures, features.TLSRouteExtendedFeatures,
	features.TCPRouteExtendedFeatures, features.UDPRouteFeatures,
	features.BackendTLSPolicyCoreFeatures, features.BackendTLSPolicyExtendedFeatures,
).UnsortedList()

// class is a GatewayClass of ours.
type class struct {
	obj      *gwv1.GatewayClass
	fleet    types.NamespacedName
	accepted verdict
}

// newClass returns a GatewayClass if it is ours, and nil otherwise.
func newClass(x *index, obj *gwv1.GatewayClass) *class {
	if obj.Spec.ControllerName != x.controller {
		return nil
	}
	c := &class{obj: obj}
	c.fleet, c.accepted = x.fleetOf(obj)
	return c
}

// fleetOf returns the EnvoyFleet that a GatewayClass refers to, the default
// one where it refers to none.
func (x *index) fleetOf(c *gwv1.GatewayClass) (types.NamespacedName, verdict) {
	fleet := types.NamespacedName{Namespace: x.namespace, Name: names.DefaultFleet}
	if p := c.Spec.ParametersRef; p != nil {
		if string(p.Group) != v1beta1.GroupVersion.Group || p.Kind != "EnvoyFleet" {
			return fleet, no(gwv1.GatewayClassReasonInvalidParameters,
				fmt.Sprintf("parametersRef is a %s of group %q, not an EnvoyFleet of %s.", p.Kind, p.Group, v1beta1.GroupVersion.Group))
		}
		if p.Namespace == nil || string(*p.Namespace) != x.namespace {
			return fleet, no(gwv1.GatewayClassReasonInvalidParameters,
				fmt.Sprintf("parametersRef must name an EnvoyFleet in namespace %s.", x.namespace))
		}
		fleet.Name = p.Name
	}
	if x.fleets[fleet] == nil {
		return fleet, no(gwv1.GatewayClassReasonInvalidParameters, fmt.Sprintf("EnvoyFleet %s does not exist.", fleet))
	}
	return fleet, yes(gwv1.GatewayClassReasonAccepted, fmt.Sprintf("Served by EnvoyFleet %s.", fleet))
}

func (c *class) status() GatewayClassStatus {
	s := GatewayClassStatus{Name: c.obj.Name, Status: gwv1.GatewayClassStatus{
		Conditions: []metav1.Condition{condition(gwv1.GatewayClassConditionStatusAccepted, c.accepted, c.obj.Generation)},
	}}
	for _, f := range supportedFeatures {
		s.Status.SupportedFeatures = append(s.Status.SupportedFeatures, gwv1.SupportedFeature{Name: gwv1.FeatureName(f)})
	}
	slices.SortFunc(s.Status.SupportedFeatures, func(a, b gwv1.SupportedFeature) int {
		return strings.Compare(string(a.Name), string(b.Name))
	})
	return s
}
