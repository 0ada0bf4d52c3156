package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Community gives names to BGP communities, which BGPAdvertisements may use in
// place of the numbers.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=communities
// +kubebuilder:printcolumn:name="Names",type=string,JSONPath=`.spec.communities[*].name`
type Community struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec CommunitySpec `json:"spec,omitempty"`
}

// CommunityList is a list of Communities.
//
// +kubebuilder:object:root=true
type CommunityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Community `json:"items"`
}

// CommunitySpec has the names.
type CommunitySpec struct {
	// Communities by name. A name is given once in all Communities; where two
	// of them give it, that of the Community first by name holds.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=map
	// +listMapKey=name
	Communities []CommunityAlias `json:"communities,omitempty"`
}

// CommunityAlias is a name for a community.
type CommunityAlias struct {
	// Name that advertisements use, without colons and white space.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[^:\s]+$`
	Name string `json:"name"`

	// Value is "64512:100", a community (RFC 1997) of two numbers up to
	// 65535, or "large:64512:1:2", a large community (RFC 8092) of three
	// numbers up to 4294967295.
	//
	// +kubebuilder:validation:MaxLength=38
	// +kubebuilder:validation:XValidation:rule="self.startsWith('large:') ? self.matches('^large(:[0-9]{1,10}){3}$') && self.substring(6).split(':').all(n, int(n) <= 4294967295) : self.matches('^[0-9]{1,5}:[0-9]{1,5}$') && self.split(':').all(n, int(n) <= 65535)",message="must be a community such as 64512:100 of two numbers up to 65535, or a large one such as large:64512:1:2 of three numbers up to 4294967295"
	Value string `json:"value"`
}
