package api

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const root = "../.."

// definitions are compiled once: their rules take seconds.
var definitions = sync.OnceValues(func() (Schemas, error) {
	return Load(filepath.Join(root, "config/crd"), filepath.Join(root, "config/crd/gateway-api"))
})

func load(t *testing.T) Schemas {
	t.Helper()
	s, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDefinitionsAreServed(t *testing.T) {
	schemas := load(t)
	for _, kind := range []string{
		"IPAddressPool", "L2Advertisement", "ServiceL2Status", "EnvoyFleet",
		"BGPPeer", "BGPAdvertisement", "BFDProfile", "Community",
		"BGPSessionState", "ServiceBGPStatus", "ConfigurationState",
	} {
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

// What porchlight migrate makes of MetalLB's configuration may be applied: the
// golden manifests of its tests.
func TestMigrated(t *testing.T) {
	schemas := load(t)
	files, err := filepath.Glob(filepath.Join(root, "cli/internal/migrate/testdata/*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, f := range files {
		archive, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name != "manifests" {
				continue
			}
			cases, err := parseCases(f, part.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range cases {
				kinds[c.Object.GetKind()] = true
				if errs := schemas.Create(c.Object); len(errs) > 0 {
					t.Errorf("%s: %s %s: %v", filepath.Base(f), c.Object.GetKind(), c.Object.GetName(), errs.ToAggregate())
				}
			}
		}
	}
	for _, kind := range []string{"IPAddressPool", "L2Advertisement", "BGPPeer", "BGPAdvertisement", "BFDProfile", "Community"} {
		if !kinds[kind] {
			t.Errorf("no case migrates a %s", kind)
		}
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

// An advertisement of as many communities as the schema allows costs the API
// server less than it will spend on one object.
func TestMostCommunities(t *testing.T) {
	schemas := load(t)
	communities := make([]any, 128)
	for i := range communities {
		communities[i] = fmt.Sprintf("large:4294967%03d:4294967295:4294967295", i)
	}
	adv := object("BGPAdvertisement", "spec", map[string]any{"communities": communities})
	if errs := schemas.Create(adv); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}

// An EnvoyFleet of as many labels and annotations as the schema allows, with keys
// as long as may be, costs the API server less than it will spend on one object;
// annotations of more than they may have in all are refused.
func TestMostServiceMetadata(t *testing.T) {
	schemas := load(t)
	prefix := strings.Repeat("abcdefghi.", 25) + "abc/"
	fleet := func(size int) *unstructured.Unstructured {
		labels, annotations := map[string]any{}, map[string]any{}
		for i := range 64 {
			key := fmt.Sprintf("%s%s%02d", prefix, strings.Repeat("n", 61), i)
			labels[key] = strings.Repeat("v", 63)
			annotations[key] = strings.Repeat("v", size-len(key))
		}
		return object("EnvoyFleet", "spec", map[string]any{"service": map[string]any{"labels": labels, "annotations": annotations}})
	}
	if errs := schemas.Create(fleet(1024)); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
	if errs := schemas.Create(fleet(1025)); len(errs) != 1 || !strings.Contains(errs.ToAggregate().Error(), "at most 65536 characters in all") {
		t.Errorf("refused with %v", errs)
	}
}

// The speakers count on these, and so do manifests that leave them out.
func TestDefaults(t *testing.T) {
	schemas := load(t)
	for _, c := range []struct {
		object *unstructured.Unstructured
		want   map[string]any
	}{
		{object("BFDProfile"), map[string]any{
			"receiveInterval": int64(300), "transmitInterval": int64(300), "detectMultiplier": int64(3),
			"echoInterval": int64(50), "echoMode": false, "passiveMode": false, "minimumTtl": int64(254),
		}},
		{object("BGPAdvertisement"), map[string]any{"aggregationLength": int64(32), "aggregationLengthV6": int64(128)}},
		{
			object("BGPPeer", "spec", map[string]any{"myASN": int64(64512), "peerASN": int64(64513), "interface": "eth1"}),
			map[string]any{
				"myASN": int64(64512), "peerASN": int64(64513), "interface": "eth1",
				"peerPort": int64(179), "connectTime": "10s", "dualStackAddressFamily": false,
			},
		},
	} {
		if errs := schemas.Create(c.object); len(errs) > 0 {
			t.Errorf("%s: %v", c.object.GetKind(), errs.ToAggregate())
		}
		if got := c.object.Object["spec"]; !reflect.DeepEqual(got, any(c.want)) {
			t.Errorf("the spec of a %s becomes\n\t%v\nwant\n\t%v", c.object.GetKind(), got, c.want)
		}
	}
}

// On creation the API server drops a status, so these are in no table.
func TestRefusedStatus(t *testing.T) {
	schemas := load(t)
	for _, c := range []struct{ kind, field, value string }{
		{"BGPSessionState", "state", "Up"},
		{"BGPSessionState", "bfdState", "AdminDown"},
		{"ConfigurationState", "result", "Unknown"},
	} {
		errs := schemas.Create(object(c.kind, "status", map[string]any{c.field: c.value}))
		if want := "status." + c.field + ": Unsupported value"; len(errs) == 0 || !strings.Contains(errs.ToAggregate().Error(), want) {
			t.Errorf("%s with %s %s: %v, want %s", c.kind, c.field, c.value, errs.ToAggregate(), want)
		}
	}
}

// object is an object of ours with pairs of a field and its value.
func object(kind string, fields ...any) *unstructured.Unstructured {
	o := map[string]any{
		"apiVersion": "porchlight.dev/v1beta1", "kind": kind,
		"metadata": map[string]any{"name": "it", "namespace": "porchlight-system"},
	}
	for i := 0; i < len(fields); i += 2 {
		o[fields[i].(string)] = fields[i+1]
	}
	return &unstructured.Unstructured{Object: o}
}

func readCases(t *testing.T, path string) []Case {
	t.Helper()
	cases, err := ReadCases(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return cases
}
