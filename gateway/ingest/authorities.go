package ingest

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// AuthorityKey is the key of a ConfigMap that CA certificates are read from.
const AuthorityKey = "ca.crt"

// Authority returns the CA certificates in a ConfigMap, one at least. The error
// says what is wrong with them.
func Authority(m *corev1.ConfigMap) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	err := errors.New("there is none")
	for rest := []byte(m.Data[AuthorityKey]); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != certificateBlock {
			continue
		}
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err != nil {
			break
		}
		out = append(out, c)
	}
	if err != nil {
		return nil, fmt.Errorf("no usable CA certificate in %s of ConfigMap %s/%s: %w", AuthorityKey, m.Namespace, m.Name, err)
	}
	return out, nil
}

// certificateBlock is the type of a certificate in PEM.
const certificateBlock = "CERTIFICATE"

// encodeCertificate writes a certificate in PEM: what stood around it is
// nobody's business.
func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: der})
}

// AuthoritiesBundle joins the CA certificates of the ConfigMaps, in PEM, those
// that end last first: of the certificates that a CA has had for one key, Envoy
// looks at the first alone, and refuses what the CA signed if that one has
// expired. A ConfigMap that has none is left out; a certificate whose time is
// not now is not. SystemAuthorities have none here.
func AuthoritiesBundle(a ir.Authorities, get func(namespace, name string) *corev1.ConfigMap) []byte {
	var all []*x509.Certificate
	for _, n := range a {
		if m := get(n.Namespace, n.Name); m != nil {
			if found, err := Authority(m); err == nil {
				all = append(all, found...)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *x509.Certificate) int { return b.NotAfter.Compare(a.NotAfter) })
	var out []byte
	for _, c := range all {
		out = append(out, encodeCertificate(c.Raw)...)
	}
	return out
}
