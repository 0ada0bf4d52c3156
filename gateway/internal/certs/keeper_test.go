package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

const ns = "porchlight-system"

type world struct {
	keeper *Keeper
	now    time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{now: time.Now()}
	api := fake.NewClientBuilder().Build()
	w.keeper = &Keeper{
		Client:    api,
		Uncached:  api,
		Namespace: ns,
		Overlap:   DefaultOverlap,
		Now:       func() time.Time { return w.now },
		Log:       slog.New(slog.DiscardHandler),
	}
	w.keep(t)
	return w
}

func (w *world) keep(t *testing.T) {
	t.Helper()
	if err := w.keeper.Keep(context.Background(), []Holder{{Fleet: "porchlight-envoy"}}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) secret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	s := &corev1.Secret{}
	if err := w.keeper.Client.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// handshake connects with the client certificate of a Secret, believing what
// that Secret says, and returns the fleet that the server sees.
func (w *world) handshake(t *testing.T, server *Serving, clientSecret *corev1.Secret) (types.NamespacedName, error) {
	t.Helper()
	cert, err := tls.X509KeyPair(clientSecret.Data[corev1.TLSCertKey], clientSecret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(clientSecret.Data[BundleKey])
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	clientDone := make(chan error, 1)
	go func() {
		c := tls.Client(a, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: ServerName(ns),
			Time: func() time.Time { return w.now }, NextProtos: []string{"h2"}})
		err := c.Handshake()
		if err != nil {
			a.Close()
		}
		clientDone <- err
	}()
	config := server.Config()
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := inner(h)
		if err == nil {
			c = c.Clone()
			c.Time = func() time.Time { return w.now }
		}
		return c, err
	}
	s := tls.Server(b, config)
	if err := s.Handshake(); err != nil {
		b.Close()
		<-clientDone
		return types.NamespacedName{}, err
	}
	if err := <-clientDone; err != nil {
		return types.NamespacedName{}, err
	}
	return Fleet(s.ConnectionState().PeerCertificates[0])
}

func TestHandshakeNamesTheFleet(t *testing.T) {
	w := newWorld(t)
	server := NewServing()
	if _, err := w.handshake(t, server, w.secret(t, FleetSecret("porchlight-envoy"))); !errors.Is(err, ErrNotLoaded) {
		t.Errorf("before the certificate is loaded: %v, want ErrNotLoaded", err)
	}
	if err := server.Load(w.secret(t, ServerSecret)); err != nil {
		t.Fatal(err)
	}
	fleet, err := w.handshake(t, server, w.secret(t, FleetSecret("porchlight-envoy")))
	if want := (types.NamespacedName{Namespace: ns, Name: "porchlight-envoy"}); err != nil || fleet != want {
		t.Errorf("fleet %v, %v; want %v", fleet, err, want)
	}

	// The certificate of another authority, and the server's own as a
	// client's, are refused.
	other := newWorld(t).secret(t, FleetSecret("porchlight-envoy"))
	other.Data[BundleKey] = w.secret(t, ServerSecret).Data[BundleKey]
	if _, err := w.handshake(t, server, other); err == nil {
		t.Error("a client of another authority is let in")
	}
	if _, err := w.handshake(t, server, w.secret(t, ServerSecret)); err == nil {
		t.Error("a server's certificate is let in as a client's")
	}
}

func TestFleetOfCertificate(t *testing.T) {
	for name, want := range map[string]string{
		"a.ns.fleet.porchlight":   "ns/a",
		"a.b.ns.fleet.porchlight": "ns/a.b",
		"ns.fleet.porchlight":     "",
		".ns.fleet.porchlight":    "",
		"a..fleet.porchlight":     "",
		"a.ns.example.com":        "",
	} {
		got, err := Fleet(&x509.Certificate{DNSNames: []string{name}})
		if want == "" && !errors.Is(err, ErrNoIdentity) || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%s: %v, %v; want %q", name, got, err, want)
		}
	}
	if _, err := Fleet(&x509.Certificate{DNSNames: []string{"a.n.fleet.porchlight", "b.n.fleet.porchlight"}}); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("two names: %v, want ErrNoIdentity", err)
	}
}

// TestRenewal: leaves are replaced after two thirds of their life and not
// before, and an authority is believed before it is used.
func TestRenewal(t *testing.T) {
	w := newWorld(t)
	fleet := FleetSecret("porchlight-envoy")
	first := w.secret(t, fleet)
	start := w.now

	w.now = start.Add(59 * 24 * time.Hour)
	w.keep(t)
	if got := w.secret(t, fleet); got.ResourceVersion != first.ResourceVersion {
		t.Error("written again before it is due")
	}
	w.now = start.Add(61 * 24 * time.Hour)
	w.keep(t)
	second := w.secret(t, fleet)
	if bytes.Equal(second.Data[corev1.TLSCertKey], first.Data[corev1.TLSCertKey]) {
		t.Error("not renewed when due")
	}

	// The authority is due: its successor is in every bundle at once, and the
	// leaves follow after the overlap.
	w.now = start.Add(authorityLifetime*2/3 - time.Hour)
	w.keep(t)
	oldLeaf, oldServer := w.secret(t, fleet), w.secret(t, ServerSecret)
	w.now = start.Add(authorityLifetime*2/3 + time.Hour)
	w.keep(t)
	leaf := w.secret(t, fleet)
	if !bytes.Equal(leaf.Data[corev1.TLSCertKey], oldLeaf.Data[corev1.TLSCertKey]) {
		t.Error("a leaf of the new authority before the overlap is over")
	}
	if n := len(certificates(leaf.Data[BundleKey])); n != 2 {
		t.Errorf("%d authorities in the bundle, want the old and the new", n)
	}
	w.now = w.now.Add(DefaultOverlap + time.Hour)
	w.keep(t)
	leaf = w.secret(t, fleet)
	if bytes.Equal(leaf.Data[corev1.TLSCertKey], oldLeaf.Data[corev1.TLSCertKey]) {
		t.Error("no leaf of the new authority after the overlap")
	}
	// All that may meet in between do.
	for i, pair := range [][2]*corev1.Secret{{oldServer, oldLeaf}, {w.secret(t, ServerSecret), leaf}} {
		server := NewServing()
		if err := server.Load(pair[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.handshake(t, server, pair[1]); err != nil {
			t.Errorf("handshake %d: %v", i, err)
		}
	}
}

func TestGarbageIsReplaced(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{AuthoritySecret, ServerSecret} {
		s := w.secret(t, name)
		s.Data[corev1.TLSPrivateKeyKey] = []byte("garbage")
		if err := w.keeper.Client.Update(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		w.keep(t)
		server := NewServing()
		if err := server.Load(w.secret(t, ServerSecret)); err != nil {
			t.Fatal(err)
		}
		if err := server.Load(&corev1.Secret{}); err == nil {
			t.Error("an empty Secret is loaded")
		}
		if _, err := w.handshake(t, server, w.secret(t, FleetSecret("porchlight-envoy"))); err != nil {
			t.Errorf("after %s was garbage: %v", name, err)
		}
	}
}

// TestAuthorityDeleted: to delete the authority's Secret replaces it, step by
// step, and in the end nobody believes the one before any more.
func TestAuthorityDeleted(t *testing.T) {
	w := newWorld(t)
	fleet := FleetSecret("porchlight-envoy")
	oldLeaf, oldServer := w.secret(t, fleet), w.secret(t, ServerSecret)
	if err := w.keeper.Client.Delete(context.Background(), w.secret(t, AuthoritySecret)); err != nil {
		t.Fatal(err)
	}
	meet := func(server, client *corev1.Secret) error {
		s := NewServing()
		if err := s.Load(server); err != nil {
			t.Fatal(err)
		}
		_, err := w.handshake(t, s, client)
		return err
	}
	for step, want := range []struct {
		leafChanges bool
		believed    int
	}{{false, 2}, {true, 2}, {false, 1}} {
		before := w.secret(t, fleet)
		w.keep(t)
		w.keep(t)
		leaf, server := w.secret(t, fleet), w.secret(t, ServerSecret)
		if changed := !bytes.Equal(leaf.Data[corev1.TLSCertKey], before.Data[corev1.TLSCertKey]); changed != want.leafChanges {
			t.Errorf("step %d: the leaf is another: %v, want %v", step, changed, want.leafChanges)
		}
		if n := len(certificates(leaf.Data[BundleKey])); n != want.believed {
			t.Errorf("step %d: %d authorities are believed, want %d", step, n, want.believed)
		}
		// Each may have what this step brought, or what the step before did.
		for _, s := range []*corev1.Secret{oldServer, server} {
			for _, c := range []*corev1.Secret{before, leaf} {
				if err := meet(s, c); err != nil {
					t.Errorf("step %d: %v", step, err)
				}
			}
		}
		oldServer = server
		w.now = w.now.Add(DefaultOverlap + time.Minute)
	}
	if err := meet(w.secret(t, ServerSecret), oldLeaf); err == nil {
		t.Error("a leaf of the authority that was deleted is still believed")
	}
}

// What is no fleet's belongs to the gateway's Deployment: with the installation
// it goes. A new installation that finds what one before it has made takes it
// over as it is.
func TestInstallationOwns(t *testing.T) {
	w := newWorld(t) // somebody runs the gateway without a Deployment
	before := map[string]*corev1.Secret{}
	for _, name := range []string{AuthoritySecret, ServerSecret} {
		if before[name] = w.secret(t, name); len(before[name].OwnerReferences) != 0 {
			t.Errorf("%s belongs to %v", name, before[name].OwnerReferences)
		}
	}
	for _, uid := range []types.UID{"first", "second"} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: gateway, UID: uid}}
		if err := w.keeper.Client.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		k := *w.keeper
		k.installation = nil // the program starts anew
		w.keeper = &k
		w.keep(t)
		for name, was := range before {
			s := w.secret(t, name)
			if o := s.OwnerReferences; len(o) != 1 || o[0].UID != uid || o[0].Name != gateway || o[0].Kind != "Deployment" || o[0].APIVersion != "apps/v1" {
				t.Errorf("%s belongs to %v, not to %s", name, o, uid)
			}
			if !maps.EqualFunc(s.Data, was.Data, bytes.Equal) {
				t.Errorf("%s is another since %s", name, uid)
			}
		}
		if err := w.keeper.Client.Delete(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if o := w.secret(t, FleetSecret("porchlight-envoy")).OwnerReferences; len(o) != 1 || o[0].UID != "" {
		t.Errorf("a fleet's belongs to %v", o)
	}
}
