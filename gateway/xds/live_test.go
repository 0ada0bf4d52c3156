package xds_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ingest/manifest"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

var update = flag.Bool("update", false, "rewrite the wanted answers in testdata")

// Each file of testdata has requests to the Gateway infra/gw of the case of
// the same name in package ingest, and the answers that the real Envoy gives.
//
// A request is a line: the Gateway's port, the method, the URL, and headers as
// Name:value without blanks. Of the answer the file has protocol, status, the
// location, the headers that begin with X- and are not Envoy's own, those of
// CORS, and, where a backend answered, its cluster and what it saw of the request.
func TestEnvoyAnswers(t *testing.T) {
	envoy := envoybin.Path(t)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) != 2 || a.Files[0].Name != "requests.txt" || a.Files[1].Name != "answers.txt" {
				t.Fatal("a case is requests.txt and answers.txt")
			}
			answers := func(set resource.Set) string {
				g := run(t, envoy, set)
				var got strings.Builder
				for line := range strings.Lines(string(a.Files[0].Data)) {
					if line = strings.TrimSpace(line); line != "" {
						fmt.Fprintf(&got, "%s\n%s", line, g.ask(t, line))
					}
				}
				return got.String()
			}
			set := served(t, readCase(t, filepath.Join(cases, name+".txtar")))
			got := answers(set)
			divide(set)
			if diff := cmp.Diff(got, answers(set)); diff != "" {
				t.Errorf("with divided tables, there are other answers (-whole +divided):\n%s", diff)
			}
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Errorf("answers (-want +got; go test ./gateway/xds -run 'TestEnvoyAnswers/%s$' -update rewrites them):\n%s", name, diff)
			}
		})
	}
}

// A backend that is invalid, or has no endpoints, fails its share of the
// requests, and no more.
func TestEnvoySharesByWeight(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		fails         int
		share         float64
	}{
		{"backends", "80 GET http://example.org/partly", 500, 0.2},
		{"backends", "80 GET http://example.org/few-endpoints", 503, 0.2},
		{"grpc", "80 POST http://grpc.example.org/any.Service/Method", 503, 0.5},
	} {
		g := run(t, envoybin.Path(t), served(t, readCase(t, filepath.Join(cases, tt.name+".txtar"))))
		const n = 1000
		status := map[int]int{}
		for range n {
			status[g.do(t, tt.request).StatusCode]++
		}
		far := 5 * math.Sqrt(n*tt.share*(1-tt.share)) // five standard deviations
		if bad := status[tt.fails]; status[200]+bad != n || math.Abs(float64(bad)-n*tt.share) > far {
			t.Errorf("%s has the statuses %v; want about %v × %d and 200 for the others", tt.request, status, n*tt.share, tt.fails)
		}
	}
}

// live is an Envoy that serves the Gateway infra/gw.
type live struct {
	// addresses of the Gateway's ports.
	addresses map[string]string
}

// divide has every table be in the rest alone.
func divide(set resource.Set) {
	for _, first := range set.Sorted(resource.Route) {
		if rest, ok := set[resource.Route][resource.Rest(first.Name)]; ok {
			set.Put(first.With(rest.Parts()))
			set.Put(rest.With(first.Parts()))
		}
	}
}

// served returns the resources of a case, with a server for each cluster but
// those of a Service named empty, which run until the test ends. Those of Services
// whose names begin with auth check requests.
func served(t *testing.T, o *manifest.Objects) resource.Set {
	o.AssumeFacts()
	set := resources(t, o)
	for _, f := range ingest.Translate(o.Input).Fleets {
		for _, c := range f.Clusters {
			e := ir.Endpoints{Cluster: c.Name()}
			switch {
			case strings.HasPrefix(c.Service.Name, "auth"):
				e.Addresses = []netip.AddrPort{authorizer(t, c)}
			case c.Service.Name != "empty":
				e.Addresses = []netip.AddrPort{backend(t, c.Name())}
			}
			set.Put(xds.Endpoints(e))
		}
	}
	return set
}

// backend is a server that says what it saw.
func backend(t *testing.T, cluster string) netip.AddrPort {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/headers") {
			w.Header().Set("X-Remove", "not removed")
			w.Header().Set("X-Add", "of the backend")
		}
		fmt.Fprintf(w, "  %s saw %s %s %s%s\n", cluster, r.Proto, r.Method, r.Host, r.RequestURI)
		printHeaders(w, "    ", r.Header)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).AddrPort()
}

func printHeaders(w interface{ Write([]byte) (int, error) }, indent string, h http.Header) {
	var lines []string
	for name, values := range h {
		own := name == "X-Request-Id" || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Envoy-")
		if (strings.HasPrefix(name, "X-") && !own) || strings.HasPrefix(name, "Access-Control-Allow") || name == "Access-Control-Max-Age" || name == "Access-Control-Expose-Headers" {
			lines = append(lines, fmt.Sprintf("%s%s: %s\n", indent, name, strings.Join(values, ",")))
		}
	}
	slices.Sort(lines)
	fmt.Fprint(w, strings.Join(lines, ""))
}

// run starts Envoy on ports that the kernel chooses and returns when it
// listens.
func run(t *testing.T, envoy string, set resource.Set) *live {
	bootstrap := static(t, set)
	for _, l := range bootstrap.StaticResources.Listeners {
		l.Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{}
	}
	bootstrap.Admin = &bootstrapv3.Admin{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{}},
	}}}
	b, err := protojson.Marshal(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, admin := filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(envoy, "--config-path", file, "--admin-address-path", admin, "--concurrency", "1",
		"--disable-hot-restart", "--log-level", "info", "--component-log-level", "main:debug")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed, as it should be
	})
	var log []string
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "worker entering dispatch loop") {
		log = append(log, lines.Text())
	}
	if b, err = os.ReadFile(admin); err != nil {
		t.Fatalf("Envoy does not start: %v\n%s", err, strings.Join(log, "\n"))
	}
	go func() { // the pipe must not fill up
		for lines.Scan() {
		}
	}()
	return &live{addresses: boundAddresses(t, string(b))}
}

// boundAddresses asks Envoy where the listeners of infra/gw are.
func boundAddresses(t *testing.T, admin string) map[string]string {
	resp, err := http.Get("http://" + admin + "/listeners?format=json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	listeners := &adminv3.Listeners{}
	if err := protojson.Unmarshal(b, listeners); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, l := range listeners.ListenerStatuses {
		if port, ok := strings.CutPrefix(l.Name, "infra/gw/"); ok {
			out[port] = fmt.Sprintf("127.0.0.1:%d", l.LocalAddress.GetSocketAddress().GetPortValue())
		}
	}
	return out
}

// do makes the request of a line. The body is still to be read and closed.
func (g *live) do(t *testing.T, line string) *http.Response {
	fields := strings.Fields(line)
	if len(fields) < 3 {
		t.Fatalf("request %q: want port, method and URL", line)
	}
	address, ok := g.addresses[fields[0]]
	if !ok {
		t.Fatalf("request %q: the Gateway has no such port", line)
	}
	r, err := http.NewRequestWithContext(t.Context(), fields[1], fields[2], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range fields[3:] {
		name, value, _ := strings.Cut(h, ":")
		if name == "Host" {
			r.Host = value
		} else {
			r.Header.Add(name, value)
		}
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the certificate is not what is tested
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("request %q: %v", line, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (g *live) ask(t *testing.T, line string) string {
	resp := g.do(t, line)
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %d", resp.Proto, resp.StatusCode)
	if l := resp.Header.Get("Location"); l != "" {
		fmt.Fprintf(&b, " %s", l)
	}
	b.WriteString("\n")
	printHeaders(&b, "  ", resp.Header)
	body := bufio.NewScanner(resp.Body)
	for body.Scan() {
		if strings.HasPrefix(body.Text(), "  ") {
			fmt.Fprintln(&b, body.Text())
		}
	}
	return b.String()
}
