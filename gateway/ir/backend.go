package ir

import (
	"fmt"
	"net/netip"
	"strconv"

	"k8s.io/apimachinery/pkg/types"
)

// AppProtocol is what a backend speaks.
type AppProtocol string

// The protocols of backends.
const (
	// HTTP1 is HTTP/1.1 in clear text, WebSocket included.
	HTTP1 AppProtocol = "http"
	// H2C is HTTP/2 in clear text with prior knowledge.
	H2C AppProtocol = "h2c"
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
}

// Name of the Envoy cluster: what it reaches, and how.
func (c *Cluster) Name() string {
	return c.Service.Namespace + "/" + c.Service.Name + "/" + strconv.Itoa(int(c.Port)) + "/" + string(c.Protocol)
}

// Endpoints are the addresses behind a cluster.
type Endpoints struct {
	// Cluster is the cluster's name.
	Cluster string `json:"cluster"`
	// Addresses, sorted, each once. None: requests get 503.
	Addresses []netip.AddrPort `json:"addresses,omitempty"`
}

// Certificate is a key pair that a listener shows to its clients.
type Certificate struct {
	Name types.NamespacedName `json:"name"`
	// Chain in PEM, the leaf first.
	Chain []byte     `json:"chain"`
	Key   PrivateKey `json:"key"`
}

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
