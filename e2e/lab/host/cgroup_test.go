package host

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// A lab weighs what its nodes do together, in either version; what has no such
// file is left alone.
func TestGroupsWeighWhatMachinesDo(t *testing.T) {
	for _, c := range []struct {
		file string
		h    hierarchy
		one  int
	}{
		{"cpu.shares", hierarchy{}, 1024},
		{"cpu.weight", hierarchy{v2: true}, 100},
		{"memory.limit_in_bytes", hierarchy{}, 0},
	} {
		lab := t.TempDir()
		file := func(group string) string { return filepath.Join(lab, group, c.file) }
		write := func(group string) {
			t.Helper()
			if err := os.MkdirAll(filepath.Join(lab, group), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file(group), []byte("1"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write("")
		for _, node := range []string{"node1", "node2", "node3"} {
			write(node)
			if err := weigh(c.h, filepath.Join(lab, node)); err != nil {
				t.Fatal(err)
			}
		}
		for group, hosts := range map[string]int{"": 3, "node1": 1, "node3": 1} {
			want := strconv.Itoa(hosts * c.one * runtime.NumCPU())
			if c.one == 0 {
				want = "1"
			}
			if got, err := os.ReadFile(file(group)); err != nil || string(got) != want {
				t.Errorf("%q of the lab's group %q is %s, want %s: %v", c.file, group, got, want, err)
			}
		}
	}
}
