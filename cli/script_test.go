package main

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the scripts get as what they want")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"porchlight": main, asPlugin: main, completesPlugin: main})
}

// Each file of testdata/script is what a person types, and what comes of it.
// working.yaml is beside it: a cluster in which everything works.
func TestScripts(t *testing.T) {
	working, err := os.ReadFile("testdata/working.yaml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("KUBECONFIG", filepath.Join(e.WorkDir, "no-kubeconfig"))
			return os.WriteFile(filepath.Join(e.WorkDir, "working.yaml"), working, 0o644)
		},
	})
}
