package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BFDProfile is how BFD sessions are kept to the BGPPeers that name it (RFC
// 5880; RFC 5881 to a peer one hop away, RFC 5883 to one farther). A change
// takes effect without a session going down.
//
// +kubebuilder:object:root=true
// +kubebuilder:printcolumn:name="Receive",type=integer,JSONPath=`.spec.receiveInterval`
// +kubebuilder:printcolumn:name="Transmit",type=integer,JSONPath=`.spec.transmitInterval`
// +kubebuilder:printcolumn:name="Multiplier",type=integer,JSONPath=`.spec.detectMultiplier`
// +kubebuilder:printcolumn:name="Echo",type=boolean,JSONPath=`.spec.echoMode`
// +kubebuilder:printcolumn:name="Passive",type=boolean,JSONPath=`.spec.passiveMode`
type BFDProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	// +kubebuilder:default={}
	Spec BFDProfileSpec `json:"spec,omitempty"`
}

// BFDProfileList is a list of BFDProfiles.
//
// +kubebuilder:object:root=true
type BFDProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BFDProfile `json:"items"`
}

// BFDProfileSpec has the timers of a BFD session, in milliseconds. The API
// server fills in every default, so an object that was read has them all.
type BFDProfileSpec struct {
	// ReceiveInterval is the shortest interval, in milliseconds, at which we
	// can take control packets: Required Min RX Interval, 10 to 60000.
	//
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	ReceiveInterval *uint32 `json:"receiveInterval,omitempty"`

	// TransmitInterval is the shortest interval, in milliseconds and before
	// jitter, at which we would send control packets: Desired Min TX
	// Interval, 10 to 60000. The greater of it and what the peer can take
	// holds (RFC 5880 section 6.8.7).
	//
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	TransmitInterval *uint32 `json:"transmitInterval,omitempty"`

	// DetectMultiplier is how many intervals without a packet bring the
	// session down, 2 to 255. It is sent to the peer, whose detection time it
	// makes; ours is made by the peer's (RFC 5880 section 6.8.4).
	//
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=255
	DetectMultiplier *uint32 `json:"detectMultiplier,omitempty"`

	// EchoInterval is the shortest interval, in milliseconds, at which we can
	// return echo packets, and at which we send them in echo mode: Required
	// Min Echo RX Interval, 10 to 60000.
	//
	// +optional
	// +kubebuilder:default=50
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60000
	EchoInterval *uint32 `json:"echoInterval,omitempty"`

	// EchoMode sends echo packets, which the peer's forwarding returns (RFC
	// 5880 section 6.4). A peer that is several hops away has none (RFC 5883
	// section 3); there it is without effect.
	//
	// +optional
	// +kubebuilder:default=false
	EchoMode *bool `json:"echoMode,omitempty"`

	// PassiveMode waits for the peer's first control packet before any is
	// sent (RFC 5880 section 6.1). One of the two ends must be active.
	//
	// +optional
	// +kubebuilder:default=false
	PassiveMode *bool `json:"passiveMode,omitempty"`

	// MinimumTTL is the least TTL, 1 to 254, with which a control packet of a
	// peer several hops away is accepted (RFC 5883 section 5). From a peer that
	// sends with 255, as FRR does, 254 admits one router between. BIRD sends
	// multihop packets with 64: 63 does the same there, and the default would
	// drop them all. A peer one hop away must send 255 (RFC 5881 section 5),
	// whatever this says.
	//
	// +optional
	// +kubebuilder:default=254
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=254
	MinimumTTL *uint32 `json:"minimumTtl,omitempty"`
}
