// Package names holds the words that other people's manifests and scripts
// rely on and that more than one program needs: annotations, labels,
// condition types, and the names of objects one program makes for another.
package names

// LoadBalancerClass is the spec.loadBalancerClass of Services that are ours
// by name.
const LoadBalancerClass = "porchlight.dev/lb"

// Class says which Services of type LoadBalancer an installation serves.
type Class struct {
	// Name is the spec.loadBalancerClass of those that are.
	Name string
	// Required: Services without a class are not.
	Required bool
}

// Owns says whether a Service is served whose spec.loadBalancerClass is class.
func (c Class) Owns(class *string) bool {
	if class == nil {
		return !c.Required
	}
	return *class == c.Name
}

// GatewayController is the spec.controllerName of the GatewayClasses that an
// installation serves which was told no other.
const GatewayController = "porchlight.dev/gateway"

// Annotation names, without their prefix.
const (
	// AddressPool asks for a pool by name.
	AddressPool = "address-pool"
	// LoadBalancerIPs asks for addresses, comma-separated.
	LoadBalancerIPs = "loadBalancerIPs"
	// AllowSharedIP is the key under which Services may share an address.
	AllowSharedIP = "allow-shared-ip"
	// AllocatedFromPool is written by the controller: the pool, or the pools,
	// comma-separated, that the Service's addresses are from.
	AllocatedFromPool = "ip-allocated-from-pool"
)

// Prefix is the prefix of the annotations we write.
const Prefix = "porchlight.dev/"

// annotationPrefixes are read in this order; the first that is set wins.
var annotationPrefixes = [...]string{Prefix, "metallb.io/", "metallb.universe.tf/"}

// Annotation returns the value of the annotation with the given name under
// the first prefix that carries it, and whether there is one.
func Annotation(annotations map[string]string, name string) (string, bool) {
	for _, p := range annotationPrefixes {
		if v, ok := annotations[p+name]; ok {
			return v, true
		}
	}
	return "", false
}

// Condition types on a Service.
const (
	// Allocated says whether the Service has its addresses. The controller
	// writes it.
	Allocated = Prefix + "Allocated"
	// Announced says whether the network knows where they live. The speakers
	// write it.
	Announced = Prefix + "Announced"
)

// DefaultGatewaysOmitted is a condition type of the parents of a route. It is
// there, and true, while the route has no room for all default Gateways that it
// asks for.
const DefaultGatewaysOmitted = Prefix + "DefaultGatewaysOmitted"

// CertificateExpiring is a condition type of listeners. It is there, and true,
// where a certificate of the listener ends soon. The gateway writes it.
const CertificateExpiring = Prefix + "CertificateExpiring"

// CACertificateWarning is a condition type of listeners and of
// BackendTLSPolicies. It is there, and true, where some CA certificates that
// peers are checked against are not valid or end soon; where none is valid,
// ResolvedRefs says so. The gateway writes it.
const CACertificateWarning = Prefix + "CACertificateWarning"

// GossipSecret is the Secret with the speakers' gossip key. It is installed
// without data; the speakers fill it. GossipKey is the entry in it that holds
// 32 random bytes.
const (
	GossipSecret = "porchlight-gossip"
	GossipKey    = "key"
)

// DefaultFleet is the EnvoyFleet that the installation makes.
const DefaultFleet = "porchlight-envoy"

// ManagedBy is the label, and Porchlight the value, on every object that our
// programs make at run time.
const (
	ManagedBy  = "app.kubernetes.io/managed-by"
	Porchlight = "porchlight"
)
