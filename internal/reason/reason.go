// Package reason names every refusal and every degraded state. One word is
// used everywhere: in the condition, the event, the metric label, the log line
// and the test.
package reason

// Reason is why something is as it is. It is a CamelCase word, as the
// conditions of the Kubernetes API require.
type Reason string

// Reasons of the Service condition Allocated. NoPool is also that the labels of
// the Service match no serviceSelector of the pools that admit its namespace.
const (
	Allocated            Reason = "Allocated"
	NoPool               Reason = "NoPool"
	PoolNotFound         Reason = "PoolNotFound"
	PoolExhausted        Reason = "PoolExhausted"
	PoolDraining         Reason = "PoolDraining"
	AddressNotInPool     Reason = "AddressNotInPool"
	AddressInUse         Reason = "AddressInUse"
	SharingRefused       Reason = "SharingRefused"
	FamilyUnavailable    Reason = "FamilyUnavailable"
	NamespaceNotAdmitted Reason = "NamespaceNotAdmitted"
	InvalidRequest       Reason = "InvalidRequest"
)

// Reasons of the IPAddressPool conditions Ready and Exhausted.
const (
	Ready            Reason = "Ready"
	Overlap          Reason = "Overlap"
	InvalidAddresses Reason = "InvalidAddresses"
	InvalidSelector  Reason = "InvalidSelector"
	Exhausted        Reason = "Exhausted"
	Available        Reason = "Available"
)

// Reasons of the Service condition Announced.
const (
	Announced        Reason = "Announced"
	NoAdvertisement  Reason = "NoAdvertisement"
	NoEligibleNode   Reason = "NoEligibleNode"
	AllNodesExcluded Reason = "AllNodesExcluded"
	NoLocalEndpoint  Reason = "NoLocalEndpoint"
	NoSubnet         Reason = "NoSubnet"
	NoEndpoints      Reason = "NoEndpoints"
	NoSession        Reason = "NoSession"
	AddressConflict  Reason = "AddressConflict"
	// ProxyBehind is also why a node was not chosen, and of an event: a node
	// announces an address that its service proxy did not take up in time.
	ProxyBehind Reason = "ProxyBehind"
)

// Reasons why a node was not chosen for an address; NoSubnet, NoLocalEndpoint and
// ProxyBehind above are three more.
const (
	NotOwner           Reason = "NotOwner"
	NodeExcluded       Reason = "NodeExcluded"
	NodeNotReady       Reason = "NodeNotReady"
	NetworkUnavailable Reason = "NetworkUnavailable"
	NodeDraining       Reason = "NodeDraining"
	SelectorMismatch   Reason = "SelectorMismatch"
	SpeakerDown        Reason = "SpeakerDown"
	ProxyUnhealthy     Reason = "ProxyUnhealthy"
)

// Reasons of the condition Ready of a BGPPeer and of a BGPAdvertisement, and of
// the conditions of a ConfigurationState; Ready, NoSession and InvalidSelector
// above are three more.
const (
	// BFDProfileNotFound: the peer names a BFDProfile that is not there.
	BFDProfileNotFound Reason = "BFDProfileNotFound"
	// SecretNotFound: the peer names a Secret that is not there.
	SecretNotFound Reason = "SecretNotFound"
	// SecretInvalid: the Secret is not of type kubernetes.io/basic-auth, or
	// its password is missing or cannot be a TCP MD5 key.
	SecretInvalid Reason = "SecretInvalid"
	// DuplicatePeer: a peer that is first by name has the same address on the
	// same nodes.
	DuplicatePeer Reason = "DuplicatePeer"
	// VRFNotFound: a node has no such VRF.
	VRFNotFound Reason = "VRFNotFound"
	// InterfaceNotFound: a node has no such interface.
	InterfaceNotFound Reason = "InterfaceNotFound"
	// NoDefaultGateway: a node has no default route of the family.
	NoDefaultGateway Reason = "NoDefaultGateway"
	// PeerNotFound: the advertisement names a BGPPeer that is not there.
	PeerNotFound Reason = "PeerNotFound"
	// CommunityNotFound: the advertisement names a community that no Community
	// has and that is not well-known.
	CommunityNotFound Reason = "CommunityNotFound"
	// AggregationTooShort: the aggregate is larger than a prefix of the pool,
	// and would attract addresses that are not ours.
	AggregationTooShort Reason = "AggregationTooShort"
	// LocalPrefConflict: another advertisement tells the same peer another
	// local preference for the same prefix.
	LocalPrefConflict Reason = "LocalPrefConflict"
)

// Reasons of the EnvoyFleet condition Ready, beside Ready, and of events on
// what an Envoy refused.
const (
	EnvoysNotReady Reason = "EnvoysNotReady"
	// AccessLogRefused: Envoy would refuse the format of the access log, and
	// every listener with it. The usual one is written.
	AccessLogRefused     Reason = "AccessLogRefused"
	ConfigurationRefused Reason = "ConfigurationRefused"
)

// ServiceRefused: the API server refuses a Gateway's Service, as it should be
// by the Gateway and its EnvoyFleet. It is a reason of the condition Programmed
// of Gateways and ListenerSets, beside those of the Gateway API, and of events.
const ServiceRefused Reason = "ServiceRefused"

// Reasons about default Gateways.
const (
	// DefaultScope: the Gateway is a default one, by its defaultScope.
	DefaultScope Reason = "DefaultScope"
	// TooManyParents: a route asks for more default Gateways than it can have
	// parents.
	TooManyParents Reason = "TooManyParents"
)

// Reasons of conditions of a listener, beside those of the Gateway API, about
// the certificates that it shows.
const (
	// CertificateExpiring: a certificate ends soon, and nobody has renewed it.
	CertificateExpiring Reason = "CertificateExpiring"
	// CertificateExpired: a certificate has ended. It is shown all the same.
	CertificateExpired Reason = "CertificateExpired"
	// CertificateNotYetValid: the time of a certificate has not come, or a clock
	// is wrong. It is shown all the same.
	CertificateNotYetValid Reason = "CertificateNotYetValid"
)

// Reasons of conditions of a listener and of a BackendTLSPolicy, beside those
// of the Gateway API, about the CA certificates that peers are checked against.
const (
	// CACertificateExpiring: one ends soon, and nobody has renewed it.
	CACertificateExpiring Reason = "CACertificateExpiring"
	// CACertificateExpired: one has ended. What it has signed is refused.
	CACertificateExpired Reason = "CACertificateExpired"
	// CACertificateNotYetValid: the time of one has not come, or a clock is
	// wrong. What it has signed is refused.
	CACertificateNotYetValid Reason = "CACertificateNotYetValid"
)

// Reasons that no program writes, since they are about the programs: what the
// porchlight command finds where it looks at a whole installation.
const (
	// NotInstalled: a program, or a kind that it reads, is not there.
	NotInstalled Reason = "NotInstalled"
	// ProgramNotReady: a program does not run, or not as often as it should.
	ProgramNotReady Reason = "ProgramNotReady"
	// VersionSkew: the programs are of different releases.
	VersionSkew Reason = "VersionSkew"
	// StrictARPOff: kube-proxy has every node answer ARP for every address.
	StrictARPOff Reason = "StrictARPOff"
	// NotReported: whoever writes the state of an object has not done so.
	NotReported Reason = "NotReported"
	// NotReadable: what reads may not read objects of a kind.
	NotReadable Reason = "NotReadable"
	// NotFound: an object that another one names is not there.
	NotFound Reason = "NotFound"
	// NotOurs: the object is not one that this installation serves.
	NotOurs Reason = "NotOurs"
)
