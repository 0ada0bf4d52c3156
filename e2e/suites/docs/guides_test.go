//go:build e2e

// Package docs runs the commands of the guides, as a person would who reads
// them from top to bottom.
package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/guide"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// TestMain has the lab's own installation back when all is done.
func TestMain(m *testing.M) {
	os.Exit(cluster.Suite(m, func(_ context.Context, c *cluster.Cluster) error {
		return buildCommand(c.Lab)
	}, func(ctx context.Context, c *cluster.Cluster) error {
		return c.Reinstall(ctx)
	}))
}

// buildCommand builds the porchlight command as docs/install.md does.
func buildCommand(l *lab.Lab) error {
	version, err := l.ImageTag()
	if err != nil {
		return err
	}
	cmd := exec.Command("make", "-C", l.Tree(), "build", "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make build: %w\n%s", err, out)
	}
	return nil
}

// theirs is the LAN of the guides, and ours the lab's.
const theirs, ours = "192.168.100.", "172.30.0."

func TestGuides(t *testing.T) {
	for _, page := range guide.Pages {
		t.Run(strings.TrimSuffix(page, ".md"), func(t *testing.T) {
			c := cluster.ForTest(t)
			steps, err := guide.Read(filepath.Join(c.Lab.Tree(), "docs", page))
			if err != nil {
				t.Fatal(err)
			}
			prepare(t, c, page == "install.md")
			r := newReader(t, c)
			for _, s := range steps {
				r.follow(t, page, s)
			}
		})
	}
}

// prepare gives the reader a cluster with Porchlight that nobody has told
// anything; or one without it.
func prepare(t *testing.T, c *cluster.Cluster, bare bool) {
	t.Helper()
	if bare {
		if err := c.Wipe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := c.Kubectl("delete", "--all", "-n", cluster.System, "--wait",
		"bgppeers.porchlight.dev,bgpadvertisements,l2advertisements,ipaddresspools,bfdprofiles.porchlight.dev,communities"); err != nil {
		t.Fatal(err)
	}
}

// reader is a person at a shell in the root of what is installed, with a
// namespace and a folder for temporary files of her own.
type reader struct {
	*cluster.Cluster
	environment []string
	tmp         string
}

func newReader(t *testing.T, c *cluster.Cluster) *reader {
	t.Helper()
	kubectl, err := c.Lab.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := os.ReadFile(c.Lab.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	own := filepath.Join(tmp, "kubeconfig")
	if err := os.WriteFile(own, admin, 0o600); err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(c.Lab.Source, "bin/tools")
	r := &reader{c, []string{
		"KUBECONFIG=" + own,
		"PATH=" + strings.Join([]string{filepath.Join(c.Lab.Tree(), "bin"), tools, filepath.Join(tools, "ansible/bin"), filepath.Dir(kubectl), os.Getenv("PATH")}, ":"),
	}, tmp + "/"}
	if out, err := r.run(t.Context(), "kubectl config set-context --current --namespace "+c.Namespace(t)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// run has bash run commands, until one fails.
func (r *reader) run(ctx context.Context, commands string) (string, error) {
	arguments := append([]string{"env", "-C", r.Lab.Tree()}, r.environment...)
	commands = strings.NewReplacer(theirs, ours, "/tmp/", r.tmp).Replace(commands)
	return r.On(ctx, lab.HostControlPlane, append(arguments, "bash", "-e", "-o", "pipefail", "-c", commands)...)
}

// follow does one step. What a person looks at may take a moment to become
// what the page says.
func (r *reader) follow(t *testing.T, page string, s guide.Step) {
	t.Helper()
	where := fmt.Sprintf("docs/%s:%d", page, s.Line)
	for i, line := range s.Prints {
		s.Prints[i] = strings.ReplaceAll(line, theirs, ours)
	}
	if len(s.Prints) == 0 {
		ctx, cancel := context.WithTimeout(t.Context(), 4*cluster.Patience)
		defer cancel()
		out, err := r.run(ctx, s.Commands)
		if err != nil {
			t.Fatalf("%s: %v\n%s", where, err, out)
		}
		t.Logf("%s\n%s\n%s", where, s.Commands, out)
		return
	}
	var out string
	cluster.Eventually(t, where+"\n"+s.Commands, func(ctx context.Context) (err error) {
		if out, err = r.run(ctx, s.Commands); err != nil {
			return err
		}
		if line, missing := s.Missing(out); missing {
			return fmt.Errorf("%q is not in what it prints:\n%s", line, out)
		}
		return nil
	})
	t.Logf("%s\n%s\n%s", where, s.Commands, out)
}
