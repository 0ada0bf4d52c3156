package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// L2Advertisement has the speakers answer ARP and NDP for the addresses of
// some pools. An address that no advertisement names is not announced.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=l2adv
// +kubebuilder:printcolumn:name="Pools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="Pool Selectors",type=string,JSONPath=`.spec.ipAddressPoolSelectors`,priority=1
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.spec.interfaces`
// +kubebuilder:printcolumn:name="Failback",type=boolean,JSONPath=`.spec.failback`,priority=1
type L2Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec   L2AdvertisementSpec   `json:"spec,omitempty"`
	Status L2AdvertisementStatus `json:"status,omitempty"`
}

// L2AdvertisementList is a list of L2Advertisements.
//
// +kubebuilder:object:root=true
type L2AdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []L2Advertisement `json:"items"`
}

// L2AdvertisementSpec says which addresses are announced, from which nodes and
// on which interfaces.
type L2AdvertisementSpec struct {
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

	// NodeSelectors limit the nodes that may announce. Empty: every node.
	//
	// +optional
	// +listType=atomic
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// Interfaces to announce on, by name or glob ("eth0", "bond*"). Empty:
	// every interface with a subnet that contains the address.
	//
	// +optional
	// +listType=set
	Interfaces []string `json:"interfaces,omitempty"`

	// ServiceSelectors limit the advertisement to Services with such labels.
	//
	// +optional
	// +listType=atomic
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`

	// PreferredNodeSelectors weigh the nodes that may announce: among those
	// that can, the one with the greatest sum of weights is chosen.
	//
	// +optional
	// +listType=atomic
	PreferredNodeSelectors []PreferredNodeSelector `json:"preferredNodeSelectors,omitempty"`

	// Failback lets a preferred node take an address back when it returns.
	// Without it, an address stays where it is until its owner goes.
	//
	// +optional
	Failback bool `json:"failback,omitempty"`
}

// PreferredNodeSelector adds its weight to the nodes it selects.
type PreferredNodeSelector struct {
	// Weight from 1 to 100.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// Preference selects nodes by their labels.
	Preference metav1.LabelSelector `json:"preference"`
}

// L2AdvertisementStatus is the state of an advertisement.
type L2AdvertisementStatus struct {
	// Conditions of the advertisement.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ServiceL2Status says which node answers for a Service. The speakers write
// it; it is for reading only.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicel2statuses,shortName=l2status
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
type ServiceL2Status struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status ServiceL2StatusStatus `json:"status,omitempty"`
}

// ServiceL2StatusList is a list of ServiceL2Statuses.
//
// +kubebuilder:object:root=true
type ServiceL2StatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceL2Status `json:"items"`
}

// ServiceL2StatusStatus names the node and the Service.
type ServiceL2StatusStatus struct {
	// Node that answers for the Service's addresses.
	//
	// +optional
	Node string `json:"node,omitempty"`

	// ServiceName is the Service's name.
	//
	// +optional
	ServiceName string `json:"serviceName,omitempty"`

	// ServiceNamespace is the Service's namespace.
	//
	// +optional
	ServiceNamespace string `json:"serviceNamespace,omitempty"`

	// Interfaces the node answers on.
	//
	// +optional
	// +listType=atomic
	Interfaces []InterfaceInfo `json:"interfaces,omitempty"`
}

// InterfaceInfo names a network interface of a node.
type InterfaceInfo struct {
	// Name of the interface.
	Name string `json:"name"`
}
