// Package ingest translates API objects into the gateway's IR and into the
// statuses that their authors read. It decides what is accepted, with the
// Gateway API's reasons; it reads nothing but its arguments, and gives the same
// output for the same objects, in whatever order they come and change.
package ingest

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Input is everything that translation depends on. Objects may be in any
// order and are not changed. Objects that no GatewayClass of ours concerns are
// ignored, so the caller need not filter.
type Input struct {
	// Namespace is that of the installation, where EnvoyFleets live.
	Namespace string
	// Controller is the spec.controllerName of the GatewayClasses that are ours;
	// empty: names.GatewayController.
	Controller gwv1.GatewayController

	Fleets             []*v1beta1.EnvoyFleet
	GatewayClasses     []*gwv1.GatewayClass
	Gateways           []*gwv1.Gateway
	ListenerSets       []*gwv1.ListenerSet
	HTTPRoutes         []*gwv1.HTTPRoute
	GRPCRoutes         []*gwv1.GRPCRoute
	TLSRoutes          []*gwv1.TLSRoute
	TCPRoutes          []*gwv1.TCPRoute
	UDPRoutes          []*gwv1.UDPRoute
	ReferenceGrants    []*gwv1.ReferenceGrant
	BackendTLSPolicies []*gwv1.BackendTLSPolicy
	Namespaces         []*corev1.Namespace
	Services           []*corev1.Service
	Secrets            []*corev1.Secret
	ConfigMaps         []*corev1.ConfigMap

	// Now is the time that certificates are held against; zero: none of them has
	// expired.
	Now time.Time

	// Facts about each Gateway that the shell has learnt, by the Gateway's
	// name. A Gateway without an entry has no address and no ports yet.
	Facts map[types.NamespacedName]Facts
}

// Facts are what the shell knows of one Gateway's infrastructure.
type Facts struct {
	// Addresses that the Gateway's Service has been given.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// AddressRefused says that the addresses the Gateway asks for cannot be
	// given, in words for a person; empty while nothing is refused.
	AddressRefused string `json:"addressRefused,omitempty"`
	// ServiceRefused says that the API server refuses the Gateway's Service as it
	// should be, in words for a person; empty while nothing is refused.
	ServiceRefused string `json:"serviceRefused,omitempty"`
	// FleetPorts maps a listener's port to the port that the fleet's Envoys
	// bind for it. A port without an entry is not served yet.
	FleetPorts map[int32]int32 `json:"fleetPorts,omitempty"`
	// Programmed says of a listener's port that the fleet's Envoys have
	// acknowledged its listener, or both where there are two.
	Programmed map[int32]bool `json:"programmed,omitempty"`
}

// Output is what follows from an Input. Slices are sorted by name.
type Output struct {
	// Fleets by the name of their plan; there is one for each.
	Fleets map[types.NamespacedName]*ir.Fleet
	// FleetPlans are the groups of Envoys to run.
	FleetPlans []FleetPlan
	// Gateways of ours, and the infrastructure each of them wants.
	Gateways []GatewayPlan

	GatewayClassStatuses []GatewayClassStatus
	GatewayStatuses      []GatewayStatus
	ListenerSetStatuses  []ListenerSetStatus
	RouteStatuses        []RouteStatus
	PolicyStatuses       []PolicyStatus

	// Certificates of the Gateways that have listeners with some.
	Certificates []GatewayCertificates
}

// GatewayPlan is the infrastructure that a Gateway wants: the Service that
// the shell makes for it.
type GatewayPlan struct {
	Name types.NamespacedName `json:"name"`
	// Fleet that serves the Gateway, by the name of its plan.
	Fleet types.NamespacedName `json:"fleet"`
	// Ports that the Service should have, sorted. None: the Gateway is not
	// accepted, or has no valid listener, and wants no Service.
	Ports []PlanPort `json:"ports,omitempty"`
	// Addresses asked for, to be passed on to the Service; empty for any.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Labels and Annotations of spec.infrastructure, to be put on everything
	// made for the Gateway.
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// PlanPort is a port of a Gateway's Service. One number may be there twice,
// for UDP and for a protocol over TCP; the fleet port is the same for both.
type PlanPort struct {
	Port     int32       `json:"port"`
	Protocol ir.Protocol `json:"protocol"`
}

// The statuses below are whole as the spec wants them but for each
// condition's LastTransitionTime, which the shell sets when it writes, since
// only it knows what was written before.

// GatewayClassStatus is the status of a GatewayClass of ours.
type GatewayClassStatus struct {
	Name   string                  `json:"name"`
	Status gwv1.GatewayClassStatus `json:"status"`
}

// GatewayStatus is the status of a Gateway of ours.
type GatewayStatus struct {
	Name   types.NamespacedName `json:"name"`
	Status gwv1.GatewayStatus   `json:"status"`
}

// ListenerSetStatus is the status of a ListenerSet of a Gateway of ours.
type ListenerSetStatus struct {
	Name   types.NamespacedName   `json:"name"`
	Status gwv1.ListenerSetStatus `json:"status"`
}

// RouteStatus is our part of the status of a route of any kind: one entry for
// each parentRef to a Gateway of ours. A route that we wrote a status for and
// that is not in Output has no entries of ours any more.
type RouteStatus struct {
	Kind    gwv1.Kind                `json:"kind"`
	Name    types.NamespacedName     `json:"name"`
	Parents []gwv1.RouteParentStatus `json:"parents"`
}

// PolicyStatus is our part of the status of a BackendTLSPolicy: one entry for
// each Gateway of ours that reaches a target of it. A policy that is not in
// Output has no entries of ours any more.
type PolicyStatus struct {
	Name      types.NamespacedName        `json:"name"`
	Ancestors []gwv1.PolicyAncestorStatus `json:"ancestors"`
	// Authorities are the CA certificates that backends are checked against;
	// none where they are the system's.
	Authorities []AuthorityCertificate `json:"authorities,omitempty"`
}

// GatewayCertificates are the certificates that the listeners of a Gateway, and
// of its ListenerSets, show to clients.
type GatewayCertificates struct {
	Name types.NamespacedName `json:"name"`
	// Listeners and their certificates, in the order of the specs. Among Changes
	// none: the Gateway shows none any more.
	Listeners []ListenerCertificate `json:"listeners,omitempty"`
	// Authorities are the CA certificates that the listeners check clients
	// against, in the same order.
	Authorities []AuthorityCertificate `json:"authorities,omitempty"`
}

// ListenerCertificate is a certificate that a listener shows to clients.
type ListenerCertificate struct {
	// Listener is its name, behind namespace, name and slashes where it is a
	// ListenerSet's.
	Listener string `json:"listener"`
	// Secret that the certificate is in.
	Secret types.NamespacedName `json:"secret"`
	// NotBefore and NotAfter are when its validity begins and ends.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// AuthorityCertificate is one of the CA certificates that peers are checked
// against: of a hundred, the two that say when the first of them ends and when
// the last does.
type AuthorityCertificate struct {
	// Listener as in a ListenerCertificate; empty for a policy.
	Listener string `json:"listener,omitempty"`
	// ConfigMap that the certificate is in.
	ConfigMap types.NamespacedName `json:"configMap"`
	End       CertificateEnd       `json:"end"`
	// NotBefore and NotAfter are when its validity begins and ends.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// CertificateEnd says which of several CA certificates one is.
type CertificateEnd string

// FirstEnd is the one that ends first. LastEnd is the one that ends last, or
// the only one.
const (
	FirstEnd CertificateEnd = "first"
	LastEnd  CertificateEnd = "last"
)
