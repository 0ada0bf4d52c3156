package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

func TestTagIsValid(t *testing.T) {
	for version, want := range map[string]string{
		"v0.1.0":                  "v0.1.0",
		"v0.1.0-3-gabcdef0-dirty": "v0.1.0-3-gabcdef0-dirty",
		"v0.1.0+build.1":          "v0.1.0-build.1",
		"release/one":             "release-one",
		"-x":                      "x",
		strings.Repeat("v", 200):  strings.Repeat("v", 128),
	} {
		got := tag(version)
		if got != want {
			t.Errorf("tag(%q) = %q, want %q", version, got, want)
		}
		if _, err := name.NewTag(repository+":"+got, name.StrictValidation); err != nil {
			t.Errorf("tag(%q): %v", version, err)
		}
	}
}

// People who build with Docker get the same programs under the same names.
func TestDockerfileHasEveryProgram(t *testing.T) {
	b, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		for _, word := range []string{p.folder + ":" + p.name} {
			if !strings.Contains(string(b), word) {
				t.Errorf("deploy/Dockerfile does not mention %s", word)
			}
		}
	}
	if !strings.Contains(string(b), "USER "+user) {
		t.Errorf("deploy/Dockerfile does not run as %s", user)
	}
}
