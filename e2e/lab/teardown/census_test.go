//go:build e2e

package teardown

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// census is what the machine has, of all that a lab makes. Processes that others
// start at the same time are not in it, as TestMain hides them; nor are the
// cgroups of other labs.
type census struct {
	processes, namespaces, mounts, cgroups, files []string
}

// takeCensus counts. A process is in it when it is in any namespace other than
// this program's, or when it names the lab.
func takeCensus(t *testing.T, name, state string) census {
	t.Helper()
	var c census
	own := namespaces(os.Getpid())
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(command) == 0 { // gone, or the kernel's own
			continue
		}
		line := strings.ReplaceAll(string(command), "\x00", " ")
		other := false
		for kind, ns := range namespaces(pid) {
			if ns != "" && ns != own[kind] {
				other = true
				c.namespaces = append(c.namespaces, ns)
			}
		}
		if other || strings.Contains(line, state) || strings.Contains(line, name) {
			c.processes = append(c.processes, fmt.Sprint(pid, " ", line))
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	c.mounts = strings.Split(string(b), "\n")
	c.cgroups = walk(t, "/sys/fs/cgroup", func(path string) bool {
		return !strings.Contains(path, "/porchlight-") || strings.Contains(path, "/porchlight-"+name)
	})
	c.files = append(walk(t, state, nil), walk(t, "/run/netns", nil)...)
	slices.Sort(c.namespaces)
	c.namespaces = slices.Compact(c.namespaces)
	return c
}

func namespaces(pid int) map[string]string {
	ns := map[string]string{}
	for _, kind := range []string{"net", "mnt", "pid", "uts", "ipc", "cgroup"} {
		link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind))
		if err == nil {
			ns[kind] = link
		}
	}
	return ns
}

// walk lists the directories below root for which keep holds, files too when
// keep is nil.
func walk(t *testing.T, root string, keep func(string) bool) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (keep == nil || d.IsDir() && keep(path)) {
			all = append(all, path)
		}
		return nil // what goes away meanwhile is not there
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// expectNothingNew fails when the machine has more than before. Programs that
// were told to end get a moment.
func expectNothingNew(t *testing.T, before census, name, state string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		left := difference(takeCensus(t, name, state), before)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func difference(now, before census) []string {
	var left []string
	for _, kind := range []struct {
		name        string
		now, before []string
	}{
		{"process", now.processes, before.processes},
		{"namespace", now.namespaces, before.namespaces},
		{"mount", now.mounts, before.mounts},
		{"cgroup", now.cgroups, before.cgroups},
		{"file", now.files, before.files},
	} {
		for _, thing := range kind.now {
			if !slices.Contains(kind.before, thing) {
				left = append(left, kind.name+" "+thing)
			}
		}
	}
	return left
}
