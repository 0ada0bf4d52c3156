package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// +kubebuilder:rbac:groups="",namespace=porchlight-system,resources=secrets,resourceNames=porchlight-gossip,verbs=get

// Key reads the gossip key, and waits for the controller to make it.
func Key(ctx context.Context, log *slog.Logger, api client.Reader, namespace string) ([]byte, error) {
	name := types.NamespacedName{Namespace: namespace, Name: names.GossipSecret}
	for {
		var secret corev1.Secret
		err := api.Get(ctx, name, &secret)
		key := secret.Data[names.GossipKey]
		switch {
		case err == nil && len(key) == 32:
			return key, nil
		case err == nil:
			err = fmt.Errorf("entry %q has %d bytes, not 32", names.GossipKey, len(key))
		}
		log.Info("waiting for the gossip key", "secret", name, "error", err)
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for Secret %s: %w", name, context.Cause(ctx))
		case <-time.After(time.Second):
		}
	}
}
