// Package reason names every refusal and every degraded state. One word is
// used everywhere: in the condition, the event, the metric label, the log line
// and the test.
package reason

// Reason is why something is as it is. It is a CamelCase word, as the
// conditions of the Kubernetes API require.
type Reason string

// Reasons of the Service condition Allocated.
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
)

// Reasons why a node was not chosen for an address; NoSubnet and
// NoLocalEndpoint above are two more.
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

// Reasons of the EnvoyFleet condition Ready, beside Ready, and of events on
// what an Envoy refused.
const (
	EnvoysNotReady       Reason = "EnvoysNotReady"
	ConfigurationRefused Reason = "ConfigurationRefused"
)
