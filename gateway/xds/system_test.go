package xds_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

// systemAuthority is what the system of every Envoy here trusts.
var systemAuthority = sync.OnceValues(func() (*certs.Authority, error) { return certs.NewAuthority(time.Now(), nil) })

// ofSystem puts a bundle of the test's own in the place of the one that the
// image of an Envoy has.
func ofSystem(t *testing.T, s *tlsv3.Secret) {
	file := s.GetValidationContext().GetTrustedCa()
	if file.GetFilename() == "" {
		return
	}
	if file.GetFilename() != xds.SystemBundle {
		t.Fatalf("secret %s is to be read from %s", s.Name, file.GetFilename())
	}
	a, err := systemAuthority()
	if err != nil {
		t.Fatal(err)
	}
	file.GetSpecifier().(*corev3.DataSource_Filename).Filename = filepath.Join(t.TempDir(), "bundle")
	if err := os.WriteFile(file.GetFilename(), a.Bundle, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A backend whose certificate is of an authority that Envoy's system trusts is
// reached, another is not.
func TestEnvoyTrustsItsSystem(t *testing.T) {
	own, err := systemAuthority()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := certs.NewAuthority(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := readCase(t, filepath.Join(cases, "system-authorities.txtar"))
	objects.AssumeFacts()
	set := resources(t, objects)
	backends := map[string]netip.AddrPort{"v2": secured(t, own), "v3": secured(t, stranger)}
	for _, f := range ingest.Translate(objects.Input).Fleets {
		for _, c := range f.Clusters {
			set.Put(xds.Endpoints(ir.Endpoints{Cluster: c.Name(), Addresses: []netip.AddrPort{backends[c.Service.Name]}}))
		}
	}
	g := run(t, envoybin.Path(t), set)
	for path, want := range map[string]int{"known": http.StatusOK, "stranger": http.StatusServiceUnavailable, "others": http.StatusInternalServerError} {
		if r := g.do(t, "80 GET http://example.org/"+path); r.StatusCode != want {
			t.Errorf("/%s is answered by %d, want %d", path, r.StatusCode, want)
		}
	}
}

// secured is a backend with a certificate of an authority.
func secured(t *testing.T, a *certs.Authority) netip.AddrPort {
	p, err := a.Leaf(time.Now(), x509.ExtKeyUsageServerAuth, "known.example.org")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	return serveTLS(t, pair)
}

// serveTLS is a backend with a key pair.
func serveTLS(t *testing.T, pair tls.Certificate) netip.AddrPort {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}
