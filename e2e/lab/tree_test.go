package lab

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The copy has what belongs to the checkout, as it is on the disk: edited, not
// yet added, and without what is ignored or gone.
func TestCopyCheckout(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	for name, content := range map[string]string{
		".gitignore": "/bin/\n", "a/tracked": "old", "gone": "old", "bin/made": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../a", filepath.Join(from, "a/link")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}} {
		if out, err := exec.Command("git", append([]string{"-C", from}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	for name, content := range map[string]string{"a/tracked": "edited", "new": "new"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(from, "gone")); err != nil {
		t.Fatal(err)
	}

	if err := copyCheckout(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(to, path)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			got[name] = "-> " + target
			return err
		}
		content, err := os.ReadFile(path)
		got[name] = string(content)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{".gitignore": "/bin/\n", "a/tracked": "edited", "a/link": "-> ../a", "new": "new"}
	if !maps.Equal(got, want) {
		t.Errorf("the copy has %q; want %q", got, want)
	}
	if info, err := os.Stat(filepath.Join(to, "a/tracked")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the copy's mode is %v, %v; want that of the file", info.Mode(), err)
	}
}
