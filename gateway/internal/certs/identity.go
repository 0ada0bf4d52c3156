package certs

import (
	"crypto/x509"
	"errors"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Names of the Secrets in the installation's namespace. That of a fleet is
// FleetSecret.
const (
	AuthoritySecret = "porchlight-xds-ca"
	ServerSecret    = "porchlight-xds-server"
	// BundleKey is the entry with the authorities to believe; the certificate
	// and the key are under the names that Secrets of type kubernetes.io/tls
	// have.
	BundleKey = "ca.crt"
)

// FleetSecret is the name of the Secret with a fleet's client certificate.
func FleetSecret(fleet string) string { return fleet + "-xds" }

// gateway is the name of the gateway's Deployment and Service.
const gateway = "porchlight-gateway"

// ServerName is the DNS name of the xDS server's Service.
func ServerName(namespace string) string { return gateway + "." + namespace + ".svc" }

const identitySuffix = ".fleet.porchlight"

// Identity is the name that a fleet's client certificate is made out to.
func Identity(fleet types.NamespacedName) string {
	return fleet.Name + "." + fleet.Namespace + identitySuffix
}

// ErrNoIdentity is a client certificate that names no fleet, or several.
var ErrNoIdentity = errors.New("the client certificate names no fleet")

// Fleet returns the fleet that a verified client certificate is made out to.
func Fleet(c *x509.Certificate) (types.NamespacedName, error) {
	if len(c.DNSNames) != 1 {
		return types.NamespacedName{}, ErrNoIdentity
	}
	name, ok := strings.CutSuffix(c.DNSNames[0], identitySuffix)
	// The name of an EnvoyFleet may hold dots, that of a namespace not.
	dot := strings.LastIndexByte(name, '.')
	if !ok || dot <= 0 || dot == len(name)-1 {
		return types.NamespacedName{}, ErrNoIdentity
	}
	return types.NamespacedName{Namespace: name[dot+1:], Name: name[:dot]}, nil
}
