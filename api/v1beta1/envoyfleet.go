package v1beta1

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EnvoyFleet is a group of Envoys that serves the Gateways of the
// GatewayClasses, and the single Gateways, that refer to it. The gateway runs
// it; nobody else should change the workload it makes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fleet
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 52",message="the name must be at most 52 characters long: those of pods and Secrets are made from it"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.kind`
// +kubebuilder:printcolumn:name="Envoys",type=integer,JSONPath=`.status.replicas`
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
// +kubebuilder:validation:Enum=Shared;Dedicated
type FleetMode string

const (
	// FleetShared serves every Gateway of the fleet with the same Envoys; each
	// Gateway still has an address of its own.
	FleetShared FleetMode = "Shared"
	// FleetDedicated gives each Gateway Envoys of its own.
	FleetDedicated FleetMode = "Dedicated"
)

// FleetKind is the kind of workload that the Envoys are pods of.
//
// +kubebuilder:validation:Enum=Deployment;DaemonSet
type FleetKind string

const (
	// FleetDeployment runs a number of Envoys.
	FleetDeployment FleetKind = "Deployment"
	// FleetDaemonSet runs an Envoy on every node that admits it.
	FleetDaemonSet FleetKind = "DaemonSet"
)

// Defaults of an EnvoyFleet that the API server does not fill in.
const (
	// DefaultFleetReplicas is the number of Envoys where nothing says another.
	DefaultFleetReplicas = 2
	// DefaultDrainTime is how long an Envoy that ends lets connections go on.
	DefaultDrainTime = 30 * time.Second
)

// EnvoyFleetSpec is the wanted shape of a fleet.
//
// +kubebuilder:validation:XValidation:rule="self.mode == oldSelf.mode",message="mode cannot be changed: make another EnvoyFleet"
// +kubebuilder:validation:XValidation:rule="!(has(self.replicas) && has(self.autoscaling))",message="replicas and autoscaling exclude each other"
// +kubebuilder:validation:XValidation:rule="self.kind != 'DaemonSet' || !(has(self.replicas) || has(self.autoscaling))",message="a DaemonSet has one Envoy on each node: it takes neither replicas nor autoscaling"
// +kubebuilder:validation:XValidation:rule="!has(self.autoscaling) || (has(self.resources) && has(self.resources.requests) && (!has(self.autoscaling.cpuUtilization) || 'cpu' in self.resources.requests) && (!has(self.autoscaling.memoryUtilization) || 'memory' in self.resources.requests))",message="autoscaling compares with resources.requests: what it looks at must be there"
type EnvoyFleetSpec struct {
	// Mode is Shared, all Gateways are served by the same Envoys, or Dedicated,
	// each Gateway has Envoys of its own, of the shape that is described here.
	//
	// +optional
	// +kubebuilder:default=Shared
	Mode FleetMode `json:"mode,omitempty"`

	// Kind of workload: Deployment, or DaemonSet for an Envoy on every node that
	// nodeSelector, affinity and tolerations admit.
	//
	// +optional
	// +kubebuilder:default=Deployment
	Kind FleetKind `json:"kind,omitempty"`

	// Replicas is the number of Envoys of a Deployment, for each Gateway where
	// mode is Dedicated. Default: 2.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Replicas *int32 `json:"replicas,omitempty"`

	// Autoscaling lets the cluster choose the number of Envoys of a Deployment.
	//
	// +optional
	Autoscaling *FleetAutoscaling `json:"autoscaling,omitempty"`

	// Image is the Envoy image. Empty: the one this release was tested with.
	//
	// +optional
	Image string `json:"image,omitempty"`

	// Resources of each Envoy. One that asks for no processor time
	// (requests.cpu) may stand still for seconds while its node is busy.
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

	// Affinity of the Envoy pods.
	//
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// LogLevel of the Envoys' own log.
	//
	// +optional
	// +kubebuilder:default=warning
	LogLevel EnvoyLogLevel `json:"logLevel,omitempty"`

	// AccessLog of the requests and connections that the Gateways serve. Not
	// set: none is written.
	//
	// +optional
	AccessLog *FleetAccessLog `json:"accessLog,omitempty"`

	// DrainTime is how long an Envoy that ends lets the connections it has go
	// on, in whole seconds from 1s to 1h; it ends sooner when none is left.
	// Clients are asked at once to close theirs. Default: 30s.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="drainTime must be 1s to 1h"
	// +kubebuilder:validation:XValidation:rule="duration(self).getMilliseconds() % 1000 == 0",message="drainTime must be a whole number of seconds"
	DrainTime *metav1.Duration `json:"drainTime,omitempty"`

	// Service shapes the Service that each Gateway gets.
	//
	// +optional
	Service FleetService `json:"service,omitempty"`
}

// FleetAutoscaling says how many Envoys there may be, and what decides.
//
// +kubebuilder:validation:XValidation:rule="self.minReplicas <= self.maxReplicas",message="minReplicas must not be above maxReplicas"
// +kubebuilder:validation:XValidation:rule="has(self.cpuUtilization) || has(self.memoryUtilization)",message="autoscaling needs cpuUtilization or memoryUtilization"
type FleetAutoscaling struct {
	// MinReplicas is the least number of Envoys.
	//
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MinReplicas int32 `json:"minReplicas,omitempty"`

	// MaxReplicas is the greatest number of Envoys.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MaxReplicas int32 `json:"maxReplicas"`

	// CPUUtilization to aim at, in percent of resources.requests.cpu.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	CPUUtilization *int32 `json:"cpuUtilization,omitempty"`

	// MemoryUtilization to aim at, in percent of resources.requests.memory.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	MemoryUtilization *int32 `json:"memoryUtilization,omitempty"`
}

// EnvoyLogLevel is a level of Envoy's log.
//
// +kubebuilder:validation:Enum=trace;debug;info;warning;error;critical;off
type EnvoyLogLevel string

// AccessLogFormat is the form of the lines of an access log.
//
// +kubebuilder:validation:Enum=Text;JSON
type AccessLogFormat string

const (
	// AccessLogText writes a line of text.
	AccessLogText AccessLogFormat = "Text"
	// AccessLogJSON writes a JSON object on a line.
	AccessLogJSON AccessLogFormat = "JSON"
)

// FleetAccessLog says what of each request is written, and where.
//
// +kubebuilder:validation:XValidation:rule="!has(self.text) || self.format == 'Text'",message="text is of format Text"
// +kubebuilder:validation:XValidation:rule="!has(self.json) || self.format == 'JSON'",message="json is of format JSON"
type FleetAccessLog struct {
	// Format of the lines.
	//
	// +optional
	// +kubebuilder:default=Text
	Format AccessLogFormat `json:"format,omitempty"`

	// Text is the line, with the command operators of Envoy's access log, as in
	// "%START_TIME% %RESPONSE_CODE%". Empty: Envoy's own default.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Text string `json:"text,omitempty"`

	// JSON maps the names of the object's fields to their values, with the
	// command operators of Envoy's access log. Empty: the usual fields.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	JSON map[string]string `json:"json,omitempty"`

	// Path of the file to write to: /dev/stdout, /dev/stderr, or a file in
	// /var/log/envoy, which is the pod's own and ends with it.
	//
	// +optional
	// +kubebuilder:default="/dev/stdout"
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^(/dev/stdout|/dev/stderr|/var/log/envoy/[A-Za-z0-9][A-Za-z0-9._-]*)$`
	Path string `json:"path,omitempty"`
}

// FleetService is what the Services of a fleet's Gateways have in common.
type FleetService struct {
	// ExternalTrafficPolicy of the Services. Local keeps the client's address.
	//
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	// +kubebuilder:default=Cluster
	ExternalTrafficPolicy corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// LoadBalancerClass of the Services. Not set: none, the cluster's default.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=316
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`

	// AddressPool the Services ask for. Empty: any that admits them.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	AddressPool string `json:"addressPool,omitempty"`

	// Annotations put on the Services.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$') && k.indexOf('/') <= 253)",message="the key of an annotation must be a name of at most 63 letters, digits, '-', '_' and '.', with a DNS subdomain and '/' before it or not"
	// +kubebuilder:validation:XValidation:rule="self.map(k, size(k) + size(self[k])).sum() <= 65536",message="the annotations must have at most 65536 characters in all"
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels put on the Services.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$') && k.indexOf('/') <= 253)",message="the key of a label must be a name of at most 63 letters, digits, '-', '_' and '.', with a DNS subdomain in lower case and '/' before it or not"
	Labels map[string]LabelValue `json:"labels,omitempty"`
}

// LabelValue is the value of a label of Kubernetes.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-_.A-Za-z0-9]*)?[A-Za-z0-9])?$`
type LabelValue string

// EnvoyFleetStatus is the state of a fleet.
type EnvoyFleetStatus struct {
	// Replicas is the number of Envoys that there should be.
	//
	// +optional
	Replicas int32 `json:"replicas,omitempty"`

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
