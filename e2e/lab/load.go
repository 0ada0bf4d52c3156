package lab

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
)

// Load imports an image archive into every node that is on.
func (l *Lab) Load(ctx context.Context, archive string) error {
	u, err := l.running()
	if err != nil {
		return err
	}
	file, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range u.byRole(Node) {
		if u.pids[n.Name] == 0 {
			continue
		}
		g.Go(func() error {
			cmd := u.command(gctx, n.Name, "ctr", "--address", build.ContainerdSocket, "--namespace", "k8s.io",
				"images", "import", "--snapshotter", u.record.Programs.Snapshotter, file)
			if b, err := cmd.CombinedOutput(); err != nil {
				return u.failed(n.Name, "import "+archive, "containerd", fmt.Errorf("%w: %s", err, b))
			}
			return nil
		})
	}
	return g.Wait()
}
