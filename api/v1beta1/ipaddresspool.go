package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IPAddressPool is a set of addresses that the controller gives to Services
// of type LoadBalancer. Pools are read only in the installation's namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ippool
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Auto",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="Assigned4",type=string,JSONPath=`.status.assignedIPv4`
// +kubebuilder:printcolumn:name="Free4",type=string,JSONPath=`.status.availableIPv4`
// +kubebuilder:printcolumn:name="Assigned6",type=string,JSONPath=`.status.assignedIPv6`,priority=1
// +kubebuilder:printcolumn:name="Free6",type=string,JSONPath=`.status.availableIPv6`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
type IPAddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   IPAddressPoolSpec   `json:"spec"`
	Status IPAddressPoolStatus `json:"status,omitempty"`
}

// IPAddressPoolList is a list of IPAddressPools.
//
// +kubebuilder:object:root=true
type IPAddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IPAddressPool `json:"items"`
}

// AddressBlock is a CIDR prefix ("10.0.0.0/24", "fd00::/64") or an inclusive
// range of one family ("10.0.0.10-10.0.0.20").
//
// CEL cannot compare addresses. Of IPv4 the last rule makes numbers; an IPv6
// range that ends before it starts is refused by the controller, as
// InvalidAddresses.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=96
// +kubebuilder:validation:XValidation:rule="self.contains('-') ? isIP(self.substring(0, self.indexOf('-')).trim()) && isIP(self.substring(self.indexOf('-') + 1).trim()) : isCIDR(self)",message="must be a CIDR prefix such as 10.0.0.0/24 or fd00::/64, or an inclusive range such as 10.0.0.10-10.0.0.20"
// +kubebuilder:validation:XValidation:rule="!self.contains('-') || !isIP(self.substring(0, self.indexOf('-')).trim()) || !isIP(self.substring(self.indexOf('-') + 1).trim()) || ip(self.substring(0, self.indexOf('-')).trim()).family() == ip(self.substring(self.indexOf('-') + 1).trim()).family()",message="both ends of a range must be of one family, IPv4 or IPv6"
// +kubebuilder:validation:XValidation:rule="!self.contains('-') || !isIP(self.substring(0, self.indexOf('-')).trim()) || !isIP(self.substring(self.indexOf('-') + 1).trim()) || ip(self.substring(0, self.indexOf('-')).trim()).family() != 4 || ip(self.substring(self.indexOf('-') + 1).trim()).family() != 4 || [[self.substring(0, self.indexOf('-')).trim().split('.'), self.substring(self.indexOf('-') + 1).trim().split('.')].map(o, int(o[0]) * 16777216 + int(o[1]) * 65536 + int(o[2]) * 256 + int(o[3]))].all(n, n[0] <= n[1])",message="a range must not end before it starts"
type AddressBlock string

// IPAddressPoolSpec says which addresses a pool has and who may get them.
type IPAddressPoolSpec struct {
	// Addresses are the CIDR prefixes and ranges of the pool, of either
	// family, in any number and order.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	// +listType=set
	Addresses []AddressBlock `json:"addresses"`

	// AutoAssign says whether a Service that asks for no pool may get an
	// address of this one. A pool with autoAssign false serves only those who
	// name it, or an address in it.
	//
	// +optional
	// +kubebuilder:default=true
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// AvoidBuggyIPs leaves out IPv4 addresses that end in .0 or .255, which
	// some old equipment takes for a network or broadcast address.
	//
	// +optional
	// +kubebuilder:default=false
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// Exclude are CIDR prefixes and ranges inside the pool that are never
	// given: a router's address, a reserved block.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=set
	Exclude []AddressBlock `json:"exclude,omitempty"`

	// Drain keeps what is assigned and gives nothing new.
	//
	// +optional
	Drain bool `json:"drain,omitempty"`

	// ServiceAllocation limits the pool to some Services, and orders it among
	// the pools that a Service may use.
	//
	// +optional
	ServiceAllocation *ServiceAllocation `json:"serviceAllocation,omitempty"`
}

// ServiceAllocation says which Services a pool admits, and how early it is
// tried. Namespaces and namespaceSelectors unite; serviceSelectors limit
// further. Where all three are empty, every Service is admitted.
type ServiceAllocation struct {
	// Priority orders the pools a Service may use: a lower number is tried
	// first; 0, or no priority, is tried last. Ties are ordered by name.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Priority int `json:"priority,omitempty"`

	// Namespaces whose Services are admitted, by name.
	//
	// +optional
	// +listType=set
	Namespaces []string `json:"namespaces,omitempty"`

	// NamespaceSelectors admit the Services of namespaces with such labels.
	//
	// +optional
	// +listType=atomic
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// ServiceSelectors admit Services with such labels.
	//
	// +optional
	// +listType=atomic
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// IPAddressPoolStatus is the state of a pool as the controller sees it. The
// counts are decimal numbers in text: a /64 has more addresses than an int64
// holds, and a resource.Quantity ends there too.
type IPAddressPoolStatus struct {
	// AssignedIPv4 is the number of IPv4 addresses in use. An address that
	// several Services share counts once.
	//
	// +optional
	AssignedIPv4 string `json:"assignedIPv4,omitempty"`

	// AssignedIPv6 is the number of IPv6 addresses in use.
	//
	// +optional
	AssignedIPv6 string `json:"assignedIPv6,omitempty"`

	// AvailableIPv4 is the number of IPv4 addresses that can still be given.
	//
	// +optional
	AvailableIPv4 string `json:"availableIPv4,omitempty"`

	// AvailableIPv6 is the number of IPv6 addresses that can still be given.
	//
	// +optional
	AvailableIPv6 string `json:"availableIPv6,omitempty"`

	// Conditions of the pool: Ready (False with reason Overlap,
	// InvalidAddresses or InvalidSelector: the pool gives nothing), Exhausted
	// and, only while it is true, Overlap, which names the other pool.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
