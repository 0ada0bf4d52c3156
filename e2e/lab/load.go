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
	file, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	return l.ctr(ctx, "import "+archive, func(u *run) []string {
		return []string{"import", "--snapshotter", u.record.Programs.Snapshotter, file}
	})
}

// Tag gives an image of every node that is on another name.
func (l *Lab) Tag(ctx context.Context, image, name string) error {
	return l.ctr(ctx, "name "+image+" "+name, func(*run) []string { return []string{"tag", "--force", image, name} })
}

// ctr does something with the images of every node that is on.
func (l *Lab) ctr(ctx context.Context, what string, images func(*run) []string) error {
	u, err := l.running()
	if err != nil {
		return err
	}
	args := append([]string{"ctr", "--address", build.ContainerdSocket, "--namespace", "k8s.io", "images"}, images(u)...)
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range u.byRole(Node) {
		if u.pids[n.Name] == 0 {
			continue
		}
		g.Go(func() error {
			if b, err := u.command(gctx, n.Name, args...).CombinedOutput(); err != nil {
				return u.failed(n.Name, what, "containerd", fmt.Errorf("%w: %s", err, b))
			}
			return nil
		})
	}
	return g.Wait()
}
