package xds_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ingest/manifest"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Everything that the golden cases of package ingest lead to is accepted by
// the real Envoy.
func TestEnvoyAccepts(t *testing.T) {
	envoy := envoybin.Path(t)
	files, err := filepath.Glob(filepath.Join(cases, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			objects := readCase(t, file)
			objects.AssumeFacts()
			validate(t, envoy, resources(t, objects))
		})
	}
}

// 64 KiB of hostnames, as many routes as it takes for that: Envoy takes them,
// and what is beside them.
func TestEnvoyAcceptsManyHostnames(t *testing.T) {
	objects := readCase(t, filepath.Join(cases, "simple.txtar"))
	const label = "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxyz"
	size := 0
	for n := 0; size < 64<<10; n++ {
		r := objects.HTTPRoutes[0].DeepCopy()
		r.Name = fmt.Sprintf("many-%d", n)
		r.Spec.Hostnames = nil
		for i := range 16 {
			h := fmt.Sprintf("h%d.n%d.%.60s.%.60s.%.60s.example.org", i, n, label, label, label)
			size += len(h)
			r.Spec.Hostnames = append(r.Spec.Hostnames, gwv1.Hostname(h))
		}
		objects.HTTPRoutes = append(objects.HTTPRoutes, r)
	}
	objects.AssumeFacts()
	set := resources(t, objects)
	validate(t, envoybin.Path(t), set)
	for _, r := range set.Sorted(resource.Route) {
		if _, rest := resource.RestOf(r.Name); !rest && r.Size() < 64<<10 {
			t.Errorf("%s has %d bytes; want all hostnames in it", r.Name, r.Size())
		}
	}
}

// cases is where the golden cases of translation are.
const cases = "../ingest/testdata"

// readCase returns the objects of a case.
func readCase(t *testing.T, file string) *manifest.Objects {
	base, err := os.ReadFile(filepath.Join(cases, "base.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Read(bytes.NewReader(slices.Concat(base, []byte("\n---\n"), a.Files[0].Data)))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// resources are all that the fleets of the case are given.
func resources(t *testing.T, o *manifest.Objects) resource.Set {
	set := resource.Set{}
	for _, f := range ingest.Translate(o.Input).Fleets {
		for _, r := range xds.Fleet(f) {
			set.Put(r)
		}
		for _, c := range f.Clusters {
			set.Put(xds.Endpoints(ingest.Endpoints(c, o.EndpointSlices)))
		}
		for _, s := range o.Secrets {
			if c, err := ingest.Certificate(s); err == nil && slices.Contains(f.Certificates, c.Name) {
				set.Put(xds.Secret(c))
			}
		}
		for _, a := range f.Authorities {
			bundle := ingest.AuthoritiesBundle(a, func(namespace, name string) *corev1.ConfigMap {
				for _, m := range o.ConfigMaps {
					if m.Namespace == namespace && m.Name == name {
						return m
					}
				}
				return nil
			})
			set.Put(xds.AuthoritiesSecret(a, bundle))
		}
		for _, n := range f.Certificates {
			if _, ok := set.Get(resource.Key{Type: resource.Secret, Name: xds.SecretName(n)}); !ok {
				t.Errorf("certificate %s is used and there is no secret for it", n)
			}
		}
	}
	return set
}

// validate has Envoy load the resources as a static configuration.
func validate(t *testing.T, envoy string, set resource.Set) {
	b, err := protojson.Marshal(static(t, set))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoy, "--mode", "validate", "--config-path", file, "--log-level", "warning").CombinedOutput()
	if err != nil {
		t.Errorf("envoy --mode validate: %v\n%s", err, out)
		for _, r := range set.All() {
			if y, err := xds.YAML(r); err == nil {
				t.Logf("%s %s\n%s", r.Type, r.Name, y)
			}
		}
	}
}

// static assembles a bootstrap in which what comes over ADS stands where it is
// referred to: routes in their connection managers, endpoints in their
// clusters, secrets among the static ones. All else is as it is sent.
func static(t *testing.T, set resource.Set) *bootstrapv3.Bootstrap {
	runtime, err := structpb.NewStruct(xds.Runtime)
	if err != nil {
		t.Fatal(err)
	}
	out := &bootstrapv3.Bootstrap{
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name:           "static",
			LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: runtime},
		}}},
	}
	for _, r := range set.Sorted(resource.Secret) {
		s := unpack(t, r.Body(), &tlsv3.Secret{})
		ofSystem(t, s)
		out.StaticResources.Secrets = append(out.StaticResources.Secrets, s)
	}
	for _, r := range set.Sorted(resource.Cluster) {
		c := unpack(t, r.Body(), &clusterv3.Cluster{})
		e, ok := set.Get(resource.Key{Type: resource.Endpoint, Name: c.Name})
		if !ok {
			t.Errorf("cluster %s has no endpoints", c.Name)
			continue
		}
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.EdsClusterConfig = nil
		c.LoadAssignment = unpack(t, e.Body(), &endpointv3.ClusterLoadAssignment{})
		if c.TransportSocket != nil {
			u := unpack(t, c.TransportSocket.GetTypedConfig(), &tlsv3.UpstreamTlsContext{})
			fromStatic(u.CommonTlsContext)
			c.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: repack(t, u)}
		}
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, c)
	}
	for _, r := range set.Sorted(resource.Listener) {
		l := unpack(t, r.Body(), &listenerv3.Listener{})
		for _, fc := range l.FilterChains {
			inline(t, set, fc)
		}
		out.StaticResources.Listeners = append(out.StaticResources.Listeners, l)
	}
	return out
}

func inline(t *testing.T, set resource.Set, fc *listenerv3.FilterChain) {
	for _, f := range fc.Filters {
		if f.Name != "http" {
			continue
		}
		m := unpack(t, f.GetTypedConfig(), &hcmv3.HttpConnectionManager{})
		scoped := m.GetScopedRoutes()
		var inlined []*routev3.ScopedRouteConfiguration
		for _, name := range []string{scoped.Name, resource.Rest(scoped.Name)} {
			k, ok := set.Get(resource.Key{Type: resource.Scope, Name: name})
			r, ok2 := set.Get(resource.Key{Type: resource.Route, Name: name})
			if !ok || !ok2 {
				t.Errorf("there is no route configuration %s, or no scope for it", name)
				continue
			}
			c := unpack(t, k.Body(), &routev3.ScopedRouteConfiguration{})
			c.RouteConfigurationName, c.RouteConfiguration = "", unpack(t, r.Body(), &routev3.RouteConfiguration{})
			inlined = append(inlined, c)
		}
		scoped.ConfigSpecifier = &hcmv3.ScopedRoutes_ScopedRouteConfigurationsList{
			ScopedRouteConfigurationsList: &hcmv3.ScopedRouteConfigurationsList{ScopedRouteConfigurations: inlined},
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: repack(t, m)}
	}
	if fc.TransportSocket == nil {
		return
	}
	c := unpack(t, fc.TransportSocket.GetTypedConfig(), &tlsv3.DownstreamTlsContext{})
	fromStatic(c.CommonTlsContext)
	fc.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: repack(t, c)}
}

// fromStatic has a TLS context refer to the static secrets.
func fromStatic(c *tlsv3.CommonTlsContext) {
	for _, s := range c.TlsCertificateSdsSecretConfigs {
		s.SdsConfig = nil
	}
	if v := c.GetCombinedValidationContext(); v != nil {
		v.ValidationContextSdsSecretConfig.SdsConfig = nil
	}
}

func unpack[M proto.Message](t *testing.T, a *anypb.Any, m M) M {
	t.Helper()
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func repack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
