package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
)

// Tree is a copy of the checkout, as it was when Porchlight was last built for
// the lab. Images, chart, manifests, role and guides in it are of one piece,
// whatever becomes of the checkout meanwhile. bin and dist in it are its own.
func (l *Lab) Tree() string { return l.path("tree") }

// Chart is the path of the chart that the lab installs.
func (l *Lab) Chart() string { return filepath.Join(l.Tree(), "deploy/chart/porchlight") }

// ImageTag is the tag of the images that the lab installs.
func (l *Lab) ImageTag() (string, error) {
	b, err := os.ReadFile(filepath.Join(l.Tree(), "dist/version"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("lab %s: nothing was built for it; `bin/lab up` does", l.Name)
	}
	if err != nil {
		return "", fmt.Errorf("version of the images: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// archive has the images that the lab installs.
func (l *Lab) archive() string { return filepath.Join(l.Tree(), "dist/porchlight.tar") }

// takeTree copies the checkout to Tree and builds the images there. Where
// that fails, Tree is what it was.
func (l *Lab) takeTree(ctx context.Context) error {
	l.Logf("images of the checkout")
	version, err := exec.CommandContext(ctx, "git", "-C", l.Source, "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return fmt.Errorf("ask git for the version of %s: %w", l.Source, err)
	}
	next := l.Tree() + ".next"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := copyCheckout(ctx, l.Source, next); err != nil {
		return fmt.Errorf("copy %s: %w", l.Source, err)
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-trimpath", "./deploy/images", "--version", strings.TrimSpace(string(version)), "--out", "dist")
	cmd.Dir = next
	if b, err := build.Output(cmd); err != nil {
		return fmt.Errorf("build the images: %w\n%s", err, b)
	}
	if err := os.RemoveAll(l.Tree()); err != nil {
		return err
	}
	return os.Rename(next, l.Tree())
}

// copyCheckout copies what git tracks or would, and symbolic links as such.
func copyCheckout(ctx context.Context, from, to string) error {
	list, err := exec.CommandContext(ctx, "git", "-C", from, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("list its files: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(list), "\x00"), "\x00") {
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) { // deleted, and not committed
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, info.Mode().Perm())
}
