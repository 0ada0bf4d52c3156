package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BGPSessionState is the session of one node to one BGPPeer. The speakers
// write it; it is for reading only.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=bgpsessionstates,shortName=bgpsession
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Peer",type=string,JSONPath=`.status.peer`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.state`
// +kubebuilder:printcolumn:name="BFD",type=string,JSONPath=`.status.bfdState`
// +kubebuilder:printcolumn:name="Prefixes",type=integer,JSONPath=`.status.prefixes`
// +kubebuilder:printcolumn:name="Since",type=date,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Last Error",type=string,JSONPath=`.status.lastError`,priority=1
type BGPSessionState struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status BGPSessionStateStatus `json:"status,omitempty"`
}

// BGPSessionStateList is a list of BGPSessionStates.
//
// +kubebuilder:object:root=true
type BGPSessionStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPSessionState `json:"items"`
}

// SessionState is a state of the BGP state machine (RFC 4271 section 8.2.2).
//
// +kubebuilder:validation:Enum=Idle;Connect;Active;OpenSent;OpenConfirm;Established
type SessionState string

// States of a BGP session; announcements are exchanged in Established alone.
const (
	SessionIdle        SessionState = "Idle"
	SessionConnect     SessionState = "Connect"
	SessionActive      SessionState = "Active"
	SessionOpenSent    SessionState = "OpenSent"
	SessionOpenConfirm SessionState = "OpenConfirm"
	SessionEstablished SessionState = "Established"
)

// BFDState is a state of a BFD session (RFC 5880 section 6.2), or Disabled.
//
// +kubebuilder:validation:Enum=Down;Init;Up;Disabled
type BFDState string

// States of the BFD session to a peer.
const (
	BFDDown BFDState = "Down"
	BFDInit BFDState = "Init"
	BFDUp   BFDState = "Up"
	// BFDDisabled: the peer names no BFDProfile.
	BFDDisabled BFDState = "Disabled"
)

// BGPSessionStateStatus is the state of a session as its node sees it.
type BGPSessionStateStatus struct {
	// Node that keeps the session.
	//
	// +optional
	Node string `json:"node,omitempty"`

	// Peer is the BGPPeer's name.
	//
	// +optional
	Peer string `json:"peer,omitempty"`

	// PeerUID is the UID of that BGPPeer: what is said of one says nothing of
	// another that has its name after it.
	//
	// +optional
	PeerUID types.UID `json:"peerUID,omitempty"`

	// State of the session.
	//
	// +optional
	State SessionState `json:"state,omitempty"`

	// BFDState is the state of the BFD session, Disabled where the peer names
	// no BFDProfile.
	//
	// +optional
	BFDState BFDState `json:"bfdState,omitempty"`

	// Since is when the session came to be Established, or ceased to be.
	//
	// +optional
	Since *metav1.Time `json:"since,omitempty"`

	// Prefixes is how many prefixes the peer is told.
	//
	// +optional
	Prefixes int64 `json:"prefixes"`

	// LastError is why the session last ended or did not come up: the code of
	// the NOTIFICATION (RFC 4271 section 4.5), the error of the connection,
	// or BFD. It stays after the session is up again.
	//
	// +optional
	LastError string `json:"lastError,omitempty"`
}

// ServiceBGPStatus says to which peers a node announces a Service. Whether a
// peer's session is up is in its BGPSessionState. The speakers write it; it is
// for reading only.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicebgpstatuses,shortName=bgpstatus
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
// +kubebuilder:printcolumn:name="Peers",type=string,JSONPath=`.status.peers`
type ServiceBGPStatus struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status ServiceBGPStatusStatus `json:"status,omitempty"`
}

// ServiceBGPStatusList is a list of ServiceBGPStatuses.
//
// +kubebuilder:object:root=true
type ServiceBGPStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceBGPStatus `json:"items"`
}

// ServiceBGPStatusStatus names the node, the Service and the peers.
type ServiceBGPStatusStatus struct {
	// Node that announces the Service's addresses.
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

	// Peers that the addresses are announced to, by the BGPPeer's name,
	// sorted.
	//
	// +optional
	// +listType=atomic
	Peers []string `json:"peers,omitempty"`
}
