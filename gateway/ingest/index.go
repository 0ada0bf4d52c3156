package ingest

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// index finds the objects that others refer to.
type index struct {
	namespace  string
	fleets     map[types.NamespacedName]*v1beta1.EnvoyFleet
	services   map[types.NamespacedName]*corev1.Service
	secrets    map[types.NamespacedName]*corev1.Secret
	configMaps map[types.NamespacedName]*corev1.ConfigMap
	namespaces map[string]*corev1.Namespace
	// grants by namespace.
	grants map[string][]*gwv1.ReferenceGrant
	// policies that count, and all that there are for a Service.
	policies   map[target]*policy
	policiesOf map[types.NamespacedName][]*policy
	facts      map[types.NamespacedName]Facts
}

func newIndex(in *Input) *index {
	x := &index{
		namespace:  in.Namespace,
		fleets:     byName(in.Fleets),
		services:   byName(in.Services),
		secrets:    byName(in.Secrets),
		configMaps: byName(in.ConfigMaps),
		namespaces: make(map[string]*corev1.Namespace, len(in.Namespaces)),
		grants:     map[string][]*gwv1.ReferenceGrant{},
		policies:   map[target]*policy{},
		policiesOf: map[types.NamespacedName][]*policy{},
		facts:      in.Facts,
	}
	for _, n := range in.Namespaces {
		x.namespaces[n.Name] = n
	}
	for _, g := range in.ReferenceGrants {
		x.grants[g.Namespace] = append(x.grants[g.Namespace], g)
	}
	x.addPolicies(in.BackendTLSPolicies)
	return x
}

func byName[T metav1.Object](objects []T) map[types.NamespacedName]T {
	m := make(map[types.NamespacedName]T, len(objects))
	for _, o := range objects {
		m[nameOf(o)] = o
	}
	return m
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
