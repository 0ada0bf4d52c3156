package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/porchlight-lb/porchlight/cli/internal/check"
	"github.com/porchlight-lb/porchlight/cli/internal/explain"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
)

// The order in which the API server lists is nobody's promise: the same objects
// in another order give the same reports.
func TestOrderDoesNotMatter(t *testing.T) {
	for name, objects := range cases(t) {
		before := reports(t, objects)
		for _, k := range objects.Kinds() {
			items, err := meta.ExtractList(k.List)
			if err != nil {
				t.Fatal(err)
			}
			slices.Reverse(items)
			if err := meta.SetList(k.List, items); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(before, reports(t, objects)); diff != "" {
			t.Errorf("%s: another order gives another report:\n%s", name, diff)
		}
	}
}

func reports(t *testing.T, o *inventory.Objects) string {
	t.Helper()
	var b bytes.Buffer
	if err := check.Run(o).WriteText(&b, false, true); err != nil {
		t.Fatal(err)
	}
	for _, kind := range explain.Kinds {
		for _, name := range kind.Objects(o) {
			r, err := kind.Explain(o, name)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.WriteText(&b, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.String()
}

// cases are working.yaml with each file of objects of the scripts.
func cases(t *testing.T) map[string]*inventory.Objects {
	t.Helper()
	working, err := os.ReadFile("testdata/working.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	all := map[string]*inventory.Objects{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			documents, err := manifest.Read(f.Name, slices.Concat(working, []byte("\n---\n"), f.Data))
			if err != nil {
				continue // a script of what cannot be read
			}
			o, err := inventory.Decode(documents, "porchlight-system", false)
			if err != nil {
				t.Fatalf("%s of %s: %v", f.Name, file, err)
			}
			all[filepath.Base(file)+"/"+f.Name] = o
		}
	}
	if len(all) < 5 {
		t.Fatalf("%d cases; are the scripts read rightly?", len(all))
	}
	return all
}
