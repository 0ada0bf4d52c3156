package xds_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// followed is a server with one stream, of a real Envoy.
type followed struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	publish chan resource.Set
	drop    chan struct{} // ends the stream
	// settled has what was sent until Envoy had acknowledged all of a snapshot
	// and served the listeners.
	settled chan []string
	problem chan error
}

// DeltaAggregatedResources serves the stream.
func (f *followed) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	go func() {
		defer close(requests)
		for {
			r, err := g.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-g.Context().Done():
				return
			}
		}
	}()
	session := ads.New()
	inflight := map[string]bool{}
	var sent []string
	waiting := false
	var want int
	for {
		var out ads.Output
		var err error
		select {
		case <-f.drop:
			return nil
		case set := <-f.publish:
			sent, waiting, want = nil, true, len(set[resource.Listener])
			out = session.Publish(set)
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			if r.ErrorDetail != nil {
				f.problem <- fmt.Errorf("Envoy refuses %s: %s", r.TypeUrl, r.ErrorDetail.Message)
			}
			delete(inflight, r.ResponseNonce)
			if out, err = session.Request(r); err != nil {
				f.problem <- err
			}
		}
		for _, resp := range out.Responses {
			inflight[resp.Nonce] = true
			for _, r := range resp.Resources {
				sent = append(sent, string(resp.TypeUrl[strings.LastIndexByte(resp.TypeUrl, '.')+1:])+" "+r.Name)
			}
			if err := g.Send(resp); err != nil {
				return err
			}
		}
		if waiting && len(inflight) == 0 && len(session.Live()) == want {
			waiting = false
			f.settled <- sent
		}
	}
}

// follow starts an Envoy and returns the server of its stream, and the file with
// the address of its administration.
func follow(t *testing.T) (f *followed, admin string) {
	t.Helper()
	f = &followed{publish: make(chan resource.Set), drop: make(chan struct{}), settled: make(chan []string, 1), problem: make(chan error, 10)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, f)
	go func() { _ = server.Serve(l) }() // ended by Stop
	t.Cleanup(server.Stop)
	always, err := protojson.Marshal(xds.KeepScopes())
	if err != nil {
		t.Fatal(err)
	}
	runtime, err := json.Marshal(xds.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "envoy.yaml")
	admin = filepath.Join(dir, "admin")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
node: {id: followed, cluster: followed}
layered_runtime: {layers: [{name: static, static_layer: %s}]}
dynamic_resources:
  ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds, retry_policy: {retry_back_off: {base_interval: 0.1s, max_interval: 0.1s}}}}]}
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
  listeners:
  - name: always
    address: {pipe: {path: %s}}
    filter_chains: [%s]
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
`, runtime, l.Addr().(*net.TCPAddr).Port, filepath.Join(dir, "always"), always), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(envoybin.Path(t), "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "off",
		"--drain-time-s", "1", "--admin-address-path", admin)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // its end is what is waited for
		_ = cmd.Wait()
	})
	return f, admin
}

// settle gives Envoy a snapshot and returns what was sent for that.
func (f *followed) settle(t *testing.T, set resource.Set) []string {
	t.Helper()
	f.publish <- set
	select {
	case sent := <-f.settled:
		return sent
	case err := <-f.problem:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("Envoy does not acknowledge what it was sent")
	}
	return nil
}

// Envoy follows changes of virtual hosts without being given the whole table,
// and listeners that come, go, and come again.
func TestEnvoyFollowsChanges(t *testing.T) {
	f, admin := follow(t)
	first, second := freePort(t), freePort(t)
	encoder, set := xds.NewEncoder(), resource.Set{}
	// serve gives Envoy listeners whose hosts answer with statuses, and returns
	// what was sent for that.
	serve := func(listeners map[int]map[string]uint32) []string {
		t.Helper()
		fleet := &ir.Fleet{}
		for _, port := range slices.Sorted(maps.Keys(listeners)) {
			hosts := listeners[port]
			n := types.NamespacedName{Namespace: "infra", Name: fmt.Sprintf("gw%06d", port)}
			table := &ir.RouteTable{}
			for _, domain := range slices.Sorted(maps.Keys(hosts)) {
				table.Hosts = append(table.Hosts, &ir.VirtualHost{Domain: domain, Routes: []ir.Route{{
					Name: domain, Match: ir.Match{Path: ir.PathPrefix, Value: "/"}, Respond: &ir.Respond{Status: hosts[domain]},
				}}})
			}
			fleet.Listeners = append(fleet.Listeners, &ir.Listener{Gateway: n, Port: 80, FleetPort: int32(port), Protocol: ir.HTTP,
				Chains: []ir.Chain{{Name: ir.ListenerName(n, 80, ir.HTTP), Table: table}}})
		}
		changed, removed := encoder.Encode(fleet)
		next := resource.Set{}
		for _, r := range set.All() {
			next.Put(r)
		}
		for _, r := range changed {
			next.Put(r)
		}
		for _, k := range removed {
			delete(next[k.Type], k.Name)
		}
		set = next
		return f.settle(t, set)
	}
	answers := func(port int, want map[string]int) {
		t.Helper()
		g := &live{addresses: map[string]string{"80": fmt.Sprintf("127.0.0.1:%d", port)}}
		for host, status := range want {
			if r := g.do(t, "80 GET http://"+host+"/x"); r.StatusCode != status {
				t.Errorf("%s is answered by %d, want %d", host, r.StatusCode, status)
			}
		}
	}
	name := fmt.Sprintf("infra/gw%06d/80", first)
	table, rest := "RouteConfiguration "+name, "RouteConfiguration "+resource.Rest(name)
	hosts := map[string]uint32{"a.io": 201, "b.io": 202, "*.w.io": 203}
	serve(map[int]map[string]uint32{first: hosts})
	want := map[string]int{"a.io": 201, "b.io:8080": 202, "x.w.io": 203, "c.io": 404, "d.w.io": 203}
	answers(first, want)

	// A small table is sent as it is.
	hosts["a.io"], want["a.io"] = 204, 204
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Equal(sent, []string{table}) {
		t.Errorf("for a host of a few, Envoy was sent %v", sent)
	}
	answers(first, want)

	// One that has become large is divided.
	for i := range 300 {
		hosts[fmt.Sprintf("h%d.io", i)] = 205
	}
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Equal(sent, []string{rest, table}) {
		t.Errorf("for many hosts, Envoy was sent %v", sent)
	}
	want["h299.io"] = 205
	answers(first, want)

	hosts["a.io"], hosts["c.io"], hosts["d.w.io"] = 206, 205, 206
	delete(hosts, "b.io")
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Equal(sent, []string{table}) {
		t.Errorf("for some hosts of many, Envoy was sent %v", sent)
	}
	maps.Copy(want, map[string]int{"a.io": 206, "A.IO:8080": 206, "b.io:8080": 404, "c.io": 205, "d.w.io": 206})
	answers(first, want)

	// With a wildcard it is given the rest, and nothing is looked at before that.
	hosts["*.w.io"], want["x.w.io"] = 207, 207
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Equal(sent, []string{rest, table}) {
		t.Errorf("for a wildcard of many, Envoy was sent %v", sent)
	}
	answers(first, want)

	// Too many changes for that to stay so are there before the rest that has them.
	for i := range 150 {
		hosts[fmt.Sprintf("h%d.io", i)] = 209
	}
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Equal(sent, []string{table, rest, table}) {
		t.Errorf("for half of the hosts, Envoy was sent %v", sent)
	}
	want["h149.io"] = 209
	answers(first, want)

	// On another stream nobody knows what is looked at before the rest that it has.
	hosts["a.io"], want["a.io"], want["A.IO:8080"] = 211, 211, 211
	serve(map[int]map[string]uint32{first: hosts})
	f.drop <- struct{}{}
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Contains(sent, table) || !slices.Contains(sent, rest) {
		t.Errorf("after it came back, Envoy was sent %v", sent)
	}
	answers(first, want)

	// Small again, it is in one piece, also for an Envoy that comes back.
	for i := range 300 {
		delete(hosts, fmt.Sprintf("h%d.io", i))
	}
	if sent := serve(map[int]map[string]uint32{first: hosts}); !slices.Equal(sent, []string{table, rest}) {
		t.Errorf("for few hosts again, Envoy was sent %v", sent)
	}
	want["h149.io"], want["h299.io"] = 404, 404
	answers(first, want)
	f.drop <- struct{}{}
	if sent := serve(map[int]map[string]uint32{first: hosts}); slices.Contains(sent, table) || slices.Contains(sent, rest) {
		t.Errorf("after it came back to the same, Envoy was sent %v", sent)
	}

	// The routes of a listener that comes later are there when it is.
	serve(map[int]map[string]uint32{first: hosts, second: {"*": 208}})
	answers(second, map[string]int{"a.io": http.StatusAlreadyReported})
	answers(first, want)
	serve(map[int]map[string]uint32{})
	serve(map[int]map[string]uint32{first: hosts})
	answers(first, want)

	// Also when the last of them was gone for good.
	serve(map[int]map[string]uint32{})
	awaitDrained(t, admin)
	serve(map[int]map[string]uint32{first: hosts})
	answers(first, want)
}

// awaitDrained waits until an Envoy has nothing left of the listeners that were
// removed.
func awaitDrained(t *testing.T, admin string) {
	t.Helper()
	address, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		r, err := http.Get("http://" + string(address) + "/stats?filter=listener_manager.total_(listeners|filter_chains)_draining")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "listeners_draining") {
			t.Fatalf("Envoy does not count listeners: %q", b)
		}
		if !regexp.MustCompile(`: [1-9]`).Match(b) {
			return
		}
	}
	t.Fatal("a listener does not end")
}

// freePort is a port of the loopback address that nobody listens on.
func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
