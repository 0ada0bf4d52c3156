package cluster

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// Suite runs the tests of a package in the lab, prepare before the first and
// finish after the last, or after a failure to prepare. It returns the exit
// code.
func Suite(m *testing.M, prepare, finish func(context.Context, *Cluster) error) (code int) {
	ctx := context.Background()
	c, err := Open()
	if err == nil {
		defer func() {
			if err := finish(ctx, c); err != nil {
				fmt.Fprintln(os.Stderr, "finishing the suite:", err)
				code = 1
			}
		}()
		err = prepare(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preparing the suite:", err)
		return 1
	}
	return m.Run()
}
