package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// cgroupLimit is how long the kernel may take to forget killed processes.
const cgroupLimit = 20 * time.Second

// Down removes the lab and everything that it made. It needs no record of
// what that was: it works the same after an Up that was killed at any moment.
// A lab that is not there is fine.
func (l *Lab) Down(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root")
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// A child of a killed Up keeps the lock until it is process 1 of its
	// host: whoever has the lock finds them all.
	pids, err := host.Find(l.Dir)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for name, pid := range pids {
		g.Go(func() error {
			if err := host.Kill(gctx, pid); err != nil {
				return fmt.Errorf("%s: switch off: %w", name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := host.RemoveCgroup(l.cgroup(), cgroupLimit); err != nil {
		return fmt.Errorf("lab %s: %w", l.Name, err)
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("lab %s: %w", l.Name, err)
	}
	if err := os.Remove(l.Dir + ".lock"); err != nil {
		return fmt.Errorf("lab %s: %w", l.Name, err)
	}
	// The directories around go with the last lab.
	if os.Remove(filepath.Dir(l.Dir)) == nil {
		_ = os.Remove(filepath.Dir(filepath.Dir(l.Dir)))
	}
	return nil
}
