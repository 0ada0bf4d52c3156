package ingest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// AuthorityKey is the key of a ConfigMap that CA certificates are read from.
const AuthorityKey = "ca.crt"

// Authority returns the CA certificates in a ConfigMap, in PEM. The error says
// what is wrong with them.
func Authority(m *corev1.ConfigMap) ([]byte, error) {
	var out bytes.Buffer
	err := errors.New("there is none")
	for rest := []byte(m.Data[AuthorityKey]); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err = x509.ParseCertificate(block.Bytes); err != nil {
			break
		}
		// Written anew: what stands around it is nobody's business.
		if err = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("no usable CA certificate in %s of ConfigMap %s/%s: %w", AuthorityKey, m.Namespace, m.Name, err)
	}
	return out.Bytes(), nil
}

// AuthoritiesBundle joins the CA certificates of the ConfigMaps. One that has
// none is left out. SystemAuthorities have none here.
func AuthoritiesBundle(a ir.Authorities, get func(namespace, name string) *corev1.ConfigMap) []byte {
	var out []byte
	for _, n := range a {
		if m := get(n.Namespace, n.Name); m != nil {
			if b, err := Authority(m); err == nil {
				out = append(out, b...)
			}
		}
	}
	return out
}
