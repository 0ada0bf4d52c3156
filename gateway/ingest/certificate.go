package ingest

import (
	"crypto/tls"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// Certificate returns the key pair in a Secret. The error says what is wrong
// with it and never shows its content.
func Certificate(s *corev1.Secret) (ir.Certificate, error) {
	if s.Type != corev1.SecretTypeTLS && s.Type != corev1.SecretTypeOpaque && s.Type != "" {
		return ir.Certificate{}, fmt.Errorf("secret %s/%s is of type %s, not %s", s.Namespace, s.Name, s.Type, corev1.SecretTypeTLS)
	}
	chain, key := s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		return ir.Certificate{}, fmt.Errorf("secret %s/%s holds no usable key pair in %s and %s: %w",
			s.Namespace, s.Name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return ir.Certificate{
		Name:  types.NamespacedName{Namespace: s.Namespace, Name: s.Name},
		Chain: chain,
		Key:   ir.PrivateKey(key),
	}, nil
}
