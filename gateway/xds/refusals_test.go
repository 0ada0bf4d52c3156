package xds_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
)

// What Envoy would refuse is refused before it gets there: it refuses all that
// comes with it, too.

// atoms of the expressions that are put together.
var atoms = []string{
	`a`, `é`, `.`, `\d`, `\W`, `\pL`, `\PN`, `\p{Greek}`, `\p{^Lu}`, `\p{Any}`, `[a-z]`, `[^é]`, `[[:word:]]`, `[\x00-\x{ff}]`, `\Q\p{Letter}\E`,
	`\x41`, `\x{e9}`, `\101`, `\0`, `(?:)`, `(a|b)`, `(?i)k`, `(?P<n>x)`, `^`, `$`, `\b`, `\z`, `\\p{Letter}`,
	// Of these RE2 knows none, or not where it reads bytes.
	`\p{Letter}`, `\p{greek}`, `\p{LC}`, `\p{Cn}`, `\p{Assigned}`, `\P{ASCII}`, `\p{ L_u }`, `\x{100}`, `[\x{10ffff}]`, `\477`, `[\x{e9}-é]`, `\C`, `(?<é>a)`, `\8`, `(`, `[z-a]`,
}

// expression puts some together. Most are not repeated, so that most are not
// too large.
func expression(r *rand.Rand) string {
	var out strings.Builder
	for range 1 + r.IntN(4) {
		out.WriteString(atoms[r.IntN(len(atoms))])
		out.WriteString([]string{"", "", "", "*", "+?", "{2,9}", "{0,1000}", "{1,1001}"}[r.IntN(8)])
	}
	if r.IntN(4) == 0 {
		return fmt.Sprintf("(%s){1,%d}", out.String(), 1+r.IntN(40))
	}
	return out.String()
}

func TestEnvoyAcceptsExpressions(t *testing.T) {
	expressions := slices.Clone(atoms)
	for name := range unicode.Scripts {
		expressions = append(expressions, `\p{`+name+`}`)
	}
	for name := range unicode.Categories {
		expressions = append(expressions, `\P{`+name+`}`)
	}
	r := rand.New(rand.NewPCG(7, 0))
	for range 2000 {
		expressions = append(expressions, expression(r))
	}
	objects := readCase(t, filepath.Join(cases, "simple.txtar"))
	route := objects.HTTPRoutes[0]
	objects.HTTPRoutes = nil
	for i, e := range expressions {
		r := route.DeepCopy()
		r.Name = fmt.Sprintf("r%d", i)
		kind := gwv1.HeaderMatchRegularExpression
		r.Spec.Rules[0].Matches = []gwv1.HTTPRouteMatch{{Headers: []gwv1.HTTPHeaderMatch{{Type: &kind, Name: "x", Value: e}}}}
		objects.HTTPRoutes = append(objects.HTTPRoutes, r)
	}
	objects.AssumeFacts()
	accepted := map[string]bool{}
	for _, s := range ingest.Translate(objects.Input).RouteStatuses {
		var i int
		if _, err := fmt.Sscanf(s.Name.Name, "r%d", &i); err != nil {
			t.Fatal(err)
		}
		accepted[expressions[i]] = s.Parents[0].Conditions[0].Status == metav1.ConditionTrue
	}
	for i, e := range atoms {
		if known := i < slices.Index(atoms, `\p{Letter}`); accepted[e] != known {
			t.Errorf("%s is accepted: %v, want %v", e, accepted[e], known)
		}
	}
	validate(t, envoybin.Path(t), resources(t, objects))
}

// pair is a certificate and its key.
type pair struct{ certificate, key []byte }

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issue makes a pair that is good for example.org, but for what change does.
func issue(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) pair {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "example.org"}, DNSNames: []string{"example.org"},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{block("CERTIFICATE", der), block("PRIVATE KEY", private)}
}

// A key pair is refused, and named, or Envoy takes it: one that Envoy refuses
// keeps the whole port from being served.
func TestEnvoyAcceptsKeyPairs(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	fine := issue(t, key, nil)
	broken := func(kind string) []byte {
		return []byte("-----BEGIN " + kind + "-----\n!!!\n-----END " + kind + "-----\n")
	}
	ec, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		refused string
		pair    pair
	}{
		{"plain", "", fine},
		{"chain", "", pair{slices.Concat(fine.certificate, fine.certificate), fine.key}},
		{"text-around", "", pair{slices.Concat([]byte("Subject: x\n"), fine.certificate, []byte("\n\nend")), slices.Concat([]byte("key\n"), fine.key)}},
		{"key-in-chain", "", pair{slices.Concat(fine.key, fine.certificate), slices.Concat(fine.certificate, fine.key)}},
		{"other-encoding", "", pair{[]byte(strings.ReplaceAll(string(fine.certificate), "\n", "\r\n")), block("EC PRIVATE KEY", ec)}},
		{"broken-after", "", pair{slices.Concat(fine.certificate, broken("CERTIFICATE")), fine.key}},
		{"broken-before", "", pair{slices.Concat(broken("CERTIFICATE"), fine.certificate), slices.Concat(broken("PRIVATE KEY"), fine.key)}},
		{"cut-after", "", pair{slices.Concat(fine.certificate, fine.certificate[:60]), fine.key}},
		{"garbage-in-chain", "certificate 1 of the chain", pair{slices.Concat(fine.certificate, block("CERTIFICATE", []byte("garbage"))), fine.key}},
		{"ed25519", "neither RSA nor ECDSA", issue(t, other, nil)},
		{"authority", "usage of its ECDSA key", issue(t, key, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		})},
		{"nobody", "names nobody", issue(t, key, func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{}, nil })},
		{"staple", "stapled", issue(t, key, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}}
		})},
		{"critical", "", issue(t, key, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{0x30, 0}}}
		})},
		{"of-a-client", "", issue(t, key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
	}
	objects := readCase(t, filepath.Join(cases, "simple.txtar"))
	g := objects.Gateways[0]
	for _, tt := range tests {
		hostname, protocol := gwv1.Hostname(tt.name+".example"), gwv1.HTTPSProtocolType
		g.Spec.Listeners = append(g.Spec.Listeners, gwv1.Listener{
			Name: gwv1.SectionName(tt.name), Port: 443, Protocol: protocol, Hostname: &hostname,
			TLS: &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: gwv1.ObjectName(tt.name)}}},
		})
		s := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: tt.name}, Type: corev1.SecretTypeTLS,
			Data: map[string][]byte{corev1.TLSCertKey: tt.pair.certificate, corev1.TLSPrivateKeyKey: tt.pair.key},
		}
		objects.Secrets = append(objects.Secrets, s)
		if _, err := ingest.Certificate(s); (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s: the error is %v, want %q", tt.name, err, tt.refused)
		}
	}
	objects.AssumeFacts()
	validate(t, envoybin.Path(t), resources(t, objects))
}
