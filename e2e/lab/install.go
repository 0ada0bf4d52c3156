package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
)

// Namespace is where Porchlight is installed.
const Namespace = "porchlight-system"

//go:embed manifests/pool.yaml
var poolManifest string

// Helm runs helm, as the administrator, on the control plane's host, and
// returns what it prints.
func (l *Lab) Helm(ctx context.Context, args ...string) (string, error) {
	helm, err := l.helm(ctx)
	if err != nil {
		return "", err
	}
	cmd, err := l.Exec(ctx, HostControlPlane, append([]string{helm, "--kubeconfig", l.Kubeconfig()}, args...)...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("helm %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Install installs what was last built for the lab, with its chart as a user
// would, and applies an IPAddressPool and an L2Advertisement, both named
// default. The nodes must have the images.
func (l *Lab) Install(ctx context.Context) error {
	version, err := l.ImageTag()
	if err != nil {
		return err
	}
	digest, err := digestOf(l.archive())
	if err != nil {
		return err
	}
	u, err := l.running()
	if err != nil {
		return err
	}
	if err := u.prepareRelease(ctx); err != nil {
		return err
	}
	args := []string{
		"upgrade", "--install", "porchlight", l.Chart(),
		"--namespace", Namespace, "--create-namespace", "--set-string", "image.tag=" + version,
		"--wait", "--timeout", installLimit.String(),
	}
	// Two builds of one version are told apart, so that the second is rolled out.
	for _, program := range []string{"controller", "speaker", "gateway"} {
		args = append(args, "--set-string", program+".podAnnotations.image="+digest)
	}
	l.Logf("Porchlight %s", version)
	if _, err := l.Helm(ctx, args...); err != nil {
		return fmt.Errorf("%s: %w\n--- pods of %s:\n%s",
			HostControlPlane, err, Namespace, u.describePods(ctx, Namespace)+u.podLogs(Namespace))
	}
	if err := u.apply(ctx, poolManifest, "-"); err != nil {
		return fmt.Errorf("%s: pool and advertisement: %w", HostControlPlane, err)
	}
	return nil
}

// prepareRelease makes way for helm where it does not itself: it refuses to go
// on after an installation that was killed, and never changes a CRD.
func (u *run) prepareRelease(ctx context.Context) error {
	client, err := u.clientset()
	if err != nil {
		return err
	}
	secrets := client.CoreV1().Secrets(Namespace)
	const ours = "owner=helm,name=porchlight"
	const killed = ours + ",status in (pending-install,pending-upgrade,pending-rollback)"
	if err := secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: killed}); err != nil {
		return fmt.Errorf("%s: forget releases that did not finish: %w", HostControlPlane, err)
	}
	releases, err := secrets.List(ctx, metav1.ListOptions{LabelSelector: ours})
	if err != nil {
		return fmt.Errorf("%s: list helm's releases: %w", HostControlPlane, err)
	}
	if len(releases.Items) == 0 {
		return nil
	}
	if err := u.apply(ctx, "", filepath.Join(u.Chart(), "crds")); err != nil {
		return fmt.Errorf("%s: CRDs: %w", HostControlPlane, err)
	}
	return nil
}

// installLimit is how long all pods may take to be ready.
const installLimit = 2 * time.Minute

// helm returns the path of the pinned helm, which it builds when it is not
// there.
func (l *Lab) helm(ctx context.Context) (string, error) {
	path := filepath.Join(l.Source, "bin/tools/helm")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "helm.sh/helm/v3/cmd/helm")
	cmd.Dir = filepath.Join(l.Source, "e2e")
	if b, err := build.Output(cmd); err != nil {
		return "", fmt.Errorf("build helm: %w\n%s", err, b)
	}
	return path, nil
}

func digestOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("digest of %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// podLogs is for error messages: the end of the logs of a namespace's pods.
func (u *run) podLogs(namespace string) string {
	var b strings.Builder
	if err := u.WriteLogs(&b, 15, "/"+namespace+"/"); err != nil {
		return err.Error()
	}
	return "\n" + b.String()
}
