package xds_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

// signed returns a certificate of a key that is valid for a day from so many
// days before now, signed by another or, where that is nil, by itself.
func signed(t *testing.T, name string, key *ecdsa.PrivateKey, days int, by *x509.Certificate, byKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	begins := time.Now().Add(-time.Duration(days) * 24 * time.Hour)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(days) + 10), Subject: pkix.Name{CommonName: name},
		NotBefore: begins.Add(-time.Hour), NotAfter: begins.Add(23 * time.Hour), BasicConstraintsValid: true,
	}
	if by == nil {
		template.IsCA, template.KeyUsage, by = true, x509.KeyUsageCertSign, template
	} else {
		template.DNSNames, template.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What is said of CA certificates that are not valid is what Envoy does: what
// such a one has signed is refused, what others have is not.
func TestEnvoyRefusesWhatAnExpiredAuthoritySigned(t *testing.T) {
	former, current, next := newKey(t), newKey(t), newKey(t)
	cas := map[string]*x509.Certificate{
		"former":  signed(t, "Former CA", former, 2, nil, former),
		"current": signed(t, "Current CA", current, 0, nil, current),
		"next":    signed(t, "Next CA", next, -2, nil, next),
		// What current had before it was renewed.
		"unrenewed": signed(t, "Current CA", current, 3, nil, current),
	}
	bundles := map[string][]string{
		"current": {"unrenewed", "former", "current"}, "former": {"former"}, "both": {"former", "current"}, "ending": {"current", "former"}, "next": {"next"},
		"rotation": {"current", "next"},
	}
	// The CA that signed the certificate of each backend, and what a request to
	// it gets.
	backends := map[string]struct {
		by   string
		key  *ecdsa.PrivateKey
		want int
	}{
		"current":  {"current", current, http.StatusOK},
		"former":   {"former", former, http.StatusServiceUnavailable},
		"both":     {"current", current, http.StatusOK},
		"ending":   {"former", former, http.StatusServiceUnavailable},
		"next":     {"next", next, http.StatusServiceUnavailable},
		"rotation": {"current", current, http.StatusOK},
		"partly":   {"former", former, http.StatusServiceUnavailable},
	}
	objects := readCase(t, filepath.Join(cases, "expired-authorities.txtar"))
	objects.AssumeFacts()
	for _, m := range objects.ConfigMaps {
		if names := bundles[m.Name]; names != nil {
			m.Data[ingest.AuthorityKey] = ""
			for _, n := range names {
				m.Data[ingest.AuthorityKey] += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cas[n].Raw}))
			}
		}
	}
	addresses := map[string]netip.AddrPort{}
	for name, b := range backends {
		key := newKey(t)
		leaf := signed(t, "known.example.org", key, 0, cas[b.by], b.key)
		addresses[name] = serveTLS(t, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key})
	}
	set := resources(t, objects)
	for _, f := range ingest.Translate(objects.Input).Fleets {
		for _, c := range f.Clusters {
			set.Put(xds.Endpoints(ir.Endpoints{Cluster: c.Name(), Addresses: []netip.AddrPort{addresses[c.Service.Name]}}))
		}
	}
	g := run(t, envoybin.Path(t), set)
	for name, b := range backends {
		if r := g.do(t, "80 GET http://example.org/"+name); r.StatusCode != b.want {
			t.Errorf("/%s is answered by %d, want %d", name, r.StatusCode, b.want)
		}
	}
}
