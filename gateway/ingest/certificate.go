package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Certificate returns the key pair in a Secret, if Envoy will take it. The
// error says what is wrong with it and never shows its content.
func Certificate(s *corev1.Secret) (ir.Certificate, error) {
	chain, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	pair, err := tls.X509KeyPair(chain, key)
	if err == nil {
		err = checkLeaf(pair.Leaf)
	}
	if err == nil {
		chain, err = encodeChain(pair.Certificate)
	}
	if err != nil {
		return ir.Certificate{}, fmt.Errorf("secret %s/%s holds no usable key pair in %s and %s: %w",
			s.Namespace, s.Name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return ir.Certificate{
		Name:  types.NamespacedName{Namespace: s.Namespace, Name: s.Name},
		Chain: chain,
		Key:   ir.PrivateKey(privateKey(key)),

		NotBefore: pair.Leaf.NotBefore,
		NotAfter:  pair.Leaf.NotAfter,
	}, nil
}

// encodeChain returns a chain in PEM, written anew: Envoy refuses a chain for
// what stands around it.
func encodeChain(chain [][]byte) ([]byte, error) {
	var out []byte
	for i, der := range chain {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i, err)
		}
		out = append(out, encodeCertificate(der)...)
	}
	return out, nil
}

// privateKey returns the key that tls.X509KeyPair has found, and it alone.
func privateKey(text []byte) []byte {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY") {
			return pem.EncodeToMemory(block)
		}
	}
	return text
}

// mustStaple is the TLS feature extension (RFC 7633).
var mustStaple = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// checkLeaf refuses the certificates that Envoy refuses.
func checkLeaf(c *x509.Certificate) error {
	if err := checkKey(c.PublicKey); err != nil {
		return err
	}
	_, isECDSA := c.PublicKey.(*ecdsa.PublicKey)
	switch {
	case isECDSA && c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("the usage of its ECDSA key does not include digital signatures")
	case c.Subject.CommonName == "" && len(c.DNSNames)+len(c.URIs)+len(c.IPAddresses)+len(c.EmailAddresses) == 0:
		return errors.New("the certificate names nobody, neither in its subject nor beside it")
	case slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(mustStaple) }):
		return errors.New("the certificate asks for a stapled OCSP response, which there is none of")
	}
	return nil
}

// checkKey refuses the keys that Envoy refuses.
func checkKey(public any) error {
	const minRSABits = 2048
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fmt.Errorf("the RSA key has %d bits, fewer than %d", k.N.BitLen(), minRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return errors.New("the ECDSA key is not of curve P-256, P-384 or P-521")
	default:
		return errors.New("the key is neither RSA nor ECDSA")
	}
}
