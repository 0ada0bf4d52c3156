// Package v1beta1 holds the types of group porchlight.dev/v1beta1. It has no
// logic: what a value must look like is said in CEL markers, which the API
// server enforces, and what a value means is said in the field's comment,
// which is also the reference documentation.
//
// Kinds and fields that MetalLB has too keep MetalLB's names and meaning, so a
// manifest migrates by changing its apiVersion.
//
// +kubebuilder:object:generate=true
// +groupName=porchlight.dev
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion identifies every kind of this package.
var GroupVersion = schema.GroupVersion{Group: "porchlight.dev", Version: "v1beta1"}

// AddToScheme registers every kind of this package.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&IPAddressPool{}, &IPAddressPoolList{},
		&L2Advertisement{}, &L2AdvertisementList{},
		&ServiceL2Status{}, &ServiceL2StatusList{},
		&BGPPeer{}, &BGPPeerList{},
		&BGPAdvertisement{}, &BGPAdvertisementList{},
		&BFDProfile{}, &BFDProfileList{},
		&Community{}, &CommunityList{},
		&BGPSessionState{}, &BGPSessionStateList{},
		&ServiceBGPStatus{}, &ServiceBGPStatusList{},
		&ConfigurationState{}, &ConfigurationStateList{},
		&EnvoyFleet{}, &EnvoyFleetList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
