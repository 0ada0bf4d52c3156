package xds

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// SecretName is the name under which an Envoy asks for a certificate.
func SecretName(n types.NamespacedName) string { return n.String() }

// Secret returns the Envoy secret with a key pair. Its Body holds the private
// key: it is sent to the fleet that uses the certificate and shown to nobody.
func Secret(c ir.Certificate) resource.Resource {
	name := SecretName(c.Name)
	return resource.New(resource.Secret, name, &tlsv3.Secret{
		Name: name,
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(c.Chain),
			PrivateKey:       inline(c.Key),
		}},
	})
}

// SystemBundle is where Envoy's image has the CA certificates that the system
// trusts, in PEM, as Debian has them. An Envoy whose image has none refuses the
// secret, and no connection that needs it comes about.
const SystemBundle = "/etc/ssl/certs/ca-certificates.crt"

// AuthoritiesSecret returns the Envoy secret with the CA certificates that
// peers are checked against: those of bundle, in PEM, or of SystemBundle.
func AuthoritiesSecret(a ir.Authorities, bundle []byte) resource.Resource {
	trusted := inline(bundle)
	if a.System() {
		trusted = &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: SystemBundle}}
	}
	return resource.New(resource.Secret, a.Name(), &tlsv3.Secret{
		Name: a.Name(),
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: trusted}},
	})
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
