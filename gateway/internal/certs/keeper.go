package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// +kubebuilder:rbac:groups="",namespace=porchlight-system,roleName=porchlight-gateway,resources=secrets,verbs=create;update

// Keeper keeps the Secrets. It writes, so it belongs to the leader; it is not
// safe for concurrent use.
//
// An authority is replaced in three steps. The new one is made, and believed
// beside the one before it. After an overlap, when everybody has learnt of it,
// it signs the leaves anew. After another, when everybody has those, the one
// before is believed no more. To delete AuthoritySecret is to begin this.
type Keeper struct {
	Client client.Client
	// Uncached reads the gateway's Deployment, which owns what is no fleet's.
	Uncached  client.Reader
	Namespace string
	// Overlap is how long the kubelets may take, at the most, to bring a Secret
	// to all pods.
	Overlap time.Duration
	Now     func() time.Time
	Log     *slog.Logger

	installation []metav1.OwnerReference // nil: not read yet
}

// DefaultOverlap is many times what a kubelet takes, about a minute.
const DefaultOverlap = 2 * time.Hour

// CheckEvery is how often Keep should be called when nothing else asks for it.
func (k *Keeper) CheckEvery() time.Duration { return min(time.Hour, k.Overlap/2) }

// Holder is a fleet that has a client certificate.
type Holder struct {
	Fleet string
	// Owner of the Secret: it goes when the owner does.
	Owner metav1.OwnerReference
}

// Keep makes what is missing and renews what is due: the authority, the
// server's certificate, and those of the fleets.
func (k *Keeper) Keep(ctx context.Context, fleets []Holder) error {
	if err := k.readInstallation(ctx); err != nil {
		return err
	}
	ca, err := k.authority(ctx)
	if err != nil {
		return err
	}
	server := ServerName(k.Namespace)
	serverNames := []string{server, server + ".cluster.local"}
	settled, err := k.leaf(ctx, ca, ServerSecret, x509.ExtKeyUsageServerAuth, serverNames, k.installation)
	if err != nil {
		return err
	}
	for _, h := range fleets {
		id := Identity(types.NamespacedName{Namespace: k.Namespace, Name: h.Fleet})
		has, err := k.leaf(ctx, ca, FleetSecret(h.Fleet), x509.ExtKeyUsageClientAuth, []string{id}, []metav1.OwnerReference{h.Owner})
		if err != nil {
			return err
		}
		settled = settled && has
	}
	if alone := ca.Alone(); settled && !bytes.Equal(alone.Bundle, ca.Bundle) {
		return k.forget(ctx, alone)
	}
	return nil
}

// readInstallation reads, once, who owns the Secrets that are no fleet's: with
// the Deployment that this program runs in they go. Where there is none, they
// have no owner.
func (k *Keeper) readInstallation(ctx context.Context) error {
	if k.installation != nil {
		return nil
	}
	var d appsv1.Deployment
	key := client.ObjectKey{Namespace: k.Namespace, Name: gateway}
	err := k.Uncached.Get(ctx, key, &d)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("reading Deployment %s: %w", key, err)
	}
	k.installation = []metav1.OwnerReference{}
	if err == nil {
		k.installation = append(k.installation, metav1.OwnerReference{
			APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: d.Name, UID: d.UID,
		})
	}
	return nil
}

// forget stores the authority without those before it; the next Keep hands that
// on.
func (k *Keeper) forget(ctx context.Context, ca *Authority) error {
	s, err := k.get(ctx, AuthoritySecret)
	if err != nil {
		return err
	}
	return k.put(ctx, s, k.installation, ca.Pair, ca.Bundle)
}

func (k *Keeper) authority(ctx context.Context) (*Authority, error) {
	now := k.Now()
	s, err := k.get(ctx, AuthoritySecret)
	if err != nil {
		return nil, err
	}
	// Where the Secret is gone, or garbage, those who have leaves still tell
	// whom to believe.
	server, err := k.get(ctx, ServerSecret)
	if err != nil {
		return nil, err
	}
	before := append(slices.Clone(s.Data[BundleKey]), server.Data[BundleKey]...)
	ca, parseErr := ParseAuthority(now, pair(s), s.Data[BundleKey])
	switch {
	case parseErr == nil && !ca.Due(now) && bytes.Equal(ca.Bundle, s.Data[BundleKey]) && ownedBy(s, k.installation):
		return ca, nil
	case parseErr == nil && !ca.Due(now):
	case s.ResourceVersion != "" && parseErr != nil:
		k.Log.Warn("the xDS authority is unusable and is replaced", "secret", AuthoritySecret, "error", parseErr)
		fallthrough
	default:
		if ca, err = NewAuthority(now, before); err != nil {
			return nil, err
		}
	}
	return ca, k.put(ctx, s, k.installation, ca.Pair, ca.Bundle)
}

// leaf keeps one leaf, and says whether it is settled: see Authority.Settled.
func (k *Keeper) leaf(ctx context.Context, ca *Authority, name string, usage x509.ExtKeyUsage, dns []string, owners []metav1.OwnerReference) (settled bool, err error) {
	s, err := k.get(ctx, name)
	if err != nil {
		return false, err
	}
	p := pair(s)
	due := ca.LeafDue(k.Now(), k.Overlap, p, dns...)
	if !due && bytes.Equal(s.Data[BundleKey], ca.Bundle) && ownedBy(s, owners) {
		return ca.Settled(k.Now(), k.Overlap, p), nil
	}
	if due {
		if p, err = ca.Leaf(k.Now(), usage, dns...); err != nil {
			return false, err
		}
	}
	return false, k.put(ctx, s, owners, p, ca.Bundle)
}

// get returns the Secret, or one that is to be created.
func (k *Keeper) get(ctx context.Context, name string) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	key := client.ObjectKey{Namespace: k.Namespace, Name: name}
	if err := k.Client.Get(ctx, key, s); apierrors.IsNotFound(err) {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: k.Namespace, Name: name,
				Labels: map[string]string{names.ManagedBy: names.Porchlight},
			},
			Type: corev1.SecretTypeTLS,
		}, nil
	} else if err != nil {
		return nil, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	return s, nil
}

func (k *Keeper) put(ctx context.Context, s *corev1.Secret, owners []metav1.OwnerReference, p Pair, bundle []byte) error {
	s = s.DeepCopy()
	s.OwnerReferences = owners
	s.Data = map[string][]byte{
		corev1.TLSCertKey:       p.Certificate,
		corev1.TLSPrivateKeyKey: p.Key,
		BundleKey:               slices.Clone(bundle),
	}
	write := k.Client.Update
	if s.ResourceVersion == "" {
		write = func(ctx context.Context, o client.Object, _ ...client.UpdateOption) error {
			return k.Client.Create(ctx, o)
		}
	}
	if err := write(ctx, s); err != nil {
		return fmt.Errorf("writing Secret %s/%s: %w", s.Namespace, s.Name, err)
	}
	k.Log.Info("certificate written", "secret", s.Name)
	return nil
}

// ownedBy says that those, and no others, own the Secret.
func ownedBy(s *corev1.Secret, owners []metav1.OwnerReference) bool {
	return slices.EqualFunc(s.OwnerReferences, owners, func(a, b metav1.OwnerReference) bool { return a.UID == b.UID })
}

func pair(s *corev1.Secret) Pair {
	return Pair{Certificate: s.Data[corev1.TLSCertKey], Key: s.Data[corev1.TLSPrivateKeyKey]}
}
