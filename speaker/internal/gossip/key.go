package gossip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
)

// +kubebuilder:rbac:groups="",namespace=porchlight-system,resources=secrets,resourceNames=porchlight-gossip,verbs=get;update

// keySize is that of AES-256, in bytes.
const keySize = 32

// Key reads the gossip key from its Secret, which is installed without data.
// The first speaker to read it so makes the key: of several, the API server
// takes one, and the others read that. What is there is never changed. Key
// waits for a Secret that is missing, or has something else in the key's place.
func Key(ctx context.Context, log *slog.Logger, core rest.Interface, namespace string) (key []byte, err error) {
	err = kube.Insist(ctx, log, fmt.Sprintf("reading the gossip key of Secret %s/%s", namespace, names.GossipSecret), func() (err error) {
		key, err = keyOf(ctx, core, namespace)
		for apierrors.IsConflict(err) { // another speaker was first
			key, err = keyOf(ctx, core, namespace)
		}
		if apierrors.IsNotFound(err) {
			return errors.New("it is not there: it comes with the manifests of the speaker, apply them again")
		}
		return err
	})
	return key, err
}

// keyOf reads the key, or makes it where there is none.
func keyOf(ctx context.Context, core rest.Interface, namespace string) ([]byte, error) {
	var secret corev1.Secret
	if err := core.Get().Namespace(namespace).Resource("secrets").Name(names.GossipSecret).Do(ctx).Into(&secret); err != nil {
		return nil, err
	}
	key, there := secret.Data[names.GossipKey]
	if there && len(key) != keySize {
		return nil, fmt.Errorf("its entry %q has %d bytes and not %d: remove the entry, and a new key is made", names.GossipKey, len(key), keySize)
	}
	if there {
		return key, nil
	}
	key = make([]byte, keySize)
	rand.Read(key) // never fails
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[names.GossipKey] = key
	if err := core.Put().Namespace(namespace).Resource("secrets").Name(names.GossipSecret).Body(&secret).Do(ctx).Error(); err != nil {
		return nil, err
	}
	return key, nil
}
