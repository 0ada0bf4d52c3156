package ingest_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ingest/manifest"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

var update = flag.Bool("update", false, "rewrite the wanted outputs in testdata")

// renderers make the sections of a case. A case has input.yaml, perhaps
// facts.yaml with what the shell knows of some Gateways or now.txt with the
// time, and any of these with what is wanted.
var renderers = map[string]func(*testing.T, *manifest.Objects, ingest.Output) string{
	"ir.yaml":           renderIR,
	"status.txt":        renderStatus,
	"plan.yaml":         renderPlan,
	"certificates.yaml": renderCertificates,
	"fleets.yaml":       renderFleets,
	"envoy.yaml":        renderEnvoy,
	"endpoints.yaml":    renderEndpoints,
}

// Each case is translated as it is written and in many other orders.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden(t, file)
		})
	}
}

func golden(t *testing.T, file string) {
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Files) < 2 || a.Files[0].Name != "input.yaml" {
		t.Fatal("a case is input.yaml and then at least one wanted output")
	}
	objects := readCase(t, a)
	out := ingest.Translate(objects.Input)

	for i := range a.Files[1:] {
		f := &a.Files[1+i]
		if f.Name == "facts.yaml" || f.Name == "now.txt" {
			continue
		}
		render := renderers[f.Name]
		if render == nil {
			t.Fatalf("section %s is not one of a case", f.Name)
		}
		got := render(t, objects, out)
		for seed := range uint64(8) {
			shuffle(objects, rand.New(rand.NewPCG(seed, 0)))
			if again := render(t, objects, ingest.Translate(objects.Input)); again != got {
				t.Fatalf("%s depends on the order of the input (seed %d):\n%s", f.Name, seed, cmp.Diff(got, again))
			}
		}
		if *update {
			f.Data = []byte(got)
		} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
			t.Errorf("%s (-want +got; go test ./gateway/ingest -run 'TestGolden/%s$' -update rewrites it):\n%s",
				f.Name, strings.TrimSuffix(filepath.Base(file), ".txtar"), diff)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readCase(t *testing.T, a *txtar.Archive) *manifest.Objects {
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Read(bytes.NewReader(append(append(base, "\n---\n"...), a.Files[0].Data...)))
	if err != nil {
		t.Fatal(err)
	}
	if f := a.Files[1]; f.Name == "facts.yaml" {
		facts := map[string]ingest.Facts{}
		if err := yaml.UnmarshalStrict(f.Data, &facts); err != nil {
			t.Fatal(err)
		}
		objects.Facts = map[types.NamespacedName]ingest.Facts{}
		for n, v := range facts {
			namespace, name, _ := strings.Cut(n, "/")
			objects.Facts[types.NamespacedName{Namespace: namespace, Name: name}] = v
		}
	}
	if f := a.Files[1]; f.Name == "now.txt" {
		if objects.Now, err = time.Parse(time.RFC3339, strings.TrimSpace(string(f.Data))); err != nil {
			t.Fatal(err)
		}
	}
	objects.AssumeFacts()
	return objects
}

func shuffle(o *manifest.Objects, r *rand.Rand) {
	each(r, o.Fleets)
	each(r, o.GatewayClasses)
	each(r, o.Gateways)
	each(r, o.ListenerSets)
	each(r, o.HTTPRoutes)
	each(r, o.GRPCRoutes)
	each(r, o.TLSRoutes)
	each(r, o.TCPRoutes)
	each(r, o.UDPRoutes)
	each(r, o.ReferenceGrants)
	each(r, o.BackendTLSPolicies)
	each(r, o.ConfigMaps)
	each(r, o.Namespaces)
	each(r, o.Services)
	each(r, o.Secrets)
	each(r, o.EndpointSlices)
}

func each[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

func renderIR(t *testing.T, _ *manifest.Objects, out ingest.Output) string {
	fleets := map[string]*ir.Fleet{}
	for n, f := range out.Fleets {
		fleets[n.String()] = f
	}
	return toYAML(t, fleets)
}

func renderPlan(t *testing.T, _ *manifest.Objects, out ingest.Output) string {
	return toYAML(t, out.Gateways)
}

func renderCertificates(t *testing.T, _ *manifest.Objects, out ingest.Output) string {
	s := toYAML(t, out.Certificates)
	for _, p := range out.PolicyStatuses {
		if len(p.Authorities) > 0 {
			s += fmt.Sprintf("# BackendTLSPolicy %s\n%s", p.Name, toYAML(t, p.Authorities))
		}
	}
	return s
}

func renderFleets(t *testing.T, _ *manifest.Objects, out ingest.Output) string {
	return toYAML(t, out.FleetPlans)
}

func renderEnvoy(t *testing.T, _ *manifest.Objects, out ingest.Output) string {
	var b strings.Builder
	for _, n := range slices.SortedFunc(maps.Keys(out.Fleets), ir.CompareNames) {
		for _, r := range xds.Fleet(out.Fleets[n]) {
			y, err := xds.YAML(r)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "# %s\n%s", r.Type[strings.LastIndex(string(r.Type), ".")+1:], y)
		}
	}
	return b.String()
}

func renderEndpoints(t *testing.T, o *manifest.Objects, out ingest.Output) string {
	var all []ir.Endpoints
	for _, n := range slices.SortedFunc(maps.Keys(out.Fleets), ir.CompareNames) {
		for _, c := range out.Fleets[n].Clusters {
			all = append(all, ingest.Endpoints(c, o.EndpointSlices))
		}
	}
	return toYAML(t, all)
}

func renderStatus(_ *testing.T, _ *manifest.Objects, out ingest.Output) string {
	var b strings.Builder
	conditions := func(indent string, cs []metav1.Condition) {
		for _, c := range cs {
			fmt.Fprintf(&b, "%s%s %s %s @%d: %s\n", indent, c.Type, c.Status, c.Reason, c.ObservedGeneration, c.Message)
		}
	}
	listener := func(name gwv1.SectionName, attached int32, kinds []gwv1.RouteGroupKind, cs []metav1.Condition) {
		fmt.Fprintf(&b, "  listener %s: attached %d, kinds", name, attached)
		for _, k := range kinds {
			fmt.Fprintf(&b, " %s", k.Kind)
		}
		b.WriteString("\n")
		conditions("    ", cs)
	}
	for _, c := range out.GatewayClassStatuses {
		if c.Name != "porchlight" {
			fmt.Fprintf(&b, "GatewayClass %s\n", c.Name)
			conditions("  ", c.Status.Conditions)
		}
	}
	for _, g := range out.GatewayStatuses {
		fmt.Fprintf(&b, "Gateway %s", g.Name)
		for _, a := range g.Status.Addresses {
			fmt.Fprintf(&b, " %s", a.Value)
		}
		if n := g.Status.AttachedListenerSets; n != nil {
			fmt.Fprintf(&b, ", %d ListenerSets", *n)
		}
		b.WriteString("\n")
		conditions("  ", g.Status.Conditions)
		for _, l := range g.Status.Listeners {
			listener(l.Name, l.AttachedRoutes, l.SupportedKinds, l.Conditions)
		}
	}
	for _, s := range out.ListenerSetStatuses {
		fmt.Fprintf(&b, "ListenerSet %s\n", s.Name)
		conditions("  ", s.Status.Conditions)
		for _, l := range s.Status.Listeners {
			listener(l.Name, l.AttachedRoutes, l.SupportedKinds, l.Conditions)
		}
	}
	for _, p := range out.PolicyStatuses {
		fmt.Fprintf(&b, "BackendTLSPolicy %s\n", p.Name)
		for _, a := range p.Ancestors {
			fmt.Fprintf(&b, "  ancestor %s %s/%s\n", *a.AncestorRef.Kind, *a.AncestorRef.Namespace, a.AncestorRef.Name)
			conditions("    ", a.Conditions)
		}
	}
	for _, r := range out.RouteStatuses {
		fmt.Fprintf(&b, "%s %s\n", r.Kind, r.Name)
		for _, p := range r.Parents {
			fmt.Fprintf(&b, "  parent %s", p.ParentRef.Name)
			if p.ParentRef.SectionName != nil {
				fmt.Fprintf(&b, " section %s", *p.ParentRef.SectionName)
			}
			if p.ParentRef.Port != nil {
				fmt.Fprintf(&b, " port %d", *p.ParentRef.Port)
			}
			b.WriteString("\n")
			conditions("    ", p.Conditions)
		}
	}
	return b.String()
}

func toYAML(t *testing.T, v any) string {
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
