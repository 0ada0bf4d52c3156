package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

const ns = "porchlight-system"

type recorder struct {
	serves  chan []string
	refused chan ads.Refusal
}

func (r *recorder) Serves(_ types.NamespacedName, _ string, listeners []string) {
	r.serves <- listeners
}
func (r *recorder) Refused(_ types.NamespacedName, _ string, x ads.Refusal) { r.refused <- x }

// site is a running server and the authority of its certificates.
type site struct {
	t    *testing.T
	ca   *certs.Authority
	addr string
	hub  *Hub
	seen *recorder
	stop context.CancelFunc
}

func newSite(t *testing.T) *site {
	ca, err := certs.NewAuthority(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	serving := certs.NewServing()
	s := &site{t: t, ca: ca, hub: NewHub(), seen: &recorder{serves: make(chan []string, 16), refused: make(chan ads.Refusal, 16)}}
	if err := serving.Load(s.secret(x509.ExtKeyUsageServerAuth, certs.ServerName(ns))); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	srv := New("", serving, s.hub, s.seen, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- srv.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-srv.Ready()
	return s
}

func (s *site) secret(usage x509.ExtKeyUsage, name string) *corev1.Secret {
	s.t.Helper()
	p, err := s.ca.Leaf(time.Now(), usage, name)
	if err != nil {
		s.t.Fatal(err)
	}
	return &corev1.Secret{Data: map[string][]byte{
		corev1.TLSCertKey: p.Certificate, corev1.TLSPrivateKeyKey: p.Key, certs.BundleKey: s.ca.Bundle,
	}}
}

type client struct {
	t *testing.T
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (s *site) connect(identity string) client {
	s.t.Helper()
	secret := s.secret(x509.ExtKeyUsageClientAuth, identity)
	cert, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.ca.Bundle)
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: certs.ServerName(ns),
	})))
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	s.t.Cleanup(func() { cancel(); conn.Close() })
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return client{s.t, stream}
}

func (c client) send(t resource.Type, nonce, refusal string, names ...string) {
	c.t.Helper()
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(t), ResponseNonce: nonce, ResourceNamesSubscribe: names,
		// It may say what it likes of itself.
		Node: &corev3.Node{Id: "pod-1", Cluster: "other"}}
	if refusal != "" {
		req.ErrorDetail = &statuspb.Status{Message: refusal}
	}
	if err := c.Send(req); err != nil {
		c.t.Fatal(err)
	}
}

func (c client) recv(t resource.Type, names ...string) string {
	c.t.Helper()
	resp, err := c.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	var got []string
	for _, r := range resp.Resources {
		got = append(got, r.Name)
	}
	if resp.TypeUrl != string(t) || len(got) != len(names) || len(got) > 0 && got[0] != names[0] {
		c.t.Fatalf("received %s %v, want %s %v", resp.TypeUrl, got, t, names)
	}
	return resp.Nonce
}

func fleet(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: ns, Name: name}
}

func cluster(name string) resource.Set {
	s := resource.Set{}
	s.Put(resource.New(resource.Cluster, name, &clusterv3.Cluster{Name: name}))
	return s
}

func TestFleetsAreApart(t *testing.T) {
	s := newSite(t)
	a := s.connect(certs.Identity(fleet("a")))
	a.send(resource.Cluster, "", "")
	b := s.connect(certs.Identity(fleet("b")))
	b.send(resource.Cluster, "", "", "*", "of-a")
	// Nothing is said before the first snapshot; then each gets its own.
	s.hub.Publish(map[types.NamespacedName]resource.Set{fleet("a"): cluster("of-a"), fleet("b"): cluster("of-b")})
	a.recv(resource.Cluster, "of-a")
	b.recv(resource.Cluster, "of-b")
}

func TestWithoutIdentity(t *testing.T) {
	s := newSite(t)
	c := s.connect("somebody.example.com")
	if _, err := c.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a certificate that names no fleet: %v, want PermissionDenied", err)
	}
}

func TestReports(t *testing.T) {
	s := newSite(t)
	c := s.connect(certs.Identity(fleet("a")))
	s.hub.Publish(map[types.NamespacedName]resource.Set{fleet("a"): cluster("bad")})
	c.send(resource.Cluster, "", "")
	c.send(resource.Cluster, c.recv(resource.Cluster, "bad"), "too bad")
	if r := <-s.seen.refused; r.Name != "bad" || r.Detail != "too bad" {
		t.Errorf("reported %+v", r)
	}
	set := cluster("good")
	set.Put(resource.New(resource.Listener, "l", &clusterv3.Cluster{Name: "l"}))
	s.hub.Publish(map[types.NamespacedName]resource.Set{fleet("a"): set})
	c.send(resource.Cluster, c.recv(resource.Cluster, "good"), "")
	c.send(resource.Listener, "", "")
	c.send(resource.Listener, c.recv(resource.Listener, "l"), "")
	if live := <-s.seen.serves; len(live) != 1 || live[0] != "l" {
		t.Errorf("serves %v, want l", live)
	}
	// A fleet that is no more is emptied.
	s.hub.Publish(nil)
	c.send(resource.Listener, c.recv(resource.Listener), "")
	if live := <-s.seen.serves; len(live) != 0 {
		t.Errorf("serves %v, want nothing", live)
	}
}

// TestStop: streams end with the server, so that the Envoys go elsewhere.
func TestStop(t *testing.T) {
	s := newSite(t)
	c := s.connect(certs.Identity(fleet("a")))
	c.send(resource.Cluster, "", "")
	s.hub.Publish(map[types.NamespacedName]resource.Set{fleet("a"): cluster("a")})
	c.recv(resource.Cluster, "a")
	s.stop()
	if _, err := c.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("stream ended with %v, want Unavailable", err)
	}
}

// A stream that is opened while the server goes down, on the connection of one
// that has ended with it, is refused before anything is known of its Envoy.
func TestStreamToAServerThatGoesDown(t *testing.T) {
	s := New("", nil, NewHub(), &recorder{}, slog.New(slog.DiscardHandler))
	var stop context.CancelFunc
	s.ctx, stop = context.WithCancel(context.Background())
	stop()
	if err := s.DeltaAggregatedResources(nil); status.Code(err) != codes.Unavailable || len(s.Hub.Fleets()) != 0 {
		t.Errorf("a stream has ended with %v, and these fleets are heard of: %v; want Unavailable and none", err, s.Hub.Fleets())
	}
}
