package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sys/unix"
)

// example is a Spec with everything in it, over files in dir.
func example(t *testing.T, dir string) Spec {
	t.Helper()
	program := filepath.Join(dir, "program-1.2")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "program")
	if err := os.Symlink("program-1.2", link); err != nil {
		t.Fatal(err)
	}
	return Spec{
		Refs: []string{"docker.io/porchlight-lb/porchlight:v1", "localhost:5000/porchlight:v1"},
		Files: []File{
			{Host: link, Path: "/usr/local/bin/program", Capabilities: []int{unix.CAP_NET_RAW}},
			{Content: []byte("text\n"), Path: "/etc/porchlight/text", Mode: 0o600},
		},
		Dirs:       []Dir{{Path: "/tmp", Mode: 0o777 | os.ModeSticky}},
		User:       "65532:65532",
		Entrypoint: []string{"/usr/local/bin/program"},
		Env:        []string{"A=b"},
		Labels:     map[string]string{"org.opencontainers.image.version": "v1"},
	}
}

func entries(t *testing.T, r io.Reader) (map[string][]byte, []string) {
	t.Helper()
	contents, listing := map[string][]byte{}, []string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return contents, listing
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		contents[h.Name] = b
		line := fmt.Sprintf("%04o %d:%d %s", h.Mode, h.Uid, h.Gid, h.Name)
		if xattr, ok := h.PAXRecords["SCHILY.xattr.security.capability"]; ok {
			line += fmt.Sprintf(" cap=%x", xattr)
		}
		if h.ModTime.Unix() != 0 {
			t.Errorf("%s has the time %s", h.Name, h.ModTime)
		}
		listing = append(listing, line)
	}
}

func TestLayout(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprintf("gzip=%v", compress), func(t *testing.T) {
			dir := t.TempDir()
			spec := example(t, dir)
			spec.Gzip = compress
			path := filepath.Join(dir, "image.tar")
			if err := Write(path, spec); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			files, _ := entries(t, f)
			for name, content := range files {
				if hexDigest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
					if got := sha256.Sum256(content); hex.EncodeToString(got[:]) != hexDigest {
						t.Errorf("content of %s has digest %x", name, got)
					}
				}
			}

			var index v1.IndexManifest
			unmarshal(t, files["index.json"], &index)
			if len(index.Manifests) != 2 {
				t.Fatalf("%d manifests in the index, want one for each name", len(index.Manifests))
			}
			want := map[string]string{annotationRefName: "v1", annotationContainerdName: spec.Refs[0]}
			if diff := cmp.Diff(want, index.Manifests[0].Annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
			var manifest v1.Manifest
			unmarshal(t, files[blobPath(index.Manifests[0].Digest)], &manifest)
			var config v1.ConfigFile
			unmarshal(t, files[blobPath(manifest.Config.Digest)], &config)
			if want := []string{defaultPath, "A=b"}; !cmp.Equal(config.Config.Env, want) {
				t.Errorf("environment %q, want %q", config.Config.Env, want)
			}

			packed := files[blobPath(manifest.Layers[0].Digest)]
			bare := io.Reader(bytes.NewReader(packed))
			if compress {
				if bare, err = gzip.NewReader(bare); err != nil {
					t.Fatal(err)
				}
			}
			_, listing := entries(t, bare)
			wantListing := []string{
				"0755 0:0 etc/",
				"0755 0:0 etc/porchlight/",
				"0600 0:0 etc/porchlight/text",
				"1777 0:0 tmp/",
				"0755 0:0 usr/",
				"0755 0:0 usr/local/",
				"0755 0:0 usr/local/bin/",
				"0755 0:0 usr/local/bin/program cap=0100000200200000000000000000000000000000",
			}
			if diff := cmp.Diff(wantListing, listing); diff != "" {
				t.Errorf("layer (-want +got):\n%s", diff)
			}
		})
	}
}

// An independent reader of docker archives finds every digest right.
func TestDockerArchive(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "image.tar")
	if err := Write(path, example(t, dir)); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
}

func TestSameSpecSameBytes(t *testing.T) {
	dir := t.TempDir()
	spec := example(t, dir)
	a, b := filepath.Join(dir, "a.tar"), filepath.Join(dir, "b.tar")
	if err := Write(a, spec); err != nil {
		t.Fatal(err)
	}
	spec.Files[0], spec.Files[1] = spec.Files[1], spec.Files[0]
	if err := Write(b, spec); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the same files in another order give another archive")
	}
}

func TestRefusedSpecs(t *testing.T) {
	ref := []string{"example.org/image:b"}
	for name, c := range map[string]struct {
		spec Spec
		want string
	}{
		"no name":        {Spec{}, "has no name"},
		"no tag":         {Spec{Refs: []string{"example.org/image"}}, "name of the image"},
		"relative path":  {Spec{Refs: ref, Files: []File{{Path: "a"}}}, "absolute, clean path"},
		"unclean path":   {Spec{Refs: ref, Files: []File{{Path: "/a/../b"}}}, "absolute, clean path"},
		"path twice":     {Spec{Refs: ref, Files: []File{{Path: "/a"}, {Path: "/a"}}}, "twice"},
		"file and dir":   {Spec{Refs: ref, Files: []File{{Path: "/a"}}, Dirs: []Dir{{Path: "/a"}}}, "twice"},
		"file as parent": {Spec{Refs: ref, Files: []File{{Path: "/a"}, {Path: "/a/b"}}}, "/a is a file"},
		"file not there": {Spec{Refs: ref, Files: []File{{Path: "/a", Host: "/nonexistent/a"}}}, "file for /a"},
		"a directory":    {Spec{Refs: ref, Files: []File{{Path: "/a", Host: "/"}}}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := Write(filepath.Join(dir, "image.tar"), c.spec)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("%s was left behind", left[0].Name())
			}
		})
	}
}

func unmarshal(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
}
