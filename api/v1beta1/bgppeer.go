package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BGPPeer is a router that the speakers keep a BGP session to, each from its
// own node. What a peer may be told is said by BGPAdvertisements; no route of
// a peer is accepted. A peer that cannot be used breaks alone.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=bgppeer
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.peerAddress`
// +kubebuilder:printcolumn:name="Interface",type=string,JSONPath=`.spec.interface`,priority=1
// +kubebuilder:printcolumn:name="ASN",type=integer,JSONPath=`.spec.peerASN`
// +kubebuilder:printcolumn:name="My ASN",type=integer,JSONPath=`.spec.myASN`
// +kubebuilder:printcolumn:name="BFD Profile",type=string,JSONPath=`.spec.bfdProfile`
// +kubebuilder:printcolumn:name="Multi Hop",type=boolean,JSONPath=`.spec.ebgpMultiHop`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
type BGPPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   BGPPeerSpec   `json:"spec"`
	Status BGPPeerStatus `json:"status,omitempty"`
}

// BGPPeerList is a list of BGPPeers.
//
// +kubebuilder:object:root=true
type BGPPeerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []BGPPeer `json:"items"`
}

// ASN is the number of an autonomous system, 1 to 4294967295 (RFC 6793). 0
// and AS_TRANS, 23456, are nobody's (RFC 7607, RFC 6793 section 9).
//
// +kubebuilder:validation:Format=int64
// +kubebuilder:validation:Minimum=1
// +kubebuilder:validation:Maximum=4294967295
// +kubebuilder:validation:XValidation:rule="self != 23456",message="23456 is AS_TRANS, which no autonomous system may have (RFC 6793)"
type ASN uint32

// DynamicASN accepts a peer by whether its autonomous system is ours.
//
// +kubebuilder:validation:Enum=internal;external
type DynamicASN string

const (
	// DynamicInternal accepts a peer of our own autonomous system alone (iBGP).
	DynamicInternal DynamicASN = "internal"
	// DynamicExternal accepts a peer of any other autonomous system (eBGP).
	DynamicExternal DynamicASN = "external"
)

// SessionAddress is an IPv4 or IPv6 unicast address that an end of a session
// has. A link-local IPv6 address means nothing without an interface, and is
// refused: a peer behind one is named by its interface.
//
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule="isIP(self)",message="must be an IPv4 or IPv6 address such as 192.0.2.1 or 2001:db8::1"
// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip(self).isGlobalUnicast() || ip(self).isLoopback() || ip(self).isLinkLocalUnicast()",message="must be a unicast address"
// +kubebuilder:validation:XValidation:rule="!isIP(self) || ip(self).family() == 4 || !ip(self).isLinkLocalUnicast()",message="must not be a link-local IPv6 address; name the interface in the field interface instead"
type SessionAddress string

// LinkName is the name of a network interface on a node, at most 15 bytes, as
// the kernel has it.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=15
// +kubebuilder:validation:Pattern=`^[^\s/:]+$`
type LinkName string

// BGPPeerSpec says where the router is, and how the session is kept.
//
// +kubebuilder:validation:XValidation:rule="[has(self.peerAddress), has(self.interface), has(self.defaultGateway) && self.defaultGateway].filter(given, given).size() == 1",message="exactly one of peerAddress, interface and defaultGateway must be set"
// +kubebuilder:validation:XValidation:rule="has(self.peerASN) != has(self.dynamicASN)",message="exactly one of peerASN and dynamicASN must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.localASN) || (self.localASN != self.myASN && (!has(self.peerASN) || self.localASN != self.peerASN))",message="localASN must differ from myASN and peerASN"
// +kubebuilder:validation:XValidation:rule="!has(self.localASN) || ((!has(self.peerASN) || self.peerASN != self.myASN) && (!has(self.dynamicASN) || self.dynamicASN != 'internal'))",message="localASN is for eBGP alone: the peer is in the autonomous system of myASN"
// +kubebuilder:validation:XValidation:rule="!has(self.ebgpMultiHop) || !self.ebgpMultiHop || ((!has(self.peerASN) || self.peerASN != self.myASN) && (!has(self.dynamicASN) || self.dynamicASN != 'internal'))",message="ebgpMultiHop is for eBGP alone: the peer is in the autonomous system of myASN"
// +kubebuilder:validation:XValidation:rule="!has(self.ebgpMultiHop) || !self.ebgpMultiHop || has(self.peerAddress)",message="ebgpMultiHop needs peerAddress: a peer on an interface and the default gateway are one hop away"
// +kubebuilder:validation:XValidation:rule="!has(self.ebgpMultiHop) || !self.ebgpMultiHop || !has(self.ttlSecurity) || !self.ttlSecurity",message="ebgpMultiHop and ttlSecurity exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.password) || !has(self.passwordSecret) || !has(self.passwordSecret.name) || self.passwordSecret.name.size() == 0",message="password and passwordSecret exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.holdTime) || !has(self.keepaliveTime) || duration(self.keepaliveTime) <= duration(self.holdTime)",message="keepaliveTime must not be longer than holdTime"
// +kubebuilder:validation:XValidation:rule="!has(self.holdTime) || !has(self.keepaliveTime) || duration(self.holdTime) == duration('0s') || duration(self.keepaliveTime) > duration('0s')",message="keepaliveTime may be 0 only where holdTime is 0"
// +kubebuilder:validation:XValidation:rule="has(self.holdTime) || !has(self.keepaliveTime) || duration(self.keepaliveTime) <= duration('21845s')",message="without holdTime, which is then three times as long, keepaliveTime must be at most 21845 seconds"
// +kubebuilder:validation:XValidation:rule="!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || !isIP(self.peerAddress) || ip(self.sourceAddress).family() == ip(self.peerAddress).family()",message="sourceAddress and peerAddress must be of one family, IPv4 or IPv6"
// +kubebuilder:validation:XValidation:rule="!has(self.sourceAddress) || !has(self.interface)",message="sourceAddress excludes interface: such a session is from the interface's link-local address"
type BGPPeerSpec struct {
	// MyASN is the number of our end's autonomous system, 1 to 4294967295. It
	// may differ from peer to peer, on one node too.
	MyASN ASN `json:"myASN"`

	// PeerASN is the number that the peer's autonomous system must have; the
	// session is iBGP where it is myASN. Either this or dynamicASN is set.
	//
	// +optional
	PeerASN ASN `json:"peerASN,omitempty"`

	// DynamicASN takes the peer's number from its OPEN message instead:
	// internal accepts myASN alone, external every other number.
	//
	// +optional
	DynamicASN DynamicASN `json:"dynamicASN,omitempty"`

	// LocalASN is the number that this peer sees in place of myASN, in the
	// OPEN message and in every AS path, where myASN does not appear then
	// (what routers call local-as, no-prepend and replace-as). eBGP alone.
	//
	// +optional
	LocalASN ASN `json:"localASN,omitempty"`

	// PeerAddress is the router's address. Exactly one of peerAddress,
	// interface and defaultGateway is set.
	//
	// +optional
	PeerAddress SessionAddress `json:"peerAddress,omitempty"`

	// Interface on which the router is found by its router advertisements: an
	// unnumbered session between the link-local IPv6 addresses, over which
	// IPv4 goes too (RFC 8950).
	//
	// +optional
	Interface LinkName `json:"interface,omitempty"`

	// DefaultGateway makes each node peer with its own gateway: the next hop
	// of its default route, in the VRF if one is named. The family is that of
	// sourceAddress; without one, IPv4 if the node has such a route, else IPv6.
	//
	// +optional
	DefaultGateway bool `json:"defaultGateway,omitempty"`

	// SourceAddress that the session is from. It must be an address of the
	// node. Default: what the node's routing table chooses.
	//
	// +optional
	SourceAddress SessionAddress `json:"sourceAddress,omitempty"`

	// PeerPort is the TCP port of the router, 1 to 65535.
	//
	// +optional
	// +kubebuilder:default=179
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	PeerPort int32 `json:"peerPort,omitempty"`

	// HoldTime is how long either end waits for a message before it ends the
	// session, in whole seconds: 0s, for no limit, or 3s to 65535s. The
	// smaller of the two ends' proposals holds (RFC 4271 section 4.2).
	// Default: three times keepaliveTime, or 90s.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self) == duration('0s') || (duration(self) >= duration('3s') && duration(self) <= duration('65535s'))",message="holdTime must be 0s, or 3s to 65535s (RFC 4271 section 4.2)"
	// +kubebuilder:validation:XValidation:rule="duration(self).getMilliseconds() % 1000 == 0",message="holdTime must be a whole number of seconds"
	HoldTime *metav1.Duration `json:"holdTime,omitempty"`

	// KeepaliveTime is how long we are silent at most, in whole seconds: 1s or
	// more and no more than holdTime, 0s where holdTime is 0s (RFC 4271
	// section 4.4). Default: a third of the hold time the two ends agreed on.
	//
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self).getMilliseconds() % 1000 == 0",message="keepaliveTime must be a whole number of seconds"
	KeepaliveTime *metav1.Duration `json:"keepaliveTime,omitempty"`

	// ConnectTime is how long we wait after an attempt to connect before the
	// next, in whole seconds from 1s to 65535s (ConnectRetryTime, RFC 4271
	// section 8).
	//
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^(0|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('65535s')",message="connectTime must be 1s to 65535s"
	// +kubebuilder:validation:XValidation:rule="duration(self).getMilliseconds() % 1000 == 0",message="connectTime must be a whole number of seconds"
	ConnectTime *metav1.Duration `json:"connectTime,omitempty"`

	// RouterID is our BGP identifier towards the peer, written as an IPv4
	// address other than 0.0.0.0 (RFC 6286). It must differ from node to
	// node, so a peer that sets it selects one node. Default: the node's IPv4
	// address, or a number made of the node's name where it has none.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="isIP(self) && ip(self).family() == 4 && self != '0.0.0.0'",message="routerID must be written as an IPv4 address other than 0.0.0.0 (RFC 6286)"
	RouterID string `json:"routerID,omitempty"`

	// NodeSelectors choose the nodes that keep a session to the peer. Empty:
	// every node.
	//
	// +optional
	// +listType=atomic
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// Password of the session's TCP segments (TCP MD5, RFC 2385), 1 to 80
	// bytes. Whoever may read the object reads it: passwordSecret is better.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=80
	// +kubebuilder:validation:Pattern=`^[^\n\r]+$`
	Password string `json:"password,omitempty"`

	// PasswordSecret names a Secret of type kubernetes.io/basic-auth in the
	// installation's namespace, whose key password holds the password. No
	// Secret of another namespace is read, whatever the reference says. A
	// password that changes restarts this session alone.
	//
	// +optional
	PasswordSecret *corev1.SecretReference `json:"passwordSecret,omitempty"`

	// BFDProfile names the BFDProfile of a BFD session to the peer, which
	// takes the BGP session down with it (RFC 5882). Empty: no BFD.
	//
	// +optional
	BFDProfile string `json:"bfdProfile,omitempty"`

	// EnableGracefulRestart asks the router to keep forwarding by our routes
	// while the speaker restarts (RFC 4724).
	//
	// +optional
	EnableGracefulRestart bool `json:"enableGracefulRestart,omitempty"`

	// EBGPMultiHop allows an eBGP peer to be more than one hop away. BFD to
	// it is multihop too (RFC 5883). It excludes ttlSecurity.
	//
	// +optional
	EBGPMultiHop bool `json:"ebgpMultiHop,omitempty"`

	// TTLSecurity sends with a TTL of 255 and drops what arrives with less,
	// so that only a neighbour on the link can speak to us (GTSM, RFC 5082).
	// The router must do the same. It excludes ebgpMultiHop.
	//
	// +optional
	TTLSecurity bool `json:"ttlSecurity,omitempty"`

	// VRF is the interface name of the node's VRF that the session is in.
	// Empty: the default routing table.
	//
	// +optional
	VRF LinkName `json:"vrf,omitempty"`

	// DualStackAddressFamily announces IPv4 and IPv6 over the session,
	// whatever the family of its own addresses (RFC 4760, RFC 8950). Without
	// it a session carries the family that it runs over; one on an interface
	// carries both.
	//
	// +optional
	// +kubebuilder:default=false
	DualStackAddressFamily bool `json:"dualStackAddressFamily,omitempty"`
}

// BGPPeerStatus says whether the peer can be used and is there. The state of each node's
// session is in a BGPSessionState.
type BGPPeerStatus struct {
	// Conditions of the peer: Ready, False with a reason where the peer cannot
	// be used as it is written (BFDProfileNotFound, SecretNotFound,
	// SecretInvalid, DuplicatePeer, InvalidSelector), or on some of its nodes
	// (VRFNotFound, InterfaceNotFound, NoDefaultGateway), which the message
	// names, or where no node has a session to it (NoSession): the message has
	// the last error.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
