package xds_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// authorizer is a server that lets requests with "Authorization: yes" pass. Its
// answers say in X-Asked what it was asked. On port 9000 it speaks gRPC.
func authorizer(t *testing.T, c *ir.Cluster) netip.AddrPort {
	if c.Port != 9000 {
		s := httptest.NewUnstartedServer(http.HandlerFunc(authorize))
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		return s.Listener.Addr().(*net.TCPAddr).AddrPort()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	authv3.RegisterAuthorizationServer(g, checks{})
	ended := make(chan error)
	go func() { ended <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// shown are the headers that tests send, as the authorizer sees them.
func shown(get func(name string) string) string {
	out := ""
	for _, n := range []string{"Authorization", "Cookie", "X-One", "X-Two", "X-Three", "X-Porchlight-Routes", "X-Route"} {
		if v := cmp.Or(get(n), get(strings.ToLower(n))); v != "" {
			out += " " + n + ":" + v
		}
	}
	return out
}

func authorize(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("X-Asked", fmt.Sprintf("%s %s %s%s%s, %d bytes", r.Proto, r.Method, r.Host, r.RequestURI, shown(r.Header.Get), len(body)))
	w.Header().Set("X-User", "of the authorizer")
	w.Header().Set("Content-Type", "x-of/the-authorizer")
	w.Header().Set("Content-Encoding", "x-of-the-authorizer")
	answer := map[string]int{"yes": 200, "created": 201, "fail": 500}[r.Header.Get("Authorization")]
	w.WriteHeader(cmp.Or(answer, http.StatusUnauthorized))
	fmt.Fprint(w, "of the authorizer")
}

// checks is the authorizer that speaks gRPC.
type checks struct{}

// Check implements authv3.AuthorizationServer.
func (checks) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	h := r.Attributes.Request.Http
	m, _ := metadata.FromIncomingContext(ctx)
	headers := []*corev3.HeaderValueOption{
		{Header: &corev3.HeaderValue{Key: "x-user", Value: "of the authorizer"}},
		{Header: &corev3.HeaderValue{Key: "x-asked", Value: fmt.Sprintf("gRPC to %s: %s %s%s%s, %d bytes",
			m[":authority"], h.Method, h.Host, h.Path, shown(func(n string) string { return h.Headers[n] }), len(h.Body))}},
	}
	switch h.Headers["authorization"] {
	case "yes":
		return &authv3.CheckResponse{
			Status:       status.New(codes.OK, "").Proto(),
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: headers}},
		}, nil
	case "fail":
		return nil, errors.New("the authorizer fails")
	default:
		return &authv3.CheckResponse{
			Status: status.New(codes.PermissionDenied, "").Proto(),
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized}, Headers: headers,
			}},
		}, nil
	}
}

// A body is held back until the request may pass, is shown to the service up to
// the size that it asks for, and comes to the backend whole.
func TestEnvoyShowsBodies(t *testing.T) {
	set := served(t, readCase(t, filepath.Join(cases, "external-auth.txtar")))
	sizes := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sizes <- fmt.Sprintf("%d bytes of %s, %s; %s", len(body), r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"), r.Header.Get("X-Asked"))
	}))
	t.Cleanup(s.Close)
	set.Put(xds.Endpoints(ir.Endpoints{Cluster: "infra/v1/8080/http", Addresses: []netip.AddrPort{s.Listener.Addr().(*net.TCPAddr).AddrPort()}}))
	g := run(t, envoybin.Path(t), set)
	for _, tt := range []struct {
		path, authorization string
		size, status        int
		want                string
	}{
		{"/http", "yes", 1 << 20, 200, "1048576 bytes of text/x, gzip; HTTP/1.1 POST example.org/http Authorization:yes, 0 bytes"},
		{"/grpc", "yes", 1 << 20, 200, "1048576 bytes of text/x, gzip; gRPC to [auth.infra]: POST example.org/grpc Authorization:yes, 0 bytes"},
		{"/http-some", "yes", 60000, 200, "60000 bytes of text/x, gzip; HTTP/2.0 POST example.org/check/http-some Authorization:yes, 60000 bytes"},
		{"/http-some", "yes", 60001, 413, ""},
		{"/http-some", "no", 60000, 401, ""},
		{"/grpc-some", "yes", 60000, 401, ""}, // it does not see Authorization
		{"/grpc-some", "yes", 1 << 20, 413, ""},
		{"/http", "no", 1 << 20, 401, ""},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = bytes.NewReader(make([]byte, tt.size))
			if chunked {
				body = io.MultiReader(body) // whose length is not known
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.addresses["80"]+tt.path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = "example.org"
			r.Header.Set("Authorization", tt.authorization)
			r.Header.Set("Content-Type", "text/x")
			r.Header.Set("Content-Encoding", "gzip")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			got := ""
			select {
			case got = <-sizes:
			default:
			}
			if resp.StatusCode != tt.status || got != tt.want {
				t.Errorf("%d bytes to %s, chunked %v: %d, the backend got %q; want %d, %q", tt.size, tt.path, chunked, resp.StatusCode, got, tt.status, tt.want)
			}
		}
	}
}

// What is asked of a client that wants to speak WebSocket is asked of it, too.
func TestEnvoyChecksUpgrades(t *testing.T) {
	g := run(t, envoybin.Path(t), served(t, readCase(t, filepath.Join(cases, "external-auth.txtar"))))
	for path, want := range map[string]int{"/grpc": 401, "/grpc-some": 401, "/http": 401, "/http-some": 401, "/gone-grpc": 503} {
		line := "80 GET http://example.org" + path + " Connection:Upgrade Upgrade:websocket Sec-WebSocket-Version:13 Sec-WebSocket-Key:AAAAAAAAAAAAAAAAAAAAAA=="
		if got := g.do(t, line).StatusCode; got != want {
			t.Errorf("%s is answered by %d, want %d", line, got, want)
		}
	}
}

// Requests are checked in tables of any size, also while they change, and while
// clusters come and go.
func TestEnvoyChecksInLargeTables(t *testing.T) {
	o := readCase(t, filepath.Join(cases, "external-auth.txtar"))
	o.AssumeFacts()
	fleet := ingest.Translate(o.Input).Fleets[types.NamespacedName{Namespace: "porchlight-system", Name: "porchlight-envoy"}]
	endpoints := served(t, o)[resource.Endpoint]
	f, _ := follow(t)
	// Of the Gateways, infra/gw is enough.
	l := *fleet.Listeners[0]
	if l.Name() != "infra/gw/80" {
		t.Fatalf("the first listener is %s", l.Name())
	}
	port := freePort(t)
	l.FleetPort = int32(port)
	guarded := l.Chains[0].Table.Hosts[0]
	g := &live{addresses: map[string]string{"80": fmt.Sprintf("127.0.0.1:%d", port)}}
	serve := func(hosts ...*ir.VirtualHost) []string {
		t.Helper()
		slices.SortFunc(hosts, ir.CompareHosts)
		is := l
		is.Chains = slices.Clone(l.Chains)
		is.Chains[0].Table = &ir.RouteTable{Hosts: hosts}
		served := &ir.Fleet{Listeners: []*ir.Listener{&is}}
		for _, c := range fleet.Clusters {
			if c.TLS == nil { // no secrets here
				served.Clusters = append(served.Clusters, c)
			}
		}
		set := resource.Set{resource.Endpoint: endpoints}
		for _, r := range xds.Fleet(served) {
			set.Put(r)
		}
		return f.settle(t, set)
	}
	answers := func(host string) {
		t.Helper()
		for path, want := range map[string]int{
			"/grpc": 401, "/grpc Authorization:yes": 200, "/http": 401, "/http Authorization:yes": 200,
			"/redirect": 401, "/redirect Authorization:yes": 302, "/gone-grpc Authorization:yes": 503, "/open": 200,
		} {
			line := "80 GET http://" + host + path
			if got := g.do(t, line).StatusCode; got != want {
				t.Errorf("%s is answered by %d, want %d", line, got, want)
			}
		}
	}
	of := func(domain string) *ir.VirtualHost {
		h := *guarded
		h.Domain = domain
		return &h
	}
	serve(of("a.io"), of("*"))
	answers("a.io")
	answers("b.io")
	hosts := []*ir.VirtualHost{of("a.io"), of("*.w.io"), of("*")}
	for i := range 300 {
		hosts = append(hosts, of(fmt.Sprintf("h%d.io", i)))
	}
	serve(slices.Clone(hosts)...)
	for _, host := range []string{"a.io", "b.io", "h299.io", "x.w.io"} {
		answers(host)
	}
	// What is new stands before the rest.
	if sent := serve(append(hosts, of("new.io"))...); !slices.Equal(sent, []string{"RouteConfiguration infra/gw/80"}) {
		t.Errorf("for a new host, Envoy was sent %v", sent)
	}
	for _, host := range []string{"a.io", "b.io", "new.io"} {
		answers(host)
	}
}
