package ingest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	encoding "encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// pem is the key pair of the golden cases.
var pem = sync.OnceValues(func() (certificate, key string) {
	b, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		panic(err)
	}
	text := strings.ReplaceAll(string(b), "\n    ", "\n")
	return regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE.*?END CERTIFICATE-----\n`).FindString(text),
		regexp.MustCompile(`(?s)-----BEGIN PRIVATE.*?END PRIVATE KEY-----\n`).FindString(text)
})

// authorities are bundles of CA certificates that end, or begin, in the days
// in which the certificate of pem ends, and what is none.
var authorities = sync.OnceValue(func() []string {
	day := func(n int) time.Time { return time.Date(2126, 10, n, 0, 0, 0, 0, time.UTC) }
	soon, sooner, later := authority("soon", day(1), day(26)), authority("sooner", day(1), day(22)), authority("later", day(24), day(31))
	certificate, _ := pem()
	return []string{certificate, soon, sooner + later, soon + sooner, later + certificate, "garbage"}
})

// authority is a CA certificate that is valid from one time to another.
func authority(name string, from, to time.Time) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return string(encoding.EncodeToMemory(&encoding.Block{Type: "CERTIFICATE", Bytes: der}))
}

// churn is objects that come, change and go.
type churn struct {
	objects map[string]metav1.Object
	facts   map[types.NamespacedName]ingest.Facts
	now     time.Time
}

func keyOf(o metav1.Object) string {
	return fmt.Sprintf("%T %s/%s", o, o.GetNamespace(), o.GetName())
}

// input is the objects that there are.
func (c *churn) input() ingest.Input {
	in := ingest.Input{Namespace: "porchlight-system", Facts: c.facts, Now: c.now}
	for _, k := range slices.Sorted(maps.Keys(c.objects)) {
		switch o := c.objects[k].(type) {
		case *v1beta1.EnvoyFleet:
			in.Fleets = append(in.Fleets, o)
		case *gwv1.GatewayClass:
			in.GatewayClasses = append(in.GatewayClasses, o)
		case *gwv1.Gateway:
			in.Gateways = append(in.Gateways, o)
		case *gwv1.ListenerSet:
			in.ListenerSets = append(in.ListenerSets, o)
		case *gwv1.HTTPRoute:
			in.HTTPRoutes = append(in.HTTPRoutes, o)
		case *gwv1.GRPCRoute:
			in.GRPCRoutes = append(in.GRPCRoutes, o)
		case *gwv1.TLSRoute:
			in.TLSRoutes = append(in.TLSRoutes, o)
		case *gwv1.TCPRoute:
			in.TCPRoutes = append(in.TCPRoutes, o)
		case *gwv1.UDPRoute:
			in.UDPRoutes = append(in.UDPRoutes, o)
		case *gwv1.ReferenceGrant:
			in.ReferenceGrants = append(in.ReferenceGrants, o)
		case *gwv1.BackendTLSPolicy:
			in.BackendTLSPolicies = append(in.BackendTLSPolicies, o)
		case *corev1.Namespace:
			in.Namespaces = append(in.Namespaces, o)
		case *corev1.Service:
			in.Services = append(in.Services, o)
		case *corev1.Secret:
			in.Secrets = append(in.Secrets, o)
		case *corev1.ConfigMap:
			in.ConfigMaps = append(in.ConfigMaps, o)
		default:
			panic(fmt.Sprintf("%T is not an input", o))
		}
	}
	return in
}

// meta names one of few objects, created at one of few times.
func meta(t *rapid.T, names ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         rapid.SampledFrom([]string{"infra", "web"}).Draw(t, "namespace"),
		Name:              rapid.SampledFrom(names).Draw(t, "name"),
		Generation:        int64(rapid.IntRange(1, 3).Draw(t, "generation")),
		CreationTimestamp: metav1.Unix(int64(rapid.IntRange(0, 2).Draw(t, "created")), 0),
	}
}

func genBackend(t *rapid.T) gwv1.BackendRef {
	b := gwv1.BackendRef{BackendObjectReference: gwv1.BackendObjectReference{
		Name: gwv1.ObjectName(rapid.SampledFrom([]string{"s0", "s1"}).Draw(t, "service")),
		Port: ptr(int32(rapid.IntRange(80, 81).Draw(t, "service port"))),
	}}
	if rapid.Bool().Draw(t, "other namespace") {
		b.Namespace = ptr(gwv1.Namespace(rapid.SampledFrom([]string{"infra", "web"}).Draw(t, "backend namespace")))
	}
	b.Weight = ptr(int32(rapid.IntRange(0, 2).Draw(t, "weight")))
	return b
}

func genBackends(t *rapid.T) []gwv1.BackendRef {
	return rapid.SliceOfN(rapid.Custom(genBackend), 1, 2).Draw(t, "backends")
}

// genScope draws what a Gateway or a route says of default Gateways.
func genScope(t *rapid.T) gwv1.GatewayDefaultScope {
	return rapid.SampledFrom([]gwv1.GatewayDefaultScope{"", gwv1.GatewayDefaultScopeAll, gwv1.GatewayDefaultScopeNone}).Draw(t, "default scope")
}

func genParents(t *rapid.T) gwv1.CommonRouteSpec {
	s := gwv1.CommonRouteSpec{UseDefaultGateways: genScope(t)}
	for range rapid.IntRange(0, 2).Draw(t, "parents") {
		p := gwv1.ParentReference{Name: gwv1.ObjectName(rapid.SampledFrom([]string{"g0", "g1"}).Draw(t, "gateway")), Namespace: ptr(gwv1.Namespace("infra"))}
		if rapid.IntRange(0, 3).Draw(t, "to a set") == 0 {
			p.Kind, p.Name = ptr(gwv1.Kind("ListenerSet")), gwv1.ObjectName(rapid.SampledFrom([]string{"l0", "l1"}).Draw(t, "set"))
		}
		if rapid.IntRange(0, 3).Draw(t, "by port") == 0 {
			p.Port = ptr(int32(80))
		}
		s.ParentRefs = append(s.ParentRefs, p)
	}
	return s
}

func genHostnames(t *rapid.T) []gwv1.Hostname {
	var out []gwv1.Hostname
	for _, h := range rapid.SliceOfNDistinct(rapid.SampledFrom(routeHosts), 0, 2, rapid.ID).Draw(t, "hostnames") {
		out = append(out, gwv1.Hostname(h))
	}
	return out
}

func genListener(t *rapid.T, name string) gwv1.Listener {
	l := gwv1.Listener{Name: gwv1.SectionName(name), Port: int32(rapid.IntRange(80, 82).Draw(t, "port"))}
	l.Protocol = rapid.SampledFrom([]gwv1.ProtocolType{"HTTP", "HTTP", "HTTPS", "TLS", "TCP", "UDP"}).Draw(t, "protocol")
	if h := rapid.SampledFrom(listenerHosts).Draw(t, "hostname"); h != "" {
		l.Hostname = ptr(gwv1.Hostname(h))
	}
	if l.Protocol == "HTTPS" || l.Protocol == "TLS" {
		l.TLS = &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{
			Name: "c", Namespace: ptr(gwv1.Namespace(rapid.SampledFrom([]string{"infra", "web"}).Draw(t, "certificate"))),
		}}}
		if l.Protocol == "TLS" && rapid.Bool().Draw(t, "passthrough") {
			l.TLS.Mode = ptr(gwv1.TLSModePassthrough)
		}
	}
	from := rapid.SampledFrom([]gwv1.FromNamespaces{"All", "Same", "Selector"}).Draw(t, "from")
	l.AllowedRoutes = &gwv1.AllowedRoutes{Namespaces: &gwv1.RouteNamespaces{From: &from, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "1"}}}}
	return l
}

// aging are objects of which something else is said as time goes by: a listener
// with a certificate that checks its clients, and a policy that counts.
func aging(t *rapid.T) []metav1.Object {
	certificate, key := pem()
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "infra", Name: name} }
	g := &gwv1.Gateway{ObjectMeta: in("g0")}
	g.Spec.GatewayClassName = "c0"
	g.Spec.Listeners = []gwv1.Listener{
		{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType},
		{Name: "https", Port: 82, Protocol: gwv1.HTTPSProtocolType, TLS: &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: "c"}}}},
	}
	g.Spec.TLS = &gwv1.GatewayTLSConfig{Frontend: &gwv1.FrontendTLSConfig{Default: gwv1.TLSConfig{Validation: &gwv1.FrontendTLSValidation{
		CACertificateRefs: []gwv1.ObjectReference{{Kind: "ConfigMap", Name: "ca"}},
	}}}}
	r := &gwv1.HTTPRoute{ObjectMeta: in("r0")}
	r.Spec.ParentRefs = []gwv1.ParentReference{{Name: "g0"}}
	r.Spec.Rules = []gwv1.HTTPRouteRule{{BackendRefs: []gwv1.HTTPBackendRef{{BackendRef: gwv1.BackendRef{
		BackendObjectReference: gwv1.BackendObjectReference{Name: "s0", Port: ptr(int32(80))},
	}}}}}
	p := &gwv1.BackendTLSPolicy{ObjectMeta: in("p0")}
	p.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{Kind: "Service", Name: "s0"}}}
	p.Spec.Validation = gwv1.BackendTLSPolicyValidation{Hostname: "x.io", CACertificateRefs: []gwv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}}}
	return []metav1.Object{
		g, r, p,
		&corev1.Secret{ObjectMeta: in("c"), Data: map[string][]byte{"tls.crt": []byte(certificate), "tls.key": []byte(key)}},
		&corev1.ConfigMap{ObjectMeta: in("ca"), Data: map[string]string{"ca.crt": rapid.SampledFrom(authorities()).Draw(t, "authority")}},
		&corev1.Service{ObjectMeta: in("s0"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "a", Port: 80}}}},
	}
}

// genObject draws an object of any kind.
func genObject(t *rapid.T) metav1.Object {
	certificate, key := pem()
	name := func(o metav1.ObjectMeta, name string) metav1.ObjectMeta { o.Name = name; return o }
	switch rapid.IntRange(0, 17).Draw(t, "kind") {
	case 0:
		o := &gwv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: rapid.SampledFrom([]string{"c0", "c1"}).Draw(t, "class")}}
		o.Spec.ControllerName = gwv1.GatewayController(rapid.SampledFrom([]string{"porchlight.dev/gateway", "porchlight.dev/gateway", "example.com/c"}).Draw(t, "controller"))
		if rapid.Bool().Draw(t, "parameters") {
			o.Spec.ParametersRef = &gwv1.ParametersReference{Group: "porchlight.dev", Kind: "EnvoyFleet", Name: "other", Namespace: ptr(gwv1.Namespace("porchlight-system"))}
		}
		return o
	case 1:
		o := &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: "porchlight-system", Name: rapid.SampledFrom([]string{"porchlight-envoy", "other"}).Draw(t, "fleet")}}
		o.Spec.Mode = rapid.SampledFrom([]v1beta1.FleetMode{v1beta1.FleetShared, v1beta1.FleetDedicated}).Draw(t, "mode")
		if rapid.Bool().Draw(t, "logs") {
			o.Spec.AccessLog = &v1beta1.FleetAccessLog{}
		}
		return o
	case 2, 3:
		o := &gwv1.Gateway{ObjectMeta: meta(t, "g0", "g1")}
		o.Namespace = "infra"
		o.Spec.GatewayClassName = gwv1.ObjectName(rapid.SampledFrom([]string{"c0", "c0", "c1"}).Draw(t, "class"))
		o.Spec.DefaultScope = genScope(t)
		for i := range rapid.IntRange(1, 3).Draw(t, "listeners") {
			o.Spec.Listeners = append(o.Spec.Listeners, genListener(t, fmt.Sprint(i)))
		}
		o.Spec.AllowedListeners = &gwv1.AllowedListeners{Namespaces: &gwv1.ListenerNamespaces{From: ptr(rapid.SampledFrom([]gwv1.FromNamespaces{"All", "None", "Same"}).Draw(t, "sets from"))}}
		if rapid.IntRange(0, 2).Draw(t, "tls") == 0 {
			o.Spec.TLS = &gwv1.GatewayTLSConfig{
				Backend: &gwv1.GatewayBackendTLS{ClientCertificateRef: &gwv1.SecretObjectReference{Name: "c"}},
				Frontend: &gwv1.FrontendTLSConfig{Default: gwv1.TLSConfig{Validation: &gwv1.FrontendTLSValidation{
					CACertificateRefs: []gwv1.ObjectReference{{Kind: "ConfigMap", Name: "ca"}},
				}}},
			}
		}
		return o
	case 4:
		o := &gwv1.ListenerSet{ObjectMeta: meta(t, "l0", "l1")}
		o.Namespace = "infra"
		o.Spec.ParentRef.Name = gwv1.ObjectName(rapid.SampledFrom([]string{"g0", "g1"}).Draw(t, "gateway"))
		l := genListener(t, "set")
		o.Spec.Listeners = []gwv1.ListenerEntry{{Name: l.Name, Hostname: l.Hostname, Port: l.Port, Protocol: l.Protocol, TLS: l.TLS, AllowedRoutes: l.AllowedRoutes}}
		return o
	case 5, 6, 7:
		o := &gwv1.HTTPRoute{ObjectMeta: meta(t, "r0", "r1", "r2"), Spec: gwv1.HTTPRouteSpec{CommonRouteSpec: genParents(t), Hostnames: genHostnames(t)}}
		for range rapid.IntRange(1, 2).Draw(t, "rules") {
			r := gwv1.HTTPRouteRule{Matches: []gwv1.HTTPRouteMatch{genMatch(t)}, SessionPersistence: genSession(t)}
			for _, b := range genBackends(t) {
				r.BackendRefs = append(r.BackendRefs, gwv1.HTTPBackendRef{BackendRef: b})
			}
			if rapid.IntRange(0, 3).Draw(t, "mirrored") == 0 {
				r.Filters = []gwv1.HTTPRouteFilter{{Type: gwv1.HTTPRouteFilterRequestMirror, RequestMirror: &gwv1.HTTPRequestMirrorFilter{BackendRef: genBackend(t).BackendObjectReference}}}
			}
			if rapid.IntRange(0, 3).Draw(t, "checked") == 0 {
				f := &gwv1.HTTPExternalAuthFilter{BackendRef: genBackend(t).BackendObjectReference}
				f.ExternalAuthProtocol = rapid.SampledFrom([]gwv1.HTTPRouteExternalAuthProtocol{"GRPC", "HTTP"}).Draw(t, "protocol")
				r.Filters = append(r.Filters, gwv1.HTTPRouteFilter{Type: gwv1.HTTPRouteFilterExternalAuth, ExternalAuth: f})
			}
			o.Spec.Rules = append(o.Spec.Rules, r)
		}
		return o
	case 8:
		o := &gwv1.GRPCRoute{ObjectMeta: meta(t, "r0", "r1"), Spec: gwv1.GRPCRouteSpec{CommonRouteSpec: genParents(t), Hostnames: genHostnames(t)}}
		r := gwv1.GRPCRouteRule{SessionPersistence: genSession(t)}
		for _, b := range genBackends(t) {
			r.BackendRefs = append(r.BackendRefs, gwv1.GRPCBackendRef{BackendRef: b})
		}
		o.Spec.Rules = []gwv1.GRPCRouteRule{r}
		return o
	case 9:
		return &gwv1.TLSRoute{ObjectMeta: meta(t, "r0", "r1"), Spec: gwv1.TLSRouteSpec{
			CommonRouteSpec: genParents(t), Hostnames: genHostnames(t), Rules: []gwv1.TLSRouteRule{{BackendRefs: genBackends(t)}},
		}}
	case 10:
		return &gwv1.TCPRoute{ObjectMeta: meta(t, "r0", "r1"), Spec: gwv1.TCPRouteSpec{CommonRouteSpec: genParents(t), Rules: []gwv1.TCPRouteRule{{BackendRefs: genBackends(t)}}}}
	case 11:
		return &gwv1.UDPRoute{ObjectMeta: meta(t, "r0", "r1"), Spec: gwv1.UDPRouteSpec{CommonRouteSpec: genParents(t), Rules: []gwv1.UDPRouteRule{{BackendRefs: genBackends(t)}}}}
	case 12:
		o := &gwv1.ReferenceGrant{ObjectMeta: meta(t, "grant")}
		kind := rapid.SampledFrom([]gwv1.Kind{"HTTPRoute", "TLSRoute", "UDPRoute", "Gateway", "ListenerSet"}).Draw(t, "from kind")
		o.Spec.From = []gwv1.ReferenceGrantFrom{{Group: gwv1.GroupName, Kind: kind, Namespace: "infra"}, {Group: gwv1.GroupName, Kind: kind, Namespace: "web"}}
		o.Spec.To = []gwv1.ReferenceGrantTo{{Kind: rapid.SampledFrom([]gwv1.Kind{"Service", "Secret"}).Draw(t, "to kind")}}
		return o
	case 13:
		o := &gwv1.BackendTLSPolicy{ObjectMeta: meta(t, "p0", "p1")}
		ref := gwv1.LocalPolicyTargetReferenceWithSectionName{}
		ref.Kind, ref.Name = "Service", gwv1.ObjectName(rapid.SampledFrom([]string{"s0", "s1"}).Draw(t, "target"))
		if rapid.Bool().Draw(t, "section") {
			ref.SectionName = ptr(gwv1.SectionName("a"))
		}
		o.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{ref}
		o.Spec.Validation.Hostname = gwv1.PreciseHostname(rapid.SampledFrom([]string{"x.io", "y.io"}).Draw(t, "server name"))
		o.Spec.Validation.CACertificateRefs = []gwv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}}
		return o
	case 14:
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: rapid.SampledFrom([]string{"infra", "web"}).Draw(t, "namespace"), Labels: map[string]string{"a": rapid.SampledFrom(values).Draw(t, "label")},
		}}
	case 15:
		return &corev1.Secret{ObjectMeta: name(meta(t, "c"), "c"), Data: map[string][]byte{"tls.crt": []byte(certificate), "tls.key": []byte(key)}}
	case 16:
		return &corev1.ConfigMap{ObjectMeta: name(meta(t, "ca"), "ca"), Data: map[string]string{"ca.crt": rapid.SampledFrom(authorities()).Draw(t, "authority")}}
	default:
		o := &corev1.Service{ObjectMeta: meta(t, "s0", "s1")}
		o.Spec.Ports = rapid.SliceOfNDistinct(rapid.SampledFrom([]corev1.ServicePort{
			{Name: "a", Port: 80}, {Name: "b", Port: 81}, {Name: "u", Port: 80, Protocol: corev1.ProtocolUDP},
		}), 1, 3, func(p corev1.ServicePort) string { return p.Name }).Draw(t, "ports")
		return o
	}
}

func genFacts(t *rapid.T) (types.NamespacedName, ingest.Facts) {
	g := rapid.IntRange(0, 1).Draw(t, "facts of")
	f := ingest.Facts{FleetPorts: map[int32]int32{}, Programmed: map[int32]bool{}}
	if rapid.Bool().Draw(t, "address") {
		f.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	}
	for p := range int32(3) {
		if rapid.IntRange(0, 4).Draw(t, "has port") > 0 {
			f.FleetPorts[80+p] = int32(10000+3*g) + p
			f.Programmed[80+p] = rapid.Bool().Draw(t, "programmed")
		}
	}
	return types.NamespacedName{Namespace: "infra", Name: fmt.Sprintf("g%d", g)}, f
}

// mirror is what somebody knows who was told nothing but the changes.
type mirror struct {
	encoders map[types.NamespacedName]*xds.Encoder
	sets     map[types.NamespacedName]resource.Set
	routes   map[string]ingest.RouteStatus
	policies map[string]ingest.PolicyStatus
	gateways map[types.NamespacedName]ingest.GatewayPlan

	certificates map[types.NamespacedName]ingest.GatewayCertificates
}

func (m *mirror) apply(c ingest.Changes) {
	for n, f := range c.Fleets {
		if f == nil {
			delete(m.sets, n)
			delete(m.encoders, n)
			continue
		}
		if m.encoders[n] == nil {
			m.encoders[n], m.sets[n] = xds.NewEncoder(), resource.Set{}
		}
		changed, removed := m.encoders[n].Encode(f)
		for _, k := range removed {
			delete(m.sets[n][k.Type], k.Name)
		}
		for _, r := range changed {
			m.sets[n].Put(r)
		}
	}
	for _, g := range c.Gateways {
		m.gateways[g.Name] = g
	}
	for _, g := range c.Gone {
		delete(m.gateways, g)
		delete(m.certificates, g)
	}
	for _, g := range c.Certificates {
		if m.certificates[g.Name] = g; g.Listeners == nil {
			delete(m.certificates, g.Name)
		}
	}
	for _, s := range c.RouteStatuses {
		k := string(s.Kind) + s.Name.String()
		if m.routes[k] = s; s.Parents == nil {
			delete(m.routes, k)
		}
	}
	for _, s := range c.PolicyStatuses {
		k := s.Name.String()
		if m.policies[k] = s; s.Ancestors == nil {
			delete(m.policies, k)
		}
	}
}

// Whatever happens in whatever order, what was said change by change is what
// the full translation says of what there is in the end, down to the versions
// of the Envoy resources.
func TestIncrementalIsFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &churn{
			objects: map[string]metav1.Object{}, facts: map[types.NamespacedName]ingest.Facts{}, now: time.Date(2126, 10, 18, 0, 0, 0, 0, time.UTC),
		}
		tr := ingest.NewTranslator("porchlight-system", names.GatewayController)
		m := &mirror{
			encoders: map[types.NamespacedName]*xds.Encoder{}, sets: map[types.NamespacedName]resource.Set{},
			routes: map[string]ingest.RouteStatus{}, policies: map[string]ingest.PolicyStatus{}, gateways: map[types.NamespacedName]ingest.GatewayPlan{},
			certificates: map[types.NamespacedName]ingest.GatewayCertificates{},
		}
		tr.SetTime(c.now)
		set := func(o metav1.Object) {
			c.objects[keyOf(o)] = o
			tr.Set(o)
		}
		set(&v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Name: "porchlight-envoy", Namespace: "porchlight-system"}})
		set(&gwv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c0"}, Spec: gwv1.GatewayClassSpec{ControllerName: "porchlight.dev/gateway"}})
		if rapid.Bool().Draw(t, "aging") {
			for _, o := range aging(t) {
				set(o)
			}
		}
		for range rapid.IntRange(5, 40).Draw(t, "events") {
			switch what := rapid.IntRange(0, 11).Draw(t, "event"); {
			case what >= 10:
				// The certificate ends on the 27th.
				c.now = c.now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "days")) * 24 * time.Hour)
				tr.SetTime(c.now)
			case what == 0:
				n, f := genFacts(t)
				c.facts[n] = f
				tr.SetFacts(n, f)
			case what == 1:
				k := rapid.SampledFrom(slices.Sorted(maps.Keys(c.objects))).Draw(t, "deleted")
				tr.Delete(c.objects[k])
				delete(c.objects, k)
				if len(c.objects) == 0 {
					set(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "infra"}})
				}
			default:
				set(genObject(t))
			}
			if rapid.IntRange(0, 2).Draw(t, "flush") == 0 {
				m.apply(tr.Flush())
			}
		}
		m.apply(tr.Flush())

		full := ingest.Translate(c.input())
		if diff := gocmp.Diff(full, tr.All(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("by the change it is another output (-full +incremental):\n%s", diff)
		}
		for n, f := range full.Fleets {
			want := resource.Set{}
			for _, r := range xds.Fleet(f) {
				want.Put(r)
			}
			changed, removed := resource.Diff(m.sets[n], want)
			if len(changed)+len(removed) > 0 {
				t.Fatalf("the resources of fleet %s differ: the full translation has %v, and has not %v", n, keys(changed), removed)
			}
		}
		routes, policies, gateways := map[string]ingest.RouteStatus{}, map[string]ingest.PolicyStatus{}, map[types.NamespacedName]ingest.GatewayPlan{}
		for _, s := range full.RouteStatuses {
			routes[string(s.Kind)+s.Name.String()] = s
		}
		for _, s := range full.PolicyStatuses {
			policies[s.Name.String()] = s
		}
		for _, g := range full.Gateways {
			gateways[g.Name] = g
		}
		certificates := map[types.NamespacedName]ingest.GatewayCertificates{}
		for _, g := range full.Certificates {
			certificates[g.Name] = g
		}
		if diff := gocmp.Diff([]any{routes, policies, gateways, certificates}, []any{m.routes, m.policies, m.gateways, m.certificates}); diff != "" {
			t.Fatalf("the changes say another thing (-full +changes):\n%s", diff)
		}

		again := ingest.NewTranslator("porchlight-system", names.GatewayController)
		again.SetTime(c.now)
		for _, o := range c.objects {
			again.Set(o)
		}
		again.Flush()
		if got, want := tr.Lapses(), again.Lapses(); !got.Equal(want) {
			t.Fatalf("what is said lapses at %v, of one that was told everything once at %v", got, want)
		}
	})
}

func keys(rs []resource.Resource) []string {
	var out []string
	for _, r := range rs {
		out = append(out, string(r.Type)+" "+r.Name)
	}
	return out
}

// BenchmarkOneRouteOf5000 changes one route: TARGETS, at most 1 ms.
func BenchmarkOneRouteOf5000(b *testing.B) {
	in := crowd(5000)
	t := ingest.NewTranslator(in.Namespace, names.GatewayController)
	for _, f := range in.Fleets {
		t.Set(f)
	}
	t.Set(in.GatewayClasses[0])
	t.Set(in.Gateways[0])
	t.Set(in.Services[0])
	for _, r := range in.HTTPRoutes {
		t.Set(r)
	}
	for n, f := range in.Facts {
		t.SetFacts(n, f)
	}
	e := xds.NewEncoder()
	fleet := types.NamespacedName{Namespace: "porchlight-system", Name: "porchlight-envoy"}
	e.Encode(t.Flush().Fleets[fleet])
	var worst time.Duration
	n := 0
	for b.Loop() {
		r := in.HTTPRoutes[n*37%5000].DeepCopy()
		r.Generation++
		r.Spec.Rules[0].Matches[0].Path.Value = ptr(fmt.Sprintf("/changed-%d", n))
		n++
		start := time.Now()
		t.Set(r)
		changed, _ := e.Encode(t.Flush().Fleets[fleet])
		worst = max(worst, time.Since(start))
		if len(changed) != 1 {
			b.Fatalf("%d resources changed", len(changed))
		}
	}
	b.ReportMetric(float64(worst.Nanoseconds()), "worst-ns/op")
}
