package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EnvoyFleet is a group of Envoys that serves the Gateways of the
// GatewayClasses that refer to it. The gateway runs it; nobody else should
// change the Deployment it makes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fleet
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.spec.replicas`
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.readyReplicas`
type EnvoyFleet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec   EnvoyFleetSpec   `json:"spec,omitempty"`
	Status EnvoyFleetStatus `json:"status,omitempty"`
}

// EnvoyFleetList is a list of EnvoyFleets.
//
// +kubebuilder:object:root=true
type EnvoyFleetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EnvoyFleet `json:"items"`
}

// FleetMode says how many Gateways one group of Envoys serves.
//
// +kubebuilder:validation:Enum=Shared
type FleetMode string

// FleetShared serves every Gateway of the class with the same Envoys; each
// Gateway still has an address of its own.
const FleetShared FleetMode = "Shared"

// EnvoyFleetSpec is the wanted shape of a fleet.
type EnvoyFleetSpec struct {
	// Mode is Shared: all Gateways of the class are served by these Envoys.
	//
	// +optional
	// +kubebuilder:default=Shared
	Mode FleetMode `json:"mode,omitempty"`

	// Replicas is the number of Envoys.
	//
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Replicas *int32 `json:"replicas,omitempty"`

	// Image is the Envoy image. Empty: the one this release was tested with.
	//
	// +optional
	Image string `json:"image,omitempty"`

	// Resources of each Envoy.
	//
	// +optional
	Resources corev1.ResourceRequirements `json:"resources,omitempty"`

	// NodeSelector limits the nodes that Envoys run on.
	//
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// Tolerations of the Envoy pods.
	//
	// +optional
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Service shapes the Service that each Gateway gets.
	//
	// +optional
	Service FleetService `json:"service,omitempty"`
}

// FleetService is what the Services of a fleet's Gateways have in common.
type FleetService struct {
	// ExternalTrafficPolicy of the Services. Local keeps the client's address.
	//
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	// +kubebuilder:default=Cluster
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// LoadBalancerClass of the Services. Empty: none, the cluster's default.
	//
	// +optional
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`

	// AddressPool the Services ask for. Empty: any that admits them.
	//
	// +optional
	AddressPool string `json:"addressPool,omitempty"`

	// Annotations put on the Services.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels put on the Services.
	//
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
}

// EnvoyFleetStatus is the state of a fleet.
type EnvoyFleetStatus struct {
	// ReadyReplicas is the number of Envoys that are ready.
	//
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`

	// Conditions of the fleet: Ready.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
