package fleet

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
)

func fleetOf(name string) *v1beta1.EnvoyFleet {
	return &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: "porchlight-system", Name: name, UID: "u"}}
}

func deploymentOf(t *testing.T, f *v1beta1.EnvoyFleet) *appsv1.Deployment {
	t.Helper()
	objects, err := Objects(f, Settings{Image: "envoy:1", XDSPort: 18000})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetName() != f.Name || o.GetNamespace() != f.Namespace || len(o.GetOwnerReferences()) != 1 {
			t.Errorf("%T: %s/%s owned by %v", o, o.GetNamespace(), o.GetName(), o.GetOwnerReferences())
		}
		if d, ok := o.(*appsv1.Deployment); ok {
			return d
		}
	}
	t.Fatal("no Deployment")
	return nil
}

func TestDeployment(t *testing.T) {
	f := fleetOf("edge")
	d := deploymentOf(t, f)
	pod := d.Spec.Template
	c := pod.Spec.Containers[0]
	if *d.Spec.Replicas != 2 || c.Image != "envoy:1" || pod.Labels[Label] != "edge" {
		t.Errorf("replicas %d, image %s, labels %v", *d.Spec.Replicas, c.Image, pod.Labels)
	}
	s := c.SecurityContext
	if !*pod.Spec.SecurityContext.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation ||
		len(s.Capabilities.Drop) != 1 || pod.Spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.Spec.AutomountServiceAccountToken {
		t.Error("the pod may do more than it needs")
	}
	if c.ReadinessProbe.PeriodSeconds != 1 {
		t.Errorf("ready is looked for every %d s", c.ReadinessProbe.PeriodSeconds)
	}
	before := pod.Annotations["porchlight.dev/config"]
	f.Spec.Image, f.Spec.Replicas = "envoy:2", ptr(int32(0))
	if d := deploymentOf(t, f); d.Spec.Template.Spec.Containers[0].Image != "envoy:2" || *d.Spec.Replicas != 0 ||
		d.Spec.Template.Annotations["porchlight.dev/config"] != before {
		t.Error("what the EnvoyFleet says is not what the Deployment has")
	}
	other := fleetOf("edge")
	other.Namespace = "elsewhere"
	if deploymentOf(t, other).Spec.Template.Annotations["porchlight.dev/config"] == before {
		t.Error("another configuration does not make new pods")
	}
}

func TestFilesAreYAML(t *testing.T) {
	files, err := Files(PlaceOf(types.NamespacedName{Namespace: "porchlight-system", Name: "edge"}, 18000))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		var v map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(text, "<no value>") {
			t.Errorf("%s has a gap", name)
		}
	}
	if !strings.Contains(files["envoy.yaml"], "127.0.0.1, port_value: 19000") {
		t.Error("the administration is not on the loopback address")
	}
}

// The real one accepts what it is started with.
func TestEnvoyAcceptsBootstrap(t *testing.T) {
	envoy := envoybin.Path(t)
	dir := t.TempDir()
	place := PlaceOf(types.NamespacedName{Namespace: "porchlight-system", Name: "edge"}, 18000)
	place.ConfigDir, place.CertsDir = dir, dir
	files, err := Files(place)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := certs.NewAuthority(time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"tls.crt": string(ca.Certificate), "tls.key": string(ca.Key), "ca.crt": string(ca.Bundle)} {
		files[name] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, envoy, "--mode", "validate", "-c", filepath.Join(dir, "envoy.yaml"),
		"--service-node", "n", "--service-cluster", "c", "--log-level", "warning").CombinedOutput()
	if err != nil || strings.Contains(string(out), "Deprecated") {
		t.Errorf("%v\n%s", err, out)
	}
}
