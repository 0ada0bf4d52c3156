package apply

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: "TCP"}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestWrittenOnDifferenceOnly(t *testing.T) {
	ctx := context.Background()
	c := fake.NewClientBuilder().Build()
	put := func(what string, s *corev1.Service, want bool) {
		t.Helper()
		if wrote, err := Object(ctx, c, s); err != nil || wrote != want {
			t.Errorf("%s: written %v, %v; want %v", what, wrote, err, want)
		}
	}
	live := func(change func(*corev1.Service)) {
		t.Helper()
		var s corev1.Service
		if err := c.Get(ctx, client.ObjectKey{Namespace: "ns", Name: "s"}, &s); err != nil {
			t.Fatal(err)
		}
		change(&s)
		if err := c.Update(ctx, &s); err != nil {
			t.Fatal(err)
		}
	}
	put("new", service(nil), true)
	put("the same", service(nil), false)
	live(func(s *corev1.Service) {
		s.Spec.ClusterIP, s.Labels["c"], s.Spec.Ports[0].NodePort = "10.0.0.1", "d", 30000
	})
	put("others added to it", service(nil), false)
	live(func(s *corev1.Service) { s.Labels["a"] = "x" })
	put("somebody changed it", service(nil), true)
	put("more is wanted", service(func(s *corev1.Service) { s.Labels["e"] = "f" }), true)
	put("less is wanted", service(nil), true)
	put("at rest", service(nil), false)
}
