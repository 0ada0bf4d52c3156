package infra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

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

// A Service that the API server refuses is told of once, with its Gateway, and
// others are made meanwhile. Once it is admitted, nothing is refused any more.
func TestRefusedService(t *testing.T) {
	bad, good := wanted(), wanted()
	bad.Name.Name, good.Name.Name = "bad", "good"
	refuse := true
	c := fake.NewClientBuilder().WithScheme(manager.Scheme()).WithInterceptorFuncs(interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if u := o.(interface{ GetName() string }); refuse && u.GetName() == ServiceName("bad") {
				return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), u.GetName(),
					field.ErrorList{field.Invalid(field.NewPath("metadata", "labels"), "a b", "not a label")})
			}
			return c.Apply(ctx, o, opts...)
		},
	}).Build()
	task := New(c, c, nil, "ns", DefaultRange, slog.New(slog.DiscardHandler))
	task.ports = NewPorts(task.Range)
	plan := Plan{Gateways: []Wanted{*bad, *good}, Fleets: map[types.NamespacedName]*v1beta1.EnvoyFleet{bad.Fleet: {}}}
	if _, err := task.follow(t.Context(), plan); !apierrors.IsInvalid(err) {
		t.Fatalf("it went on with %v", err)
	}
	if refused, _ := task.Refused.Peek(); len(refused) != 1 || !strings.Contains(refused[bad.Name], "not a label") {
		t.Errorf("refused: %v", refused)
	}
	select {
	case <-task.Refused.Wake():
	default:
		t.Error("nobody was woken")
	}
	if _, err := task.follow(t.Context(), plan); !apierrors.IsInvalid(err) {
		t.Fatalf("it went on with %v", err)
	}
	select {
	case <-task.Refused.Wake():
		t.Error("it is told of again")
	default:
	}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: good.Name.Namespace, Name: ServiceName("good")}, &corev1.Service{}); err != nil {
		t.Errorf("the other Service: %v", err)
	}
	refuse = false
	if _, err := task.follow(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if refused, _ := task.Refused.Peek(); len(refused) != 0 {
		t.Errorf("still refused: %v", refused)
	}
}

// What may be over when it is tried again is no refusal.
func TestRefusals(t *testing.T) {
	kind := corev1.Resource("services")
	for err, want := range map[error]bool{
		nil:                                   false,
		errors.New("connection refused"):      false,
		apierrors.NewConflict(kind, "x", nil): false,
		fmt.Errorf("applying: %w", apierrors.NewForbidden(kind, "x", errors.New("quota"))): true,
		apierrors.NewBadRequest("admission webhook denied the request"):                    true,
	} {
		if why, got := refusal(err); got != want || got && why == "" {
			t.Errorf("refusal(%v) = %q, %v", err, why, got)
		}
	}
}
