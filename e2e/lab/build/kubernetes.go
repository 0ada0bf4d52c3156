package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// KubernetesVersion is the release that labs run.
const KubernetesVersion = "v1.36.3"

const kubernetesModule = "e2e/lab/kubernetes"

// Kubernetes returns the directory with kube-apiserver,
// kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl, etcd
// and coredns, built from their modules at first use (some minutes).
func (c Cache) Kubernetes(ctx context.Context) (string, error) {
	inputs, err := c.contents(kubernetesModule+"/go.mod", kubernetesModule+"/go.sum")
	if err != nil {
		return "", err
	}
	version, err := goVersion(ctx)
	if err != nil {
		return "", err
	}
	return c.entry(ctx, "kubernetes", append(inputs, version), c.buildKubernetes)
}

func (c Cache) buildKubernetes(ctx context.Context, dir string) error {
	const stamp = "-X k8s.io/component-base/version."
	major, rest, _ := strings.Cut(strings.TrimPrefix(KubernetesVersion, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	ldflags := strings.Join([]string{
		"-s -w",
		stamp + "gitVersion=" + KubernetesVersion,
		stamp + "gitCommit=" + KubernetesVersion,
		stamp + "gitTreeState=clean",
		stamp + "gitMajor=" + major,
		stamp + "gitMinor=" + minor,
	}, " ")
	programs := []struct{ name, pkg, ldflags string }{
		{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", ldflags},
		{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", ldflags},
		{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", ldflags},
		{"kubelet", "k8s.io/kubernetes/cmd/kubelet", ldflags},
		{"kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", ldflags},
		{"kubectl", "k8s.io/kubernetes/cmd/kubectl", ldflags},
		{"etcd", "go.etcd.io/etcd/server/v3", "-s -w"},
		{"coredns", "github.com/coredns/coredns", "-s -w"},
	}
	for i, p := range programs {
		c.logf("building %s of %s, once (%d of %d)", p.name, KubernetesVersion, i+1, len(programs))
		if err := c.goBuild(ctx, kubernetesModule, filepath.Join(dir, p.name), p.ldflags, p.pkg); err != nil {
			return err
		}
	}
	return nil
}

// hostinitSources are what hostinit is built from.
var hostinitSources = []string{
	"host/boot.go", "host/cgroup.go", "host/enter.go", "host/host.go", "host/spec.go", "hostinit/main.go",
}

// Hostinit returns the path of the program that is process 1 of each host.
func (c Cache) Hostinit(ctx context.Context) (string, error) {
	var files []string
	for _, f := range hostinitSources {
		files = append(files, "e2e/lab/"+f)
	}
	inputs, err := c.contents(files...)
	if err != nil {
		return "", err
	}
	dir, err := c.entry(ctx, "hostinit", inputs, func(ctx context.Context, dir string) error {
		return c.goBuild(ctx, "e2e", filepath.Join(dir, "hostinit"), "-s -w", "./lab/hostinit")
	})
	return filepath.Join(dir, "hostinit"), err
}

// FindSource returns the root of the checkout around start.
func FindSource(start string) (string, error) {
	dir, err := filepath.Abs(start)
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, kubernetesModule, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("find the checkout: no %s/go.mod in %s or above", kubernetesModule, dir)
		}
	}
}
