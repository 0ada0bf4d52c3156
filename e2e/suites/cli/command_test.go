//go:build e2e

// Package cli shows the porchlight command against a real cluster: what it says
// of one that works and, with its exit code, of one that does not.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	corev1 "k8s.io/api/core/v1"
)

// bin is the folder with the command, as a user would put it on the PATH.
var bin string

func TestMain(m *testing.M) {
	os.Exit(cluster.Suite(m, build, func(context.Context, *cluster.Cluster) error { return os.RemoveAll(bin) }))
}

// build puts the command into bin.
func build(ctx context.Context, _ *cluster.Cluster) (err error) {
	if bin, err = os.MkdirTemp("", "porchlight-cli-"); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bin, "porchlight"), "./cli")
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the command: %w\n%s", err, out)
	}
	for _, name := range []string{"kubectl-porchlight", "kubectl_complete-porchlight"} {
		if err := os.Symlink("porchlight", filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return nil
}

// result is what came of a command.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
}

// suite is the cluster as somebody at a terminal sees it.
type suite struct{ *cluster.Cluster }

func forTest(t *testing.T) suite { return suite{cluster.ForTest(t)} }

// command is the porchlight command with the cluster's kubeconfig.
func (s suite) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	return s.Lab.Exec(ctx, lab.HostControlPlane,
		append([]string{filepath.Join(bin, "porchlight"), "--kubeconfig", s.Lab.Kubeconfig()}, args...)...)
}

// try runs the command.
func (s suite) try(ctx context.Context, args ...string) (result, error) {
	cmd, err := s.command(ctx, args...)
	if err != nil {
		return result{}, err
	}
	return run(cmd)
}

func run(cmd *exec.Cmd) (result, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	return r, err
}

// porchlight runs the command, which must end with the exit code and say all of
// that on its standard output.
func (s suite) porchlight(t *testing.T, code int, says []string, args ...string) result {
	t.Helper()
	r, err := s.try(t.Context(), args...)
	if err != nil {
		t.Fatalf("porchlight %s: %v", strings.Join(args, " "), err)
	}
	if err := r.is(code, says); err != nil {
		t.Errorf("porchlight %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// eventually is porchlight for what the cluster comes to say in a while.
func (s suite) eventually(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	cluster.Eventually(t, "porchlight "+strings.Join(args, " "), func(ctx context.Context) error {
		r, err := s.try(ctx, args...)
		if err != nil {
			return err
		}
		return r.is(code, says)
	})
}

func (r result) is(code int, says []string) error {
	if r.code != code {
		return fmt.Errorf("want exit code %d: %v", code, r)
	}
	for _, text := range says {
		if !strings.Contains(r.stdout, text) {
			return fmt.Errorf("want %q: %v", text, r)
		}
	}
	return nil
}

// parse reads what the command printed as JSON.
func parse[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("reading what was printed: %v: %v", err, r)
	}
	return v
}

// write makes a file of manifests.
func write(t *testing.T, manifests string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// service is YAML of a Service of type LoadBalancer before the pods of an
// app; more is YAML of its spec.
func service(name, app, annotations string, more ...string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, annotations: {%s}}
spec:
  type: LoadBalancer
  ports: [{name: http, port: 80, targetPort: 3000}]
  selector: {app: %s}
  %s
---
`, name, annotations, app, strings.Join(more, "\n  "))
}

// pool is YAML of a pool for those who ask for it.
func pool(name, addresses string) string {
	return fmt.Sprintf(`
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: %s, namespace: porchlight-system}
spec: {autoAssign: false, addresses: [%s]}
---
`, name, addresses)
}

// site is YAML of a Gateway and of a route from it to a Service.
func site(backend string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: porchlight, listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: site}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: %s, port: 80}]}]}
---
`, backend)
}

// says waits for a condition of a Service.
func (s suite) says(t *testing.T, namespace, name, kind string, status metav1.ConditionStatus, reason string) *corev1.Service {
	t.Helper()
	return s.Service(t, namespace, name, fmt.Sprintf("%s=%s, %s", kind, status, reason), func(svc *corev1.Service) bool {
		return cluster.Condition(svc.Status.Conditions, "porchlight.dev/"+kind, status, reason)
	})
}

func (s suite) announced(t *testing.T, namespace, name string) *corev1.Service {
	t.Helper()
	return s.says(t, namespace, name, "Announced", metav1.ConditionTrue, "Announced")
}
