package kube

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
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

// read reads an object, and insists. One that is not there stays as it is.
func read(ctx context.Context, log *slog.Logger, api rest.Interface, resource, namespace, name string, into runtime.Object) error {
	return Insist(ctx, log, fmt.Sprintf("reading %s %s/%s", resource, namespace, name), func() error {
		err := api.Get().Namespace(namespace).Resource(resource).Name(name).Do(ctx).Into(into)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}
