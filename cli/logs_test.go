package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
)

func TestLogSources(t *testing.T) {
	var pods []corev1.Pod
	for _, p := range []struct{ name, label, value, node string }{
		{"c1", inventory.ComponentLabel, "controller", "node1"}, {"c2", inventory.ComponentLabel, "controller", "node1"},
		{"s1", inventory.ComponentLabel, "speaker", "node1"}, {"s2", inventory.ComponentLabel, "speaker", "node2"},
		{"e1", inventory.FleetLabel, "porchlight-envoy", "node2"}, {"g1", inventory.ComponentLabel, "gateway", ""},
		{"other", "app", "other", "node1"},
	} {
		pods = append(pods, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: p.name, Labels: map[string]string{p.label: p.value}}, Spec: corev1.PodSpec{NodeName: p.node},
		})
	}
	for _, c := range []struct {
		components []string
		node       string
		want       string
	}{
		{inventory.Components, "", "controller/c1 controller/c2 speaker/node1 speaker/node2"},
		{[]string{"speaker", envoy}, "node2", "envoy/node2 speaker/node2"},
		{[]string{"gateway"}, "", ""},
	} {
		o := logOptions{components: c.components, node: c.node}
		if got := strings.Join(slices.Sorted(maps.Keys(o.sources(pods))), " "); got != c.want {
			t.Errorf("%v on %q: %s, want %s", c.components, c.node, got, c.want)
		}
	}
}
