package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cache is the directory that holds what is built once for all labs of a user.
type Cache struct {
	// Dir is the directory itself.
	Dir string
	// Source is the root of the checkout that holds the build's inputs.
	Source string
	// Log gets a line when something that takes long begins.
	Log io.Writer
}

// DefaultDir is ${XDG_CACHE_HOME:-~/.cache}/porchlight.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache directory: %w", err)
	}
	return filepath.Join(dir, "porchlight"), nil
}

// entry returns the directory NAME-KEY in the cache, where key stands for
// inputs. When it is not there, fill makes it, in a directory that becomes the
// entry when fill succeeds; of several callers at once one fills.
func (c Cache) entry(ctx context.Context, name string, inputs []string, fill func(ctx context.Context, dir string) error) (string, error) {
	dir := filepath.Join(c.Dir, name+"-"+key(inputs))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := Lock(ctx, filepath.Join(c.Dir, name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp := dir + ".part"
	if err := os.RemoveAll(tmp); err != nil { // of a build that was killed
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := fill(ctx, tmp); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return dir, nil
}

func key(inputs []string) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%d:%s", len(in), in)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// contents returns the files' contents as inputs of a key.
func (c Cache) contents(files ...string) ([]string, error) {
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(c.Source, f))
		if err != nil {
			return nil, fmt.Errorf("build inputs: %w", err)
		}
		all = append(all, string(b))
	}
	return all, nil
}

// Lock takes an exclusive lock on path, which it creates with its directory,
// and waits for it until ctx ends. The lock ends with the process at the
// latest. Its holder may remove path.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f, err := lockOnce(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if f != nil {
			return func() { f.Close() }, nil
		}
	}
}

// lockOnce returns nil when the file was removed while it waited.
func lockOnce(ctx context.Context, path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	got := make(chan error, 1)
	go func() { got <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err = <-got:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	mine, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(mine, there) {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// Output runs cmd and returns what it prints. The command is killed when this
// program is, so that no child goes on alone in a directory that somebody else
// then works in.
func Output(cmd *exec.Cmd) ([]byte, error) {
	// The kernel ties a child to the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.CombinedOutput()
}

// goBuild builds a package, static, into file out.
func (c Cache) goBuild(ctx context.Context, module, out, ldflags, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", out, pkg)
	cmd.Dir = filepath.Join(c.Source, module)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if b, err := Output(cmd); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, strings.TrimSpace(string(b)))
	}
	return nil
}

func goVersion(ctx context.Context) (string, error) {
	b, err := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	return string(b), nil
}

func (c Cache) logf(format string, args ...any) {
	if c.Log != nil {
		fmt.Fprintf(c.Log, format+"\n", args...)
	}
}
