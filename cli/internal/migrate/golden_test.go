package migrate

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
)

var update = flag.Bool("update", false, "write what the tests get as what they want")

// secret is the password in every case that has one.
const secret = "hunter2"

// Each file of testdata has manifests of MetalLB, ours, and the report. That
// the API server takes ours is tested in e2e/api.
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
			var documents []manifest.Document
			var inputs []txtar.File
			want := map[string][]byte{}
			for _, f := range archive.Files {
				switch f.Name {
				case "manifests", "report":
					want[f.Name] = f.Data
				default:
					inputs = append(inputs, f)
					d, err := manifest.Read(f.Name, f.Data)
					if err != nil {
						t.Fatal(err)
					}
					documents = append(documents, d...)
				}
			}
			got := written(t, documents)
			if *update {
				archive.Files = append(inputs, txtar.File{Name: "manifests", Data: got["manifests"]}, txtar.File{Name: "report", Data: got["report"]})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, name := range []string{"manifests", "report"} {
				if diff := cmp.Diff(string(want[name]), string(got[name])); diff != "" {
					t.Errorf("%s (-want +got; -update accepts it):\n%s", name, diff)
				}
			}
			if bytes.Contains(got["report"], []byte(secret)) {
				t.Error("the report has a password")
			}

			// The order of files and documents is nobody's promise, and
			// conversion leaves what it was given as it is.
			slices.Reverse(documents)
			if diff := cmp.Diff(got, written(t, documents)); diff != "" {
				t.Errorf("the same documents in another order give another result:\n%s", diff)
			}
		})
	}
}

func written(t *testing.T, documents []manifest.Document) map[string][]byte {
	t.Helper()
	r := Convert(documents, "porchlight-system")
	manifests, err := r.Manifests()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"manifests": manifests, "report": r.Report()}
}

// What we wrote is ours already: it is not converted again, and nothing of it
// is lost without a word.
func TestOursStays(t *testing.T) {
	documents, err := manifest.Read("ours.yaml", []byte("apiVersion: porchlight.dev/v1beta1\nkind: BGPPeer\nmetadata: {name: tor}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := Convert(documents, "porchlight-system")
	if len(r.Objects) != 0 || r.NotKept() != 0 || !strings.Contains(string(r.Report()), "Porchlight's already") {
		t.Errorf("%d objects, %d not kept, report:\n%s", len(r.Objects), r.NotKept(), r.Report())
	}
}

// Whatever is read, conversion ends, writes YAML, and says the same twice; and
// every field of MetalLB's is in the report.
func FuzzConvert(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no cases in testdata: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "manifests" || part.Name == "report" {
				continue
			}
			for document := range bytes.SplitSeq(part.Data, []byte("\n---\n")) {
				f.Add(document)
			}
		}
	}
	f.Fuzz(func(t *testing.T, manifests []byte) {
		documents, err := manifest.Read("in.yaml", manifests)
		if err != nil {
			return
		}
		r := Convert(documents, "porchlight-system")
		ours, err := r.Manifests()
		if err != nil {
			t.Fatal(err)
		}
		again := Convert(documents, "porchlight-system")
		if !bytes.Equal(r.Report(), again.Report()) {
			t.Errorf("two reports of one input:\n%s\n%s", r.Report(), again.Report())
		}
		for _, o := range r.Objects {
			for field := range fields(o, "spec") {
				if !reported(r, text(o, "kind"), text(fields(o, "metadata"), "name"), "spec."+field) {
					t.Errorf("%s %s: the report has nothing about spec.%s", text(o, "kind"), text(fields(o, "metadata"), "name"), field)
				}
			}
		}
		// kubectl reads what was written as the objects that were meant.
		read, err := manifest.Read("out.yaml", ours)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, ours)
		}
		if len(read) != len(r.Objects) {
			t.Errorf("%d objects are written, %d are read:\n%s", len(r.Objects), len(read), ours)
		}
		for i := range min(len(read), len(r.Objects)) {
			if diff := cmp.Diff(r.Objects[i], read[i].Object); diff != "" {
				t.Errorf("an object that was written is read as another (-written +read):\n%s", diff)
			}
		}
	})
}

func reported(r *Result, kind, name, field string) bool {
	return slices.ContainsFunc(r.Entries, func(e Entry) bool {
		return e.Kind == kind && e.Name == name &&
			slices.ContainsFunc(e.Lines, func(l Line) bool { return within(l.Field, field) })
	})
}
