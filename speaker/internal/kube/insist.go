package kube

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Insist tries once a second until it succeeds, and says in the log what has to
// be tried again. Its error is the last one, once ctx has ended.
func Insist(ctx context.Context, log *slog.Logger, doing string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		log.Warn(doing+": trying again", "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", doing, err)
		case <-time.After(time.Second):
		}
	}
}
