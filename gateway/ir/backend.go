package ir

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// AppProtocol is what a backend speaks.
type AppProtocol string

// The protocols of backends, within TLS where the cluster has it.
const (
	// HTTP1 is HTTP/1.1, WebSocket included.
	HTTP1 AppProtocol = "http"
	// HTTP2 is HTTP/2 with prior knowledge.
	HTTP2 AppProtocol = "h2c"
	// TCPStream is bytes, as the client sends them.
	TCPStream AppProtocol = "tcp"
	// UDPDatagrams are datagrams, as the client sends them.
	UDPDatagrams AppProtocol = "udp"
)

// Cluster is a port of a Service as routes reach it: the unit that becomes
// one Envoy cluster and one set of endpoints.
type Cluster struct {
	Service types.NamespacedName `json:"service"`
	// Port is the number of the Service's port, 1 to 65535.
	Port int32 `json:"port"`
	// PortName is the name of that port, which its EndpointSlices use; empty
	// where the port has none.
	PortName string      `json:"portName,omitempty"`
	Protocol AppProtocol `json:"protocol"`
	// TLS to the backend; nil for clear text.
	TLS *BackendTLS `json:"tls,omitempty"`
	// Shares are what a cluster is spread over where that is more than the one
	// Service: Envoy gives each client of UDP a single cluster, and keeps those
	// with a session at an endpoint of one. Service, Port and PortName are then
	// those of the first share.
	Shares []Share `json:"shares,omitempty"`
}

// Share is a weighted part of a cluster.
type Share struct {
	// Service is empty where the backend is invalid: the share is dropped.
	Service  types.NamespacedName `json:"service"`
	Port     int32                `json:"port,omitempty"`
	PortName string               `json:"portName,omitempty"`
	// Weight is zero where only clients with a session there are served.
	Weight uint32 `json:"weight"`
}

// BackendTLS is how backends are spoken to over TLS, and how they are known.
type BackendTLS struct {
	// ServerName is sent as SNI.
	ServerName string `json:"serverName"`
	// Names of which the backend's certificate must have at least one.
	Names []SubjectName `json:"names"`
	// Authorities of which one must have issued the certificate.
	Authorities Authorities `json:"authorities"`
	// Certificate that is shown to the backend where it asks for one.
	Certificate *types.NamespacedName `json:"certificate,omitempty"`
}

// SubjectName is a subject alternative name. Exactly one field is set.
type SubjectName struct {
	// DNS is a host name, or a wildcard like *.example.com.
	DNS string `json:"dns,omitempty"`
	URI string `json:"uri,omitempty"`
}

// Name of the Envoy cluster: what it reaches, and how.
func (c *Cluster) Name() string {
	name := c.Service.Namespace + "/" + c.Service.Name + "/" + strconv.Itoa(int(c.Port)) + "/" + string(c.Protocol)
	if c.TLS == nil && c.Shares == nil {
		return name
	}
	// Every field of a value is part of what it prints with %q, in an order
	// that does not change, and certificates are there by name.
	h := sha256.New()
	if t := c.TLS; t != nil {
		fmt.Fprintf(h, "%q %q %q", t.ServerName, t.Names, t.Authorities.Name())
		if t.Certificate != nil {
			fmt.Fprintf(h, " %q", t.Certificate.String())
		}
		name += "/tls"
	}
	for _, s := range c.Shares {
		fmt.Fprintf(h, " %q %d %d", s.Service.String(), s.Port, s.Weight)
	}
	return name + "/" + hex.EncodeToString(h.Sum(nil)[:6])
}

// Services whose endpoints the cluster has, in any order.
func (c *Cluster) Services() []types.NamespacedName {
	if c.Shares == nil {
		return []types.NamespacedName{c.Service}
	}
	var out []types.NamespacedName
	for _, s := range c.Shares {
		if s.Service.Name != "" && !slices.Contains(out, s.Service) {
			out = append(out, s.Service)
		}
	}
	return out
}

// Endpoints are the addresses behind a cluster.
type Endpoints struct {
	// Cluster is the cluster's name.
	Cluster string `json:"cluster"`
	// Addresses, sorted, each once. None: requests get 503.
	Addresses []netip.AddrPort `json:"addresses,omitempty"`
	// Shares in place of Addresses: those of a cluster of datagrams in its
	// order, those of a cluster of sessions such that no address is in two. One
	// without addresses fails what falls to it.
	Shares []EndpointShare `json:"shares,omitempty"`
}

// EndpointShare is the addresses of one share of a cluster.
type EndpointShare struct {
	// Weight is zero where only clients with a session there are served.
	Weight    uint32           `json:"weight"`
	Addresses []netip.AddrPort `json:"addresses,omitempty"`
}

// Certificate is a key pair that a listener shows to its clients, or a cluster
// to its backends.
type Certificate struct {
	Name types.NamespacedName `json:"name"`
	// Chain in PEM, the leaf first.
	Chain []byte     `json:"chain"`
	Key   PrivateKey `json:"key"`
	// NotBefore and NotAfter are when the leaf's validity begins and ends.
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// Authorities are the bundles of CA certificates that a peer is checked
// against: ConfigMaps, in the order in which they are referred to, or
// SystemAuthorities.
type Authorities []types.NamespacedName

// SystemAuthorities are those that come with the Envoys' own image.
func SystemAuthorities() Authorities { return Authorities{{Name: "system"}} }

// System says whether these are the ones of the Envoys' image: no ConfigMap is
// without a namespace.
func (a Authorities) System() bool { return len(a) == 1 && a[0].Namespace == "" }

// Name under which the fleet is given the certificates.
func (a Authorities) Name() string {
	if a.System() {
		return a[0].Name
	}
	var parts []string
	for _, n := range a {
		parts = append(parts, n.String())
	}
	return strings.Join(parts, "+") + AuthoritiesSuffix
}

// AuthoritiesSuffix tells the name of authorities from that of a certificate.
const AuthoritiesSuffix = "/ca.crt"

// PrivateKey is a private key in PEM. It hides itself from every kind of
// printing and marshalling.
type PrivateKey []byte

// String hides the key.
func (PrivateKey) String() string { return "[redacted]" }

// GoString hides the key from %#v.
func (PrivateKey) GoString() string { return "[redacted]" }

// Format hides the key from every verb.
func (PrivateKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[redacted]") }

// MarshalText hides the key from JSON and YAML.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
