package ingest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// defaultGateway is the i-th Gateway, created at a time in seconds.
func defaultGateway(i int, created int64, scope gwv1.GatewayDefaultScope) *gwv1.Gateway {
	g := &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("d%02d", i), Namespace: "infra", CreationTimestamp: metav1.Unix(created, 0)}}
	g.Spec.GatewayClassName = "porchlight"
	g.Spec.DefaultScope = scope
	g.Spec.Listeners = []gwv1.Listener{{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType}}
	return g
}

func defaultedRoute(named ...string) *gwv1.HTTPRoute {
	r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: "r", Namespace: "infra"}}
	r.Spec.UseDefaultGateways = gwv1.GatewayDefaultScopeAll
	for _, n := range named {
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, gwv1.ParentReference{Name: gwv1.ObjectName(n)})
	}
	r.Spec.Rules = []gwv1.HTTPRouteRule{{}}
	return r
}

func defaultWorld() ingest.Input {
	return ingest.Input{
		Namespace: "porchlight-system",
		Fleets:    []*v1beta1.EnvoyFleet{{ObjectMeta: metav1.ObjectMeta{Name: "porchlight-envoy", Namespace: "porchlight-system"}}},
		GatewayClasses: []*gwv1.GatewayClass{{
			ObjectMeta: metav1.ObjectMeta{Name: "porchlight"},
			Spec:       gwv1.GatewayClassSpec{ControllerName: "porchlight.dev/gateway"},
		}},
	}
}

// A route has at most 32 parents: those that it names, whosever they are, then
// the oldest default Gateways. The others are named, and count no route.
func TestMoreDefaultGatewaysThanARouteCanHave(t *testing.T) {
	in := defaultWorld()
	for i := range 34 {
		in.Gateways = append(in.Gateways, defaultGateway(i, int64(100-i), gwv1.GatewayDefaultScopeAll))
	}
	in.HTTPRoutes = []*gwv1.HTTPRoute{defaultedRoute("d00", "elsewhere")}
	out := ingest.Translate(in)

	var got, want []string
	for _, p := range out.RouteStatuses[0].Parents {
		got = append(got, string(p.ParentRef.Name))
		c := apimeta.FindStatusCondition(p.Conditions, names.DefaultGatewaysOmitted)
		if c == nil || c.Reason != "TooManyParents" || !strings.HasSuffix(c.Message, ": infra/d03, infra/d02, infra/d01.") {
			t.Errorf("parent %s says %+v of what is omitted", p.ParentRef.Name, c)
		}
	}
	want = append(want, "d00") // d33 is the oldest
	for i := 33; i > 3; i-- {
		want = append(want, fmt.Sprintf("d%02d", i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("the parents are %v, want %v", got, want)
	}
	for _, g := range out.GatewayStatuses {
		attached := int32(1)
		if slices.Contains([]string{"d01", "d02", "d03"}, g.Name.Name) {
			attached = 0
		}
		if n := g.Status.Listeners[0].AttachedRoutes; n != attached {
			t.Errorf("Gateway %s counts %d routes, want %d", g.Name.Name, n, attached)
		}
	}
}

// While default Gateways come and go about the limit, what is said by the
// change is what the full translation says.
func TestDefaultGatewaysAboutTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := defaultWorld()
		gateways := map[int]*gwv1.Gateway{}
		tr := ingest.NewTranslator(in.Namespace, names.GatewayController)
		tr.Set(in.Fleets[0])
		tr.Set(in.GatewayClasses[0])
		for i := range 33 {
			gateways[i] = defaultGateway(i, int64(i), gwv1.GatewayDefaultScopeAll)
			tr.Set(gateways[i])
		}
		named := &gwv1.GRPCRoute{ObjectMeta: metav1.ObjectMeta{Name: "named", Namespace: "infra", CreationTimestamp: metav1.Unix(1, 0)}}
		named.Spec.ParentRefs = []gwv1.ParentReference{{Name: "d31"}, {Name: "d32"}}
		named.Spec.Rules = []gwv1.GRPCRouteRule{{}}
		in.HTTPRoutes, in.GRPCRoutes = []*gwv1.HTTPRoute{defaultedRoute()}, []*gwv1.GRPCRoute{named}
		tr.Set(in.HTTPRoutes[0])
		tr.Set(named)
		tr.Flush()
		for range rapid.IntRange(1, 6).Draw(t, "events") {
			i := rapid.SampledFrom([]int{0, 1, 31, 32, 33}).Draw(t, "gateway")
			switch g := gateways[i]; {
			case g != nil && rapid.Bool().Draw(t, "deleted"):
				tr.Delete(g)
				delete(gateways, i)
			default:
				gateways[i] = defaultGateway(i, int64(rapid.IntRange(0, 40).Draw(t, "created")), genScope(t))
				tr.Set(gateways[i])
			}
			tr.Flush()
		}
		for _, g := range gateways {
			in.Gateways = append(in.Gateways, g)
		}
		if diff := gocmp.Diff(ingest.Translate(in), tr.All(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("by the change it is another output (-full +incremental):\n%s", diff)
		}
	})
}

// A default Gateway that a parentRef names, even in part, is that parent alone.
func TestParentsCountOnce(t *testing.T) {
	spec := defaultedRoute("d00").Spec.CommonRouteSpec
	spec.ParentRefs[0].SectionName = ptr(gwv1.SectionName("http"))
	defaults := []*gwv1.Gateway{defaultGateway(0, 0, "All"), defaultGateway(1, 0, "All")}
	refs, omitted := ingest.Parents("infra", &spec, defaults)
	if len(refs) != 2 || refs[0] != spec.ParentRefs[0] || refs[1].Name != "d01" || *refs[1].Namespace != "infra" || len(omitted) != 0 {
		t.Errorf("the parents are %+v, omitted %v", refs, omitted)
	}
	if refs, _ := ingest.Parents("web", &spec, defaults); len(refs) != 3 {
		t.Errorf("a Gateway of that name in another namespace is taken for the default one: %+v", refs)
	}
	for _, scope := range []gwv1.GatewayDefaultScope{"", gwv1.GatewayDefaultScopeNone} {
		spec.UseDefaultGateways = scope
		if refs, _ := ingest.Parents("infra", &spec, defaults); len(refs) != 1 {
			t.Errorf("scope %q adds parents: %+v", scope, refs)
		}
	}
}

// Default Gateways change without the route's spec doing so.
func TestDefaultGatewayIsReplaced(t *testing.T) {
	tr := ingest.NewTranslator("porchlight-system", names.GatewayController)
	in := defaultWorld()
	tr.Set(in.Fleets[0])
	tr.Set(in.GatewayClasses[0])
	tr.Set(defaultedRoute())
	tr.Set(defaultGateway(0, 0, "All"))
	parents := func() string {
		tr.Flush()
		var all []string
		for _, s := range tr.All().RouteStatuses {
			for _, p := range s.Parents {
				all = append(all, string(p.ParentRef.Name))
			}
		}
		for _, s := range tr.All().GatewayStatuses {
			is := apimeta.IsStatusConditionTrue(s.Status.Conditions, ingest.DefaultGateway)
			if n := s.Status.Listeners[0].AttachedRoutes; is != (n == 1) {
				t.Errorf("Gateway %s counts %d routes; that it is a default one is %v", s.Name.Name, n, is)
			}
		}
		return strings.Join(all, " ")
	}
	theirs := defaultGateway(1, 1, "All")
	theirs.Spec.GatewayClassName = "another"
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"one", func() {}, "d00"},
		{"another controller's", func() { tr.Set(theirs) }, "d00"},
		{"it becomes ours", func() { tr.Set(defaultGateway(1, 1, "All")) }, "d00 d01"},
		{"the first is none any more", func() { tr.Set(defaultGateway(0, 0, "None")) }, "d01"},
		{"the second is deleted", func() { tr.Delete(defaultGateway(1, 1, "All")) }, ""},
		{"the first is one again", func() { tr.Set(defaultGateway(0, 0, "All")) }, "d00"},
		{"the class is another's", func() {
			c := in.GatewayClasses[0].DeepCopy()
			c.Spec.ControllerName = "example.com/c"
			tr.Set(c)
		}, ""},
		{"the class is ours again", func() { tr.Set(in.GatewayClasses[0]) }, "d00"},
	} {
		step.do()
		if got := parents(); got != step.want {
			t.Fatalf("%s: the parents are %q, want %q", step.name, got, step.want)
		}
	}
}
