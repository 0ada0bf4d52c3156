package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"

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
		err = checkKey(pair.Leaf.PublicKey)
	}
	if err != nil {
		return ir.Certificate{}, fmt.Errorf("secret %s/%s holds no usable key pair in %s and %s: %w",
			s.Namespace, s.Name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return ir.Certificate{
		Name:  types.NamespacedName{Namespace: s.Namespace, Name: s.Name},
		Chain: chain,
		Key:   ir.PrivateKey(key),

		NotBefore: pair.Leaf.NotBefore,
		NotAfter:  pair.Leaf.NotAfter,
	}, nil
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
