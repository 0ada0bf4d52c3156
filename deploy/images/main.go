// Command images builds the programs and writes the Porchlight image, all of
// them in it, as an archive:
//
//	go run ./deploy/images --out dist
//
// The archive, dist/porchlight.tar, is for `ctr images import`, `docker load`
// and `podman load`. dist/version has the image's tag, for the chart's image.tag.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/deploy/images/oci"
)

const (
	module = "github.com/porchlight-lb/porchlight"
	// repository is the image's name without its tag; the chart's
	// image.repository is the same.
	repository = "docker.io/porchlight-lb/porchlight"
	// user is the numeric user of the image: nobody in particular, not root.
	user = "65532:65532"
)

// programs are the image's, by the folder of their main package.
var programs = []struct {
	folder, name string
	// capabilities of the file: see docs/decisions/0002-speaker-privileges.md.
	capabilities []int
}{
	{folder: "cli", name: "porchlight"},
	{folder: "controller", name: "porchlight-controller"},
	{folder: "gateway", name: "porchlight-gateway"},
	{folder: "gateway/drain", name: "porchlight-drain"},
	{folder: "speaker", name: "porchlight-speaker", capabilities: []int{unix.CAP_NET_RAW}},
}

func main() {
	version := flag.String("version", "", "version to stamp and to tag with; empty: the git description of the tree")
	out := flag.String("out", "dist", "folder to write to")
	arch := flag.String("arch", runtime.GOARCH, "architecture to build for")
	gzip := flag.Bool("gzip", false, "compress the image, for one that is published")
	flag.Parse()
	if err := run(context.Background(), *version, *out, *arch, *gzip); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, version, out, arch string, gzip bool) error {
	if version == "" {
		described, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
		if err != nil {
			return fmt.Errorf("asking git for the version: %w", err)
		}
		version = strings.TrimSpace(string(described))
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	bin, err := os.MkdirTemp(out, ".bin-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	if err := build(ctx, version, bin, arch); err != nil {
		return err
	}
	path, ref := filepath.Join(out, "porchlight.tar"), repository+":"+tag(version)
	if err := oci.Write(path, image(ref, version, bin, arch, gzip)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "version"), []byte(tag(version)+"\n"), 0o644); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s %d MiB\n", path, ref, info.Size()>>20)
	return nil
}

// build leaves the programs in bin, each named by the last part of its folder.
func build(ctx context.Context, version, bin, arch string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", bin + string(filepath.Separator),
		"-ldflags", "-s -w -X " + module + "/internal/version.Version=" + version}
	for _, p := range programs {
		args = append(args, module+"/"+p.folder)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("building the programs: %w", err)
	}
	return nil
}

func image(ref, version, bin, arch string, gzip bool) oci.Spec {
	spec := oci.Spec{
		Refs:       []string{ref},
		Arch:       arch,
		User:       user,
		Entrypoint: []string{"/usr/local/bin/porchlight"},
		Gzip:       gzip,
		Labels: map[string]string{
			"org.opencontainers.image.title":    "porchlight",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.source":   "https://" + module,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	for _, p := range programs {
		spec.Files = append(spec.Files, oci.File{
			Host:         filepath.Join(bin, filepath.Base(p.folder)),
			Path:         "/usr/local/bin/" + p.name,
			Mode:         0o755,
			Capabilities: p.capabilities,
		})
	}
	return spec
}

var notInTag = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// tag makes a version a valid tag of an image.
func tag(version string) string {
	t := strings.TrimLeft(notInTag.ReplaceAllString(version, "-"), ".-")
	if len(t) > 128 {
		t = t[:128]
	}
	return t
}
