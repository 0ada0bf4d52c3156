// Package envoybin finds the real Envoy for tests that ask it. No program
// imports it.
package envoybin

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Path is of an Envoy: the one that ENVOY names, the one in PATH, or the one
// that the lab fetched into the cache. A test that finds none fails.
func Path(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("ENVOY"); p != "" {
		return p
	}
	if p, err := exec.LookPath("envoy"); err == nil {
		return p
	}
	if dir, err := os.UserCacheDir(); err == nil {
		if found, err := filepath.Glob(filepath.Join(dir, "porchlight", "envoy-*", "envoy")); err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	t.Fatal("no Envoy: run `make lab`, or set ENVOY to the path of one")
	return ""
}
