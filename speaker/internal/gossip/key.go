package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// +kubebuilder:rbac:groups="",namespace=porchlight-system,resources=secrets,resourceNames=porchlight-gossip,verbs=get

// Key reads the gossip key, and waits for the controller to make it.
func Key(ctx context.Context, log *slog.Logger, core rest.Interface, namespace string) ([]byte, error) {
	for {
		var secret corev1.Secret
		err := core.Get().Namespace(namespace).Resource("secrets").Name(names.GossipSecret).Do(ctx).Into(&secret)
		key := secret.Data[names.GossipKey]
		switch {
		case err == nil && len(key) == 32:
			return key, nil
		case err == nil:
			err = fmt.Errorf("entry %q has %d bytes, not 32", names.GossipKey, len(key))
		}
		log.Info("waiting for the gossip key", "secret", names.GossipSecret, "error", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for Secret %s: %w", names.GossipSecret, context.Cause(ctx))
		case <-time.After(time.Second):
		}
	}
}
