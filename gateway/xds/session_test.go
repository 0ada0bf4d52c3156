package xds_test

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest/manifest"
)

// sessions is an Envoy that serves a case, whose Services have endpoints that
// say who they are.
type sessions struct {
	envoy   *followed
	objects *manifest.Objects
	live    *live
	// endpoints by Service and name.
	endpoints map[string]map[string]netip.AddrPort
}

// startSessions has n endpoints for each of the Services, which have a port of
// the given name.
func startSessions(t *testing.T, name string, n int, services map[string]string) *sessions {
	s := &sessions{objects: readCase(t, filepath.Join(cases, name+".txtar")), endpoints: map[string]map[string]netip.AddrPort{}}
	s.envoy, _ = follow(t)
	s.objects.AssumeFacts()
	ports := s.objects.Facts[types.NamespacedName{Namespace: "infra", Name: "gw"}].FleetPorts
	for p := range ports {
		ports[p] = int32(freePort(t))
	}
	s.live = &live{addresses: map[string]string{"80": fmt.Sprintf("127.0.0.1:%d", ports[80])}}
	s.objects.EndpointSlices = nil
	for service, port := range services {
		s.endpoints[service] = map[string]netip.AddrPort{}
		for i := range n {
			endpoint := fmt.Sprintf("%s-%d", service, i)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, endpoint) }))
			t.Cleanup(server.Close)
			a := server.Listener.Addr().(*net.TCPAddr).AddrPort()
			s.endpoints[service][endpoint] = a
			number := int32(a.Port())
			s.objects.EndpointSlices = append(s.objects.EndpointSlices, &discoveryv1.EndpointSlice{
				ObjectMeta:  metav1.ObjectMeta{Namespace: "infra", Name: endpoint, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{a.Addr().String()}}},
			})
		}
	}
	return s
}

// publish has Envoy serve what the objects say now.
func (s *sessions) publish(t *testing.T) {
	t.Helper()
	s.envoy.settle(t, resources(t, s.objects))
}

// without publishes the objects but for an endpoint's slice, and returns that.
func (s *sessions) without(t *testing.T, endpoint string) *discoveryv1.EndpointSlice {
	t.Helper()
	i := slices.IndexFunc(s.objects.EndpointSlices, func(e *discoveryv1.EndpointSlice) bool { return e.Name == endpoint })
	gone := s.objects.EndpointSlices[i]
	s.objects.EndpointSlices = slices.Delete(s.objects.EndpointSlices, i, i+1)
	s.publish(t)
	return gone
}

// get returns the endpoint that answers, and the header in which the answer
// gives the client a session, if it does.
func (s *sessions) get(t *testing.T, path, session string) (endpoint, given string) {
	t.Helper()
	line := "80 GET http://example.org" + path + " " + session
	r := s.live.do(t, line)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		t.Fatalf("request %q: status %d: %s", line, r.StatusCode, b)
	}
	if c := r.Cookies(); len(c) == 1 {
		return string(b), fmt.Sprintf("Cookie:%s=%q", c[0].Name, c[0].Value)
	}
	if h := r.Header.Get("X-Session"); h != "" {
		return string(b), "X-Session:" + h
	}
	return string(b), ""
}

// kept sends requests of a session, which all reach the endpoint.
func (s *sessions) kept(t *testing.T, path, session, endpoint string) {
	t.Helper()
	for range 20 {
		if got, again := s.get(t, path, session); got != endpoint || again != "" {
			t.Fatalf("%s of session %s reached %s and was given session %q; want %s and none", path, session, got, again, endpoint)
		}
	}
}

// A client keeps its endpoint as long as that is one of the Service's, and then
// gets another, in a table of one piece and in one of two.
func TestEnvoyKeepsSessions(t *testing.T) {
	for name, hosts := range map[string]int{"whole": 0, "divided": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSessions(t, "sessions", 3, map[string]string{"v1": "first"})
			for i := range hosts {
				r := s.objects.HTTPRoutes[0].DeepCopy()
				r.Name, r.Spec.Hostnames = fmt.Sprintf("r%d", i), []gwv1.Hostname{gwv1.Hostname(fmt.Sprintf("h%d.example.org", i))}
				s.objects.HTTPRoutes = append(s.objects.HTTPRoutes, r)
			}
			for _, path := range []string{"/", "/a/b", "/p1/p2/x/p3?q", "/kept", "/header"} {
				s.publish(t)
				endpoint, session := s.get(t, path, "")
				if session == "" {
					t.Fatalf("%s: no session is given", path)
				}
				s.kept(t, path, session, endpoint)
				seen := map[string]bool{}
				for range 50 {
					e, _ := s.get(t, path, "")
					seen[e] = true
				}
				if len(seen) != 3 {
					t.Errorf("%s: requests without a session reach %v; want all endpoints", path, seen)
				}

				gone := s.without(t, endpoint)
				other, next := s.get(t, path, session)
				if other == endpoint || next == "" || next == session {
					t.Fatalf("%s: without %s, session %s reached %s and was given %q", path, endpoint, session, other, next)
				}
				s.kept(t, path, next, other)
				s.objects.EndpointSlices = append(s.objects.EndpointSlices, gone)
				s.publish(t)
				s.kept(t, path, next, other)
			}
			if _, given := s.get(t, "/", "Cookie:other=x"); given == "" {
				t.Error("a cookie of another name is taken for a session")
			}
			if _, given := s.get(t, "/header", "X-Session:bm9uZQ=="); given == "" {
				t.Error("a header that names no endpoint is taken for a session")
			}
		})
	}
}

// Cookies have the attributes that the rule and its match give them.
func TestEnvoySetsCookies(t *testing.T) {
	s := startSessions(t, "sessions", 1, map[string]string{"v1": "first"})
	s.publish(t)
	for path, want := range map[string]string{
		"/x":             "; Path=/; SameSite=Lax; HttpOnly",
		"/a/b":           "; Path=/a; SameSite=Lax; HttpOnly",
		"/p1/p2/x/p3":    "; Path=/p1/p2; SameSite=Lax; HttpOnly",
		"/f/c;d/e/f?a=b": "; Path=/f; SameSite=Lax; HttpOnly",
		"/kept/x":        "; Path=/kept; Max-Age=5400; SameSite=Lax; HttpOnly",
	} {
		got := s.live.do(t, "80 GET http://example.org"+path).Header.Get("Set-Cookie")
		if _, attributes, _ := strings.Cut(got, ";"); ";"+attributes != want {
			t.Errorf("%s sets the cookie %s; want %s", path, got, want)
		}
	}
}

// Of several Services, new clients are spread by the weights, and a client
// stays with its endpoint whatever becomes of those.
func TestEnvoyKeepsSessionsOverWeights(t *testing.T) {
	s := startSessions(t, "sessions-weighted", 2, map[string]string{"v1": "first", "v2": ""})
	s.publish(t)
	const n, share = 1000, 0.1
	of, session, endpoint := 0, "", ""
	for range n {
		if e, given := s.get(t, "/split", ""); strings.HasPrefix(e, "v2") {
			of++
			endpoint, session = e, given
		}
	}
	if far := 5 * math.Sqrt(n*share*(1-share)); math.Abs(float64(of)-n*share) > far {
		t.Errorf("of %d new clients %d are sent to v2; want about %v", n, of, n*share)
	}
	s.kept(t, "/split", session, endpoint)

	refs := s.objects.HTTPRoutes[0].Spec.Rules[0].BackendRefs
	*refs[1].Weight = 0
	s.publish(t)
	s.kept(t, "/split", session, endpoint)
	for range 100 {
		if e, _ := s.get(t, "/split", ""); !strings.HasPrefix(e, "v1") {
			t.Fatalf("a new client is sent to %s, whose weight is zero", e)
		}
	}
	s.without(t, endpoint)
	if e, given := s.get(t, "/split", session); !strings.HasPrefix(e, "v1") || given == "" {
		t.Errorf("without %s its client is sent to %s; want v1, and a new session", endpoint, e)
	}

	// What weighs nothing takes no new client where nothing else is there.
	for e := range s.endpoints["v1"] {
		s.without(t, e)
	}
	if r := s.live.do(t, "80 GET http://example.org/split"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new client gets %d where only endpoints of weight zero are there; want 503", r.StatusCode)
	}
	rest, _ := s.get(t, "/zero", "")
	if !strings.HasPrefix(rest, "v2") {
		t.Errorf("/zero is answered by %s; want v2", rest)
	}
}
