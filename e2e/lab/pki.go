package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// An authority signs the certificates of one lab. Files are NAME.crt and
// NAME.key in its directory; those that are there are kept.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

const certificateLife = 10 * 365 * 24 * time.Hour

func newAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	a := &authority{dir: dir}
	if err := a.load(); err == nil {
		return a, nil
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "porchlight-lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	if err := a.sign("ca", a.cert, a.key); err != nil {
		return nil, err
	}
	return a, a.load()
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) load() error {
	cert, err := readPEM(a.path("ca.crt"))
	if err != nil {
		return err
	}
	key, err := readPEM(a.path("ca.key"))
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(cert); err != nil {
		return fmt.Errorf("%s: %w", a.path("ca.crt"), err)
	}
	if a.key, err = x509.ParseECPrivateKey(key); err != nil {
		return fmt.Errorf("%s: %w", a.path("ca.key"), err)
	}
	return nil
}

// issue makes a certificate for a client and server, unless it is there.
func (a *authority) issue(name string, subject pkix.Name, dns []string, ips []netip.Addr) error {
	if _, err := os.Stat(a.path(name + ".crt")); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	cert := &x509.Certificate{
		SerialNumber: serial, Subject: subject, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range ips {
		cert.IPAddresses = append(cert.IPAddresses, net.IP(ip.AsSlice()))
	}
	return a.sign(name, cert, key)
}

func (a *authority) sign(name string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", name, err)
	}
	if err := writeKey(a.path(name+".key"), key); err != nil {
		return err
	}
	return writePEM(a.path(name+".crt"), "CERTIFICATE", der)
}

// keyPair makes a bare key for signing tokens, unless it is there.
func (a *authority) signingKey(name string) error {
	if _, err := os.Stat(a.path(name)); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	return writeKey(a.path(name), key)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("key %s: %w", path, err)
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	return block.Bytes, nil
}

// writeFile puts the file in place whole or not at all.
func writeFile(path string, content []byte, mode os.FileMode) error {
	tmp := path + ".part"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
