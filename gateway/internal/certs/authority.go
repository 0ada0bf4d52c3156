// Package certs makes and renews the certificates of the xDS connection: an
// authority of the installation's own, a server certificate for the gateway,
// and a client certificate for each fleet, whose name in it is all that the
// server believes about who an Envoy is. They live in Secrets of the
// installation's namespace; the leader writes them, and every replica and
// every Envoy loads what is there, without a restart.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Lifetimes. Each certificate is renewed after two thirds of its own.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 90 * 24 * time.Hour
	// skew of clocks that certificates allow for.
	skew = 10 * time.Minute
)

// Pair is a certificate and its key, in PEM.
type Pair struct {
	Certificate []byte
	Key         []byte
}

// Authority signs leaves.
type Authority struct {
	Pair
	// Bundle is the certificates to believe, in PEM: this authority's, and
	// while it takes over from another, that one's.
	Bundle []byte

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that is believed beside those of the
// bundle, which may be empty.
func NewAuthority(now time.Time, bundle []byte) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the xDS authority: %w", err)
	}
	template, err := template(now, authorityLifetime, "porchlight xDS")
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	pair, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("signing the xDS authority: %w", err)
	}
	return ParseAuthority(now, pair, append(slices.Clone(pair.Certificate), bundle...))
}

// ParseAuthority reads an authority that was stored, and drops from its
// bundle what has expired.
func ParseAuthority(now time.Time, p Pair, bundle []byte) (*Authority, error) {
	cert, key, err := parse(p)
	if err != nil {
		return nil, fmt.Errorf("xDS authority: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("xDS authority: its certificate is not an authority's")
	}
	a := &Authority{Pair: p, cert: cert, key: key}
	for _, c := range certificates(append(slices.Clone(p.Certificate), bundle...)) {
		if now.Before(c.NotAfter) {
			block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
			if !slices.Contains(blocks(a.Bundle), string(block)) {
				a.Bundle = append(a.Bundle, block...)
			}
		}
	}
	return a, nil
}

// Due says whether the authority should be replaced.
func (a *Authority) Due(now time.Time) bool { return !now.Before(renewal(a.cert)) }

// Leaf makes a certificate with the DNS names, good for both ends of a
// connection as usage says.
func (a *Authority) Leaf(now time.Time, usage x509.ExtKeyUsage, names ...string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("making the key for %s: %w", names[0], err)
	}
	t, err := template(now, leafLifetime, names[0])
	if err != nil {
		return Pair{}, err
	}
	t.DNSNames = names
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	p, err := sign(t, a.cert, key, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("signing the certificate of %s: %w", names[0], err)
	}
	return p, nil
}

// LeafDue says whether a stored leaf should be replaced: it is unusable, its
// time is near, its names are others, or it is of an earlier authority and this
// one has been believed for as long as overlap.
func (a *Authority) LeafDue(now time.Time, overlap time.Duration, p Pair, names ...string) bool {
	cert, _, err := parse(p)
	if err != nil || !slices.Equal(cert.DNSNames, names) || !now.Before(renewal(cert)) {
		return true
	}
	if cert.CheckSignatureFrom(a.cert) == nil {
		return false
	}
	return !a.signed(cert) || now.After(issued(a.cert).Add(overlap))
}

// Settled says that the leaf is this authority's, and has been for as long as
// overlap: whoever had an earlier one has it now.
func (a *Authority) Settled(now time.Time, overlap time.Duration, leaf Pair) bool {
	cert, _, err := parse(leaf)
	return err == nil && cert.CheckSignatureFrom(a.cert) == nil && now.After(issued(cert).Add(overlap))
}

// Alone returns the authority with no other beside it in its bundle.
func (a *Authority) Alone() *Authority {
	out := *a
	out.Bundle = slices.Clone(a.Certificate)
	return &out
}

// issued is when a certificate was made.
func issued(c *x509.Certificate) time.Time { return c.NotBefore.Add(skew) }

// signed says whether one of the bundle's authorities signed the leaf.
func (a *Authority) signed(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(certificates(a.Bundle), func(c *x509.Certificate) bool {
		return leaf.CheckSignatureFrom(c) == nil
	})
}

func renewal(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

func template(now time.Time, lifetime time.Duration, name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name[:min(len(name), 64)]},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(lifetime),
	}, nil
}

func sign(t, by *x509.Certificate, key, byKey *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, by, &key.PublicKey, byKey)
	if err != nil {
		return Pair{}, err
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}),
	}, nil
}

func parse(p Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certs := certificates(p.Certificate)
	if len(certs) == 0 {
		return nil, nil, errors.New("no certificate")
	}
	block, _ := pem.Decode(p.Key)
	if block == nil {
		return nil, nil, errors.New("no key")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing the key: %w", err)
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, nil, errors.New("the key is not the certificate's")
	}
	return certs[0], key, nil
}

// certificates returns those of a PEM file; what is no certificate is left
// out.
func certificates(file []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for _, b := range blocks(file) {
		block, _ := pem.Decode([]byte(b))
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
	return out
}

// blocks returns the blocks of a PEM file.
func blocks(file []byte) []string {
	var out []string
	for {
		var b *pem.Block
		if b, file = pem.Decode(file); b == nil {
			return out
		}
		out = append(out, string(pem.EncodeToMemory(b)))
	}
}
