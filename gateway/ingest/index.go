package ingest

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// index finds the objects that others refer to, and notes who asks for them.
type index struct {
	namespace  string
	controller gwv1.GatewayController
	fleets     map[types.NamespacedName]*v1beta1.EnvoyFleet
	services   map[types.NamespacedName]*corev1.Service
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	namespaces map[string]*corev1.Namespace
	// grants by namespace, then by name.
	grants map[string]map[string]*gwv1.ReferenceGrant

	policyObjects map[types.NamespacedName]*gwv1.BackendTLSPolicy
	// policies that count, and all that there are for a Service.
	policies   map[target]*policy
	policiesOf map[types.NamespacedName][]*policy

	facts map[types.NamespacedName]Facts
	// now is zero where the time is not known, and never goes back.
	now  time.Time
	deps *dependencies
}

func newIndex(namespace string, controller gwv1.GatewayController) *index {
	return &index{
		namespace:     namespace,
		controller:    controller,
		fleets:        map[types.NamespacedName]*v1beta1.EnvoyFleet{},
		services:      map[types.NamespacedName]*corev1.Service{},
		secrets:       map[types.NamespacedName]*corev1.Secret{},
		configMaps:    map[types.NamespacedName]*corev1.ConfigMap{},
		namespaces:    map[string]*corev1.Namespace{},
		grants:        map[string]map[string]*gwv1.ReferenceGrant{},
		policyObjects: map[types.NamespacedName]*gwv1.BackendTLSPolicy{},
		policies:      map[target]*policy{},
		policiesOf:    map[types.NamespacedName][]*policy{},
		facts:         map[types.NamespacedName]Facts{},
		deps:          newDependencies(),
	}
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
