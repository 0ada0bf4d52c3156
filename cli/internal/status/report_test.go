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

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

var update = flag.Bool("update", false, "write what the tests get as what they want")

var forms = []string{"text", "wide", "json"}

// Each file of testdata has the objects of a cluster, and the report of them
// as text, as wide text and as JSON.
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
				archive.Files = []txtar.File{{Name: "objects.yaml", Data: parts["objects.yaml"]}}
				for _, form := range forms {
					archive.Files = append(archive.Files, txtar.File{Name: form, Data: got[form]})
				}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, form := range forms {
				if diff := cmp.Diff(string(parts[form]), string(got[form])); diff != "" {
					t.Errorf("%s (-want +got; -update accepts it):\n%s", form, diff)
				}
			}

			// The order in which the API server lists is nobody's promise.
			documents := bytes.Split(parts["objects.yaml"], []byte("\n---\n"))
			slices.Reverse(documents)
			backwards := decode(t, bytes.Join(documents, []byte("\n---\n")))
			if diff := cmp.Diff(got, reports(t, backwards)); diff != "" {
				t.Errorf("the same objects in another order give another report:\n%s", diff)
			}
		})
	}
}

func reports(t *testing.T, o *inventory.Objects) map[string][]byte {
	t.Helper()
	r := Summarize(o)
	var text, wide, json bytes.Buffer
	for _, err := range []error{
		r.WriteText(&text, Form{}), r.WriteText(&wide, Form{Wide: true, All: true}), r.WriteJSON(&json),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]byte{"text": text.Bytes(), "wide": wide.Bytes(), "json": json.Bytes()}
}

func decode(t *testing.T, documents []byte) *inventory.Objects {
	t.Helper()
	read, err := manifest.Read("objects.yaml", documents)
	if err != nil {
		t.Fatal(err)
	}
	o, err := inventory.Decode(read, "porchlight-system", true)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestLongTablesAreCut(t *testing.T) {
	o := &inventory.Objects{Namespace: "porchlight-system"}
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
		o.Services.Items = append(o.Services.Items, svc)
	}
	r := Summarize(o)
	var cut, whole bytes.Buffer
	if err := r.WriteText(&cut, Form{}); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteText(&whole, Form{All: true}); err != nil {
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
