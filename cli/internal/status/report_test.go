package status

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/internal/names"
)

var update = flag.Bool("update", false, "write what the tests get as what they want")

// Each file of testdata has the objects of a cluster, and the report of them
// as text and as JSON.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string][]byte{}
			for _, f := range archive.Files {
				parts[f.Name] = f.Data
			}
			got := reports(t, decode(t, parts["objects.yaml"]))
			if *update {
				archive.Files = []txtar.File{{Name: "objects.yaml", Data: parts["objects.yaml"]}, {Name: "text", Data: got["text"]}, {Name: "json", Data: got["json"]}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, form := range []string{"text", "json"} {
				if diff := cmp.Diff(string(parts[form]), string(got[form])); diff != "" {
					t.Errorf("%s (-want +got; -update accepts it):\n%s", form, diff)
				}
			}

			// The order in which the API server lists is nobody's promise.
			backwards := decode(t, parts["objects.yaml"])
			slices.Reverse(backwards.Deployments)
			slices.Reverse(backwards.Pools)
			slices.Reverse(backwards.L2Statuses)
			slices.Reverse(backwards.Fleets)
			slices.Reverse(backwards.Services)
			slices.Reverse(backwards.Gateways)
			if diff := cmp.Diff(got, reports(t, backwards)); diff != "" {
				t.Errorf("the same objects in another order give another report:\n%s", diff)
			}
		})
	}
}

func reports(t *testing.T, o *Objects) map[string][]byte {
	t.Helper()
	r := Summarize(o)
	var text, json bytes.Buffer
	if err := r.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteJSON(&json); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"text": text.Bytes(), "json": json.Bytes()}
}

func decode(t *testing.T, documents []byte) *Objects {
	t.Helper()
	o := &Objects{Namespace: "porchlight-system"}
	for doc := range strings.SplitSeq(string(documents), "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "":
		case "Deployment":
			add(t, &o.Deployments, doc)
		case "DaemonSet":
			add(t, &o.DaemonSets, doc)
		case "IPAddressPool":
			add(t, &o.Pools, doc)
		case "ServiceL2Status":
			add(t, &o.L2Statuses, doc)
		case "EnvoyFleet":
			add(t, &o.Fleets, doc)
		case "Service":
			add(t, &o.Services, doc)
		case "GatewayClass":
			add(t, &o.Classes, doc)
		case "Gateway":
			add(t, &o.Gateways, doc)
		default:
			t.Fatalf("a %s is not read by status", kind.Kind)
		}
	}
	return o
}

func add[T any](t *testing.T, list *[]T, doc string) {
	t.Helper()
	var item T
	if err := yaml.UnmarshalStrict([]byte(doc), &item); err != nil {
		t.Fatalf("%v in\n%s", err, doc)
	}
	*list = append(*list, item)
}

func TestLongTablesAreCut(t *testing.T) {
	o := &Objects{Namespace: "porchlight-system"}
	for i := range 100 {
		svc := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%02d", i)}}
		svc.Spec.Type = corev1.ServiceTypeLoadBalancer
		status := metav1.ConditionTrue
		if i == 99 {
			status = metav1.ConditionFalse
		}
		svc.Status.Conditions = []metav1.Condition{
			{Type: names.Allocated, Status: metav1.ConditionTrue, Reason: "Allocated"},
			{Type: names.Announced, Status: status, Reason: "NoEndpoints"},
		}
		o.Services = append(o.Services, svc)
	}
	r := Summarize(o)
	var cut, whole bytes.Buffer
	if err := r.WriteText(&cut, false); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteText(&whole, true); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(cut.String(), "  shop "); got != screen {
		t.Errorf("%d Services on a screen, want %d", got, screen)
	}
	for _, want := range []string{"s99", "NoEndpoints", "and 80 more"} {
		if !strings.Contains(cut.String(), want) {
			t.Errorf("a screen of 100 Services does not say %q:\n%s", want, cut.String())
		}
	}
	if got := strings.Count(whole.String(), "  shop "); got != 100 {
		t.Errorf("%d Services with --all, want 100", got)
	}
}
