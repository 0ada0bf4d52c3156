//go:build e2e

// Package install shows the ways to turn Porchlight on and off: each test
// begins with a cluster that has nothing of it.
package install

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// TestMain has the lab's own installation back when all is done.
func TestMain(m *testing.M) {
	os.Exit(cluster.Suite(m, func(context.Context, *cluster.Cluster) error { return nil }, func(ctx context.Context, c *cluster.Cluster) error {
		return c.Reinstall(ctx)
	}))
}

// bare is a cluster that has nothing of Porchlight.
type bare struct {
	*cluster.Cluster
	// manifests is where the role puts its files.
	manifests string
}

func clean(t *testing.T) *bare {
	t.Helper()
	c := cluster.ForTest(t)
	if err := c.Wipe(context.Background()); err != nil {
		t.Fatal(err)
	}
	return &bare{c, filepath.Join(t.TempDir(), "addons/porchlight")}
}

// passing are objects that come and go by themselves.
var passing = []string{"event", "endpointslice", "endpoints", "lease", "pod", "componentstatus", "nodemetrics", "ipaddress", "replicaset", "controllerrevision"}

// everything lists the names of all objects that stay.
func (b *bare) everything(t *testing.T) []string {
	t.Helper()
	kinds, err := b.Kubectl("api-resources", "--verbs=list", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.Kubectl("get", strings.Join(strings.Fields(kinds), ","), "-A", "--ignore-not-found", "--no-headers",
		"-o", "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if !slices.Contains(passing, strings.ToLower(words[0])) {
			all = append(all, strings.Join(words, " "))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// settings checks what the role made of its variables.
func (b *bare) settings(t *testing.T, want []string) {
	t.Helper()
	out, err := b.Kubectl("get", "ippool,l2adv,bgpadv,bgppeer,bfdprofiles.porchlight.dev,secret", "-n", cluster.System,
		"-l", "app.kubernetes.io/managed-by=porchlight-ansible,!app.kubernetes.io/component", "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(out)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the settings are %v; want %v", got, want)
	}
}

// placed checks where the pods with a label run, as program, node and the keys
// of the tolerations that it was given.
func (b *bare) placed(t *testing.T, labels client.MatchingLabels, want ...string) {
	t.Helper()
	pods := &corev1.PodList{}
	if err := b.List(t.Context(), pods, client.InNamespace(cluster.System), labels); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range pods.Items {
		words := []string{p.Labels["app.kubernetes.io/component"], p.Spec.NodeName}
		for _, tl := range p.Spec.Tolerations {
			if !strings.Contains(tl.Key, "/") { // Kubernetes' own
				words = append(words, tl.Key)
			}
		}
		got = append(got, strings.Join(words, " "))
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("the programs run as %q; want %q", got, want)
	}
}

const balancer = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  ipFamilies: [IPv4]
  ports: [{port: 80, targetPort: 3000}]
  selector: {app: echo}
`

func announced(s *corev1.Service) bool {
	return len(s.Status.LoadBalancer.Ingress) > 0 && cluster.Condition(s.Status.Conditions, "porchlight.dev/Announced", metav1.ConditionTrue, "Announced")
}
