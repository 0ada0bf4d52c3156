package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// ErrNotLoaded is the refusal of a connection before there is a certificate.
var ErrNotLoaded = errors.New("the server's certificate is not there yet")

// Serving is the TLS side of the xDS server. Every new connection uses what
// was loaded last. It is safe for concurrent use.
type Serving struct {
	mu     sync.Mutex
	config *tls.Config
	loaded chan struct{}
}

// NewServing returns one that refuses connections until Load has been called.
func NewServing() *Serving { return &Serving{loaded: make(chan struct{})} }

// Loaded is closed once there is a certificate.
func (s *Serving) Loaded() <-chan struct{} { return s.loaded }

// Load takes the certificate and the authorities from the server's Secret. On
// an error what was loaded before stays in use.
func (s *Serving) Load(secret *corev1.Secret) error {
	cert, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return fmt.Errorf("loading Secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(secret.Data[BundleKey]) {
		return fmt.Errorf("loading Secret %s/%s: no authority in %s", secret.Namespace, secret.Name, BundleKey)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.config == nil
	s.config = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
		NextProtos:   []string{"h2"},
	}
	if first {
		close(s.loaded)
	}
	return nil
}

// Config is what a listener is given.
func (s *Serving) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.config == nil {
				return nil, ErrNotLoaded
			}
			return s.config, nil
		},
	}
}
