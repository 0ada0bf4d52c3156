package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A hierarchy is one mounted cgroup tree: one of many in version 1, the only
// one in version 2.
type hierarchy struct {
	mount   string // where it is mounted on this machine
	options string // version 1: controllers, or name=…
	v2      bool
}

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies lists the cgroup trees in use: the unified one where it is
// mounted at the root, otherwise those of version 1.
func hierarchies() ([]hierarchy, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return nil, fmt.Errorf("cgroups: statfs %s: %w", cgroupRoot, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return []hierarchy{{mount: cgroupRoot, v2: true}}, nil
	}
	mounts, err := mountinfo("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var hs []hierarchy
	for _, m := range mounts {
		if m.fstype != "cgroup" || filepath.Dir(m.target) != cgroupRoot {
			continue
		}
		var opts []string
		for _, o := range strings.Split(m.options, ",") {
			switch o {
			case "rw", "ro", "xattr", "release_agent", "clone_children":
			default:
				if !strings.HasPrefix(o, "release_agent=") {
					opts = append(opts, o)
				}
			}
		}
		if strings.HasPrefix(strings.Join(opts, ","), "name=") {
			opts = append([]string{"none"}, opts...)
		}
		hs = append(hs, hierarchy{mount: m.target, options: strings.Join(opts, ",")})
	}
	if len(hs) == 0 {
		return nil, fmt.Errorf("cgroups: nothing is mounted below %s", cgroupRoot)
	}
	return hs, nil
}

// makeCgroup creates path, such as porchlight-NAME/node1, in every hierarchy,
// and has it weigh what a machine does.
func makeCgroup(path string) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		dir := h.mount
		for _, part := range strings.Split(path, "/") {
			if h.v2 {
				enableControllers(dir)
			}
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("cgroups: %w", err)
			}
			if !h.v2 {
				inheritCPUSets(parent, dir)
			}
		}
		if err := weigh(h, dir); err != nil {
			return err
		}
	}
	return nil
}

// weighing is held by who counts a lab's hosts: those start at the same time.
var weighing sync.Mutex

// weigh gives a host's group the weight of as many processes as there are
// processors, and the lab's around it that of its hosts together. Left alone,
// either weighs as much as one process of the machine: all pods of all nodes
// then stand still for seconds while a build runs beside them.
func weigh(h hierarchy, dir string) error {
	file, one, most := "cpu.shares", 1024, 1<<18
	if h.v2 {
		file, one, most = "cpu.weight", 100, 10000
	}
	weighing.Lock()
	defer weighing.Unlock()
	lab := filepath.Dir(dir)
	if _, err := os.Stat(filepath.Join(dir, file)); errors.Is(err, fs.ErrNotExist) {
		return nil // of another controller, or one that the kernel refuses
	}
	hosts, err := filepath.Glob(filepath.Join(lab, "*", file))
	if err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	for group, processes := range map[string]int{dir: runtime.NumCPU(), lab: len(hosts) * runtime.NumCPU()} {
		weight := strconv.Itoa(min(processes*one, most))
		if err := os.WriteFile(filepath.Join(group, file), []byte(weight), 0o644); err != nil {
			return fmt.Errorf("cgroups: %w", err)
		}
	}
	return nil
}

// inheritCPUSets copies the values of version 1's cpuset controller, without
// which no process may enter the group. Other controllers have no such files.
func inheritCPUSets(parent, dir string) {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if b, err := os.ReadFile(filepath.Join(parent, file)); err == nil {
			_ = os.WriteFile(filepath.Join(dir, file), b, 0o644)
		}
	}
}

// enableControllers gives the children of dir every controller that dir has.
// One that the kernel refuses (a controller that another owner holds back) is
// left out: the kubelet says which it misses.
func enableControllers(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(b)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

// leaf is the group of a host's own processes, beside those of its containers.
// In version 2 a group that has children with controllers holds none itself. In
// version 1 it could, and each thread of the host would weigh as much as all
// containers together, which then wait for seconds while the kubelet and
// containerd are busy; on a real node they weigh at least as much as the system.
const leaf = "init"

// makeLeaf makes the leaf of the group dir.
func makeLeaf(h hierarchy, dir string) error {
	child := filepath.Join(dir, leaf)
	if err := os.Mkdir(child, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cgroups: %w", err)
	}
	if !h.v2 {
		inheritCPUSets(dir, child)
	}
	return nil
}

// joinCgroup moves the calling process into path in every hierarchy.
func joinCgroup(path string, toLeaf bool) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range hs {
		dir := filepath.Join(h.mount, path)
		if toLeaf {
			if err := makeLeaf(h, dir); err != nil {
				return err
			}
			dir = filepath.Join(dir, leaf)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("cgroups: enter %s: %w", dir, err)
		}
	}
	return nil
}

// RemoveCgroup removes the cgroup path and all below it in every hierarchy.
// Its processes must have been killed; the kernel needs a moment to forget
// them, for which it waits up to limit.
func RemoveCgroup(path string, limit time.Duration) error {
	hs, err := hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(limit)
	for _, h := range hs {
		for {
			err := removeTree(filepath.Join(h.mount, path))
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("cgroups: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rmdir %s: %w", dir, err)
	}
	return nil
}

type mountEntry struct{ target, fstype, options string }

// mountinfo reads a file of the form of /proc/PID/mountinfo, proc(5).
func mountinfo(path string) ([]mountEntry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	defer f.Close()
	var ms []mountEntry
	for sc := bufio.NewScanner(f); sc.Scan(); {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		ms = append(ms, mountEntry{target: left[4], fstype: right[0], options: right[2]})
	}
	return ms, nil
}
