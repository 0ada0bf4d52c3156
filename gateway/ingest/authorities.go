package ingest

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

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

// AuthoritiesBundle joins the CA certificates of the ConfigMaps, in PEM. One
// that has none is left out, those whose time is not now are not.
// SystemAuthorities have none here.
func AuthoritiesBundle(a ir.Authorities, get func(namespace, name string) *corev1.ConfigMap) []byte {
	var out []byte
	for _, n := range a {
		m := get(n.Namespace, n.Name)
		if m == nil {
			continue
		}
		all, err := Authority(m)
		if err != nil {
			continue
		}
		for _, c := range all {
			// Written anew: what stands around it is nobody's business.
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw})...)
		}
	}
	return out
}
