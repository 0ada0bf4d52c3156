package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// ContainerdSocket is containerd's address, inside a host.
const ContainerdSocket = "/run/containerd/containerd.sock"

// CNIConfigDir is where a node's containerd looks for its pod network.
const CNIConfigDir = "/run/cni/net.d"

// ContainerdConfig is the configuration of a node's containerd whose images
// and containers are in root.
func ContainerdConfig(root, snapshotter, cniPlugins string) string {
	return fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
[grpc]
address = %q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %q
conf_dir = %q
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = %q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`, root, ContainerdSocket, PauseImage, cniPlugins, CNIConfigDir, snapshotter)
}

// CNIPlugins returns the directory that the distribution keeps its CNI
// plugins in.
func CNIPlugins() (string, error) {
	dirs := []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no CNI plugins in %s: run make deps", strings.Join(dirs, ", "))
}

// Snapshotter returns the name of the containerd snapshotter that works in all
// of dirs, which need not exist yet: overlayfs, or native where one is itself
// on an overlay.
func Snapshotter(dirs ...string) (string, error) {
	for _, dir := range dirs {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		for errors.Is(err, unix.ENOENT) && dir != "/" {
			dir = filepath.Dir(dir)
			err = unix.Statfs(dir, &st)
		}
		if err != nil {
			return "", fmt.Errorf("file system of %s: %w", dir, err)
		}
		if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
			return "native", nil
		}
	}
	return "overlayfs", nil
}

// ContainerdRoot returns a containerd root directory that has all lab images,
// unpacked. It is a master: CloneRoot makes the copy that a node may write.
func (c Cache) ContainerdRoot(ctx context.Context, snapshotter string) (string, error) {
	archives, err := c.Images(ctx)
	if err != nil {
		return "", err
	}
	init, err := c.Hostinit(ctx)
	if err != nil {
		return "", err
	}
	plugins, err := CNIPlugins()
	if err != nil {
		return "", err
	}
	version, err := exec.CommandContext(ctx, "containerd", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("containerd --version: %w", err)
	}
	inputs := append([]string{string(version), snapshotter, ContainerdConfig("", snapshotter, plugins)}, archives...)
	dir, err := c.entry(ctx, "containerd", inputs, func(ctx context.Context, dir string) error {
		c.logf("unpacking the lab's images, once")
		return fillRoot(ctx, init, dir, ContainerdConfig(filepath.Join(dir, "root"), snapshotter, plugins), snapshotter, archives)
	})
	return filepath.Join(dir, "root"), err
}

func fillRoot(ctx context.Context, init, dir, config, snapshotter string, archives []string) (err error) {
	file := filepath.Join(dir, "containerd.toml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	pid, err := host.Start(ctx, init, host.Spec{State: dir, Name: "builder", Tethered: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Kill(context.WithoutCancel(ctx), pid)) }()

	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	daemon := exec.CommandContext(ctx, init, host.ArgEnter, strconv.Itoa(pid), "containerd", "-c", file)
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	ctr := func(args ...string) ([]byte, error) {
		args = append([]string{host.ArgEnter, strconv.Itoa(pid), "ctr", "--address", ContainerdSocket, "--namespace", "k8s.io"}, args...)
		return exec.CommandContext(ctx, init, args...).CombinedOutput()
	}
	for {
		if _, err := ctr("version"); err == nil {
			break
		}
		select {
		case err := <-ended:
			return fmt.Errorf("containerd ended, see %s: %w", log.Name(), err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, a := range archives {
		if b, err := ctr("images", "import", "--snapshotter", snapshotter, a); err != nil {
			return fmt.Errorf("import %s: %w\n%s", a, err, b)
		}
	}
	// Ended in order, so that its databases are whole.
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end containerd: %w", err)
	}
	select {
	case <-ended:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("containerd does not end")
	}
}

// CloneRoot makes target a copy of the master root from ContainerdRoot. What
// containerd never changes in place, layers and blobs, is shared by hard link
// where both are on one file system.
func CloneRoot(ctx context.Context, master, target string) error {
	part := target + ".part"
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("containerd root: %w", err)
	}
	if _, err := Output(exec.CommandContext(ctx, "cp", "-al", master, part)); err != nil {
		if err := os.RemoveAll(part); err != nil {
			return fmt.Errorf("containerd root: %w", err)
		}
		if b, err := Output(exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", master, part)); err != nil {
			return fmt.Errorf("copy %s: %w\n%s", master, err, b)
		}
	}
	err := filepath.WalkDir(part, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".db" || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o644)
	})
	if err != nil {
		return fmt.Errorf("containerd root: %w", err)
	}
	return os.Rename(part, target)
}
