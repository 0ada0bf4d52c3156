package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPAdvertisement has the speakers announce the addresses of some pools to
// BGP peers. Where several advertise one prefix to one peer, their communities
// unite.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bgpadv
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Pool Selectors",type=string,JSONPath=`.spec.ipAddressPoolSelectors`,priority=1
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.spec.peers`
// +kubebuilder:printcolumn:name="Local Pref",type=integer,JSONPath=`.spec.localPref`,priority=1
// +kubebuilder:printcolumn:name="Communities",type=string,JSONPath=`.spec.communities`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
type BGPAdvertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec   BGPAdvertisementSpec   `json:"spec,omitempty"`
	Status BGPAdvertisementStatus `json:"status,omitempty"`
}

// BGPAdvertisementList is a list of BGPAdvertisements.
//
// +kubebuilder:object:root=true
type BGPAdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPAdvertisement `json:"items"`
}

// CommunityReference is a BGP community in one of these forms:
//
//   - "64512:100", a community (RFC 1997), both numbers 0 to 65535;
//   - "large:64512:1:2", a large community (RFC 8092), all numbers 0 to
//     4294967295;
//   - the name that a Community gives to one of these;
//   - a well-known name, where no Community has it: graceful-shutdown (RFC
//     8326), blackhole (RFC 7999), no-export, no-advertise,
//     no-export-subconfed (RFC 1997), no-peer (RFC 3765).
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="!self.contains(':') || (self.startsWith('large:') ? self.matches('^large(:[0-9]{1,10}){3}$') && self.substring(6).split(':').all(n, int(n) <= 4294967295) : self.matches('^[0-9]{1,5}:[0-9]{1,5}$') && self.split(':').all(n, int(n) <= 65535))",message="must be a community such as 64512:100 of two numbers up to 65535, a large one such as large:64512:1:2 of three numbers up to 4294967295, or a name"
// +kubebuilder:validation:XValidation:rule="self.contains(':') || self.matches('^[^\\\\s]+$')",message="a community's name must not contain white space"
type CommunityReference string

// BGPAdvertisementSpec says which addresses are announced, from which nodes,
// to which peers and with which attributes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceSelectors) || self.serviceSelectors.size() == 0 || ((!has(self.aggregationLength) || self.aggregationLength == 32) && (!has(self.aggregationLengthV6) || self.aggregationLengthV6 == 128))",message="serviceSelectors exclude aggregationLength and aggregationLengthV6: an aggregate is of all Services in it"
type BGPAdvertisementSpec struct {
	// AggregationLength is the length of the prefix that an IPv4 address is
	// announced in, 1 to 32 bits; 32 is the address alone. It must not be
	// shorter than a prefix of the pool. An aggregate is announced as long as
	// one address in it is.
	//
	// +optional
	// +kubebuilder:default=32
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=32
	AggregationLength *int32 `json:"aggregationLength,omitempty"`

	// AggregationLengthV6 is the same for IPv6, 1 to 128 bits.
	//
	// +optional
	// +kubebuilder:default=128
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=128
	AggregationLengthV6 *int32 `json:"aggregationLengthV6,omitempty"`

	// LocalPref is the LOCAL_PREF that iBGP peers are told, 0 to 4294967295:
	// the greater is preferred (RFC 4271 section 5.1.5). 0 or unset: the
	// usual 100. Advertisements of one prefix to one peer must agree in it.
	//
	// +optional
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	LocalPref uint32 `json:"localPref,omitempty"`

	// MED is the MULTI_EXIT_DISC that peers are told, 0 to 4294967295: the
	// smaller is preferred (RFC 4271 section 5.1.4). Unset: none is sent. Of
	// several advertisements of one prefix to one peer, the least counts.
	//
	// +optional
	// +kubebuilder:validation:Format=int64
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	MED *uint32 `json:"med,omitempty"`

	// PrependASPath is how often our ASN is put in front of the AS path in
	// addition, 0 to 16 times: a longer path is preferred less. To iBGP peers
	// nothing is prepended. Of several advertisements of one prefix to one
	// peer, the least counts.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=16
	PrependASPath int32 `json:"prependASPath,omitempty"`

	// Communities to announce with: numbers, names of a Community, or
	// well-known names.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=128
	// +listType=set
	Communities []CommunityReference `json:"communities,omitempty"`

	// IPAddressPools to announce, by name. Where both this list and
	// ipAddressPoolSelectors are empty, all pools are.
	//
	// +optional
	// +listType=set
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// IPAddressPoolSelectors announce the pools with such labels.
	//
	// +optional
	// +listType=atomic
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// NodeSelectors limit the nodes that announce. Empty: every node.
	//
	// +optional
	// +listType=atomic
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// Peers to announce to, by the BGPPeer's name. Empty: every peer.
	//
	// +optional
	// +listType=set
	Peers []string `json:"peers,omitempty"`

	// ServiceSelectors limit the advertisement to Services with such labels.
	// They exclude aggregation.
	//
	// +optional
	// +listType=atomic
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// BGPAdvertisementStatus is the state of an advertisement.
type BGPAdvertisementStatus struct {
	// Conditions of the advertisement: Ready, False with a reason where it is
	// not announced as it is written (CommunityNotFound, PeerNotFound,
	// AggregationTooShort, LocalPrefConflict, InvalidSelector).
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
