package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors of process 1.
const (
	// readyFD takes its report: nothing when all is prepared, else the error.
	readyFD = 3
	// tetherFD of a tethered host is at its end when the starter is.
	tetherFD = 4
)

// Boot is the life of process 1 of a host: it prepares the namespaces that it
// was started in, reports on descriptor 3, and then adopts and reaps orphans
// until it is killed.
func Boot(state, name string) {
	runtime.LockOSThread() // namespaces belong to threads; outsiders look at the first
	report := os.NewFile(readyFD, "ready")
	spec, err := readSpec(state, name)
	if err == nil {
		err = prepare(spec)
	}
	if err != nil {
		fmt.Fprint(report, err)
		os.Exit(1)
	}
	report.Close()
	if spec.Tethered {
		go func() {
			_, _ = os.NewFile(tetherFD, "tether").Read(make([]byte, 1))
			os.Exit(0)
		}()
	}

	orphans := make(chan os.Signal, 64)
	signal.Notify(orphans, unix.SIGCHLD)
	for range orphans {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if pid <= 0 {
				break
			}
		}
	}
}

func prepare(s Spec) error {
	hs, err := enterCgroups(s)
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	// Slave: what the machine unmounts disappears here too, what is mounted
	// here stays here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := ownRun(s.State); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if err := mountCgroups(hs); err != nil {
		return err
	}
	for _, dir := range s.Overlays {
		if err := overlay(dir); err != nil {
			return err
		}
	}
	if len(s.Overlays) > 0 {
		if err := bind(stateInRun, s.State); err != nil {
			return err
		}
	}
	for _, m := range s.Mounts {
		if err := os.MkdirAll(m.Target, 0o755); err != nil {
			return fmt.Errorf("mount point: %w", err)
		}
		if err := bind(m.Source, m.Target); err != nil {
			return err
		}
		if m.Shared {
			if err := mount("", m.Target, "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
				return err
			}
		}
	}
	for _, c := range s.Sysctls {
		if err := setSysctl(c); err != nil {
			return err
		}
	}
	return maskTunables(s.Tunables)
}

// enterCgroups makes the host's own cgroups the root of what it sees.
func enterCgroups(s Spec) ([]hierarchy, error) {
	if s.Cgroup == "" {
		return nil, nil
	}
	hs, err := hierarchies()
	if err != nil {
		return nil, err
	}
	if err := joinCgroup(s.Cgroup, false); err != nil {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return nil, fmt.Errorf("cgroup namespace: %w", err)
	}
	if err := joinCgroup(s.Cgroup, true); err != nil {
		return nil, err
	}
	for _, h := range hs {
		if h.v2 {
			enableControllers(filepath.Join(h.mount, s.Cgroup))
		}
	}
	return hs, nil
}

func mountCgroups(hs []hierarchy) error {
	if len(hs) == 0 {
		return nil
	}
	if hs[0].v2 {
		return mount("cgroup2", cgroupRoot, "cgroup2", 0, "")
	}
	if err := mount("tmpfs", cgroupRoot, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, h := range hs {
		if err := os.Mkdir(h.mount, 0o755); err != nil {
			return fmt.Errorf("cgroups: %w", err)
		}
		if err := mount("cgroup", h.mount, "cgroup", 0, h.options); err != nil {
			return err
		}
	}
	return nil
}

// The lab's directory, reachable whatever is mounted over its path later.
const stateInRun = "/run/porchlight/lab"

// ownRun gives the host an empty /run of its own: sockets, locks and network
// namespaces of the machine are not there, and those of the host stay inside.
func ownRun(state string) error {
	mounts, err := mountinfo("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if strings.HasPrefix(mounts[i].target, "/run/") {
			_ = unix.Unmount(mounts[i].target, unix.MNT_DETACH)
		}
	}
	if err := mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{stateInRun, "/run/netns", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("prepare /run: %w", err)
		}
	}
	return bind(state, stateInRun)
}

// overlay mounts a writable view of dir over it; changes are kept in memory.
func overlay(dir string) error {
	base := filepath.Join("/run/porchlight/overlay", strings.ReplaceAll(dir, "/", "-"))
	upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("prepare overlay of %s: %w", dir, err)
		}
	}
	return mount("overlay", dir, "overlay", 0, "lowerdir="+dir+",upperdir="+upper+",workdir="+work)
}

func maskTunables(ts []Sysctl) error {
	for i, t := range ts {
		path := filepath.Join("/proc/sys", t.Path)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && t.Optional {
			continue
		}
		file := fmt.Sprintf("/run/porchlight/tunable-%d", i)
		if err := os.WriteFile(file, []byte(t.Value+"\n"), 0o644); err != nil {
			return fmt.Errorf("mask %s: %w", path, err)
		}
		if err := bind(file, path); err != nil {
			return err
		}
	}
	return nil
}

func setSysctl(c Sysctl) error {
	path := filepath.Join("/proc/sys", c.Path)
	err := os.WriteFile(path, []byte(c.Value), 0o644)
	if errors.Is(err, fs.ErrNotExist) && c.Optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", c.Path, c.Value, err)
	}
	return nil
}

func bind(source, target string) error {
	return mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
}

func mount(source, target, fstype string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", source, fstype, target, err)
	}
	return nil
}
