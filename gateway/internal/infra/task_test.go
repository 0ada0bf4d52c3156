package infra

import (
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/manager"
)

// The Services of Gateways that want none go, but not those that another
// installation made, or that do not record who did.
func TestServicesOfAnotherInstallationStay(t *testing.T) {
	made := func(gateway, installation string) *corev1.Service {
		w := wanted()
		w.Name.Name, w.Fleet.Namespace = gateway, installation
		s := service(w, &v1beta1.EnvoyFleet{}, nil)
		return s
	}
	unknown := made("unknown", "")
	delete(unknown.Labels, fleetNamespace)
	services := map[*corev1.Service]bool{ // whether it stays
		made("wanted", "first"): true, made("gone", "first"): false, made("theirs", "second"): true, unknown: true,
	}
	b := fake.NewClientBuilder().WithScheme(manager.Scheme())
	for s := range services {
		b.WithObjects(s)
	}
	c := b.Build()
	task := New(c, c, nil, "first", DefaultRange, slog.New(slog.DiscardHandler))
	if err := task.prune(t.Context(), map[types.NamespacedName]*Wanted{name("wanted"): wanted()}); err != nil {
		t.Fatal(err)
	}
	for s, stays := range services {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(s), &corev1.Service{})
		if (err == nil) != stays {
			t.Errorf("Service %s: %v; want it to stay: %v", s.Name, err, stays)
		}
	}
}
