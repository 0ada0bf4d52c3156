package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConfigurationState says whether a program can use all of its configuration.
// The controller writes one, and each speaker writes one that is named after
// its node; it is for reading only. What is broken leaves the rest at work.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=configurationstates
// +kubebuilder:printcolumn:name="Result",type=string,JSONPath=`.status.result`
// +kubebuilder:printcolumn:name="Error",type=string,JSONPath=`.status.errorSummary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ConfigurationState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status ConfigurationStateStatus `json:"status,omitempty"`
}

// ConfigurationStateList is a list of ConfigurationStates.
//
// +kubebuilder:object:root=true
type ConfigurationStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ConfigurationState `json:"items"`
}

// ConfigurationResult is whether all of a configuration can be used.
//
// +kubebuilder:validation:Enum=Valid;Invalid
type ConfigurationResult string

const (
	// ConfigurationValid: everything is in use as it is written.
	ConfigurationValid ConfigurationResult = "Valid"
	// ConfigurationInvalid: some objects are not; errorSummary names them.
	ConfigurationInvalid ConfigurationResult = "Invalid"
)

// ConfigurationStateStatus is what a program makes of its configuration.
type ConfigurationStateStatus struct {
	// Result is Valid, or Invalid where an object cannot be used.
	//
	// +optional
	Result ConfigurationResult `json:"result,omitempty"`

	// ErrorSummary names the objects that cannot be used, each with its
	// reason, sorted. Empty where the result is Valid.
	//
	// +optional
	ErrorSummary string `json:"errorSummary,omitempty"`

	// Conditions, one for each kind that the program reads, whose type is the
	// kind: True, or False with the reason of the first object, by name, that
	// cannot be used.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
