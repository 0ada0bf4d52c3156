package api

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const root = "../.."

func load(t *testing.T) Schemas {
	t.Helper()
	s, err := Load(filepath.Join(root, "config/crd"), filepath.Join(root, "config/crd/gateway-api"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDefinitionsAreServed(t *testing.T) {
	schemas := load(t)
	for _, kind := range []string{"IPAddressPool", "L2Advertisement", "ServiceL2Status", "EnvoyFleet"} {
		gvk := schema.GroupVersionKind{Group: "porchlight.dev", Version: "v1beta1", Kind: kind}
		if _, ok := schemas[gvk]; !ok {
			t.Errorf("%s has no definition", gvk)
		}
	}
}

func TestRefused(t *testing.T) {
	schemas := load(t)
	for _, c := range readCases(t, "api/v1beta1/testdata/refused.yaml") {
		t.Run(c.Object.GetName(), func(t *testing.T) {
			if len(c.Want) == 0 {
				t.Fatal("the case does not say what it wants")
			}
			errs := schemas.Create(c.Object)
			if len(errs) == 0 {
				t.Fatalf("it is accepted; want %q", c.Want)
			}
			for _, want := range c.Want {
				if got := errs.ToAggregate().Error(); !strings.Contains(got, want) {
					t.Errorf("refused with\n\t%s\nwant a message that says\n\t%s", got, want)
				}
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	schemas := load(t)
	for _, c := range readCases(t, "api/v1beta1/testdata/accepted.yaml") {
		t.Run(c.Object.GetName(), func(t *testing.T) {
			if errs := schemas.Create(c.Object); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
		})
	}
}

// Everything in config/samples may be applied as it is.
func TestSamples(t *testing.T) {
	schemas := load(t)
	files, err := filepath.Glob(filepath.Join(root, "config/samples/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range files {
		if filepath.Base(f) == "kustomization.yaml" {
			continue
		}
		cases, err := ReadCases(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			checked++
			if errs := schemas.Create(c.Object); len(errs) > 0 {
				t.Errorf("%s: %s %s: %v", f, c.Object.GetKind(), c.Object.GetName(), errs.ToAggregate())
			}
		}
	}
	if checked == 0 {
		t.Error("there are no samples")
	}
}

// A pool of as many blocks as the schema allows costs the API server less
// than it will spend on one object.
func TestLargestPool(t *testing.T) {
	schemas := load(t)
	blocks := make([]any, 1000)
	for i := range blocks {
		blocks[i] = fmt.Sprintf("203.0.%d.%d - 203.0.%d.%d", 100+i/256, i%256, 100+i/256, i%256)
	}
	pool := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "porchlight.dev/v1beta1", "kind": "IPAddressPool",
		"metadata": map[string]any{"name": "large"},
		"spec":     map[string]any{"addresses": blocks},
	}}
	if errs := schemas.Create(pool); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}

func readCases(t *testing.T, path string) []Case {
	t.Helper()
	cases, err := ReadCases(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return cases
}
