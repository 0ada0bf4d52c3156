// Command generate makes everything in the tree that is derived from
// something else in it. `make generate` runs it from the root of the tree,
// `make verify` runs it and fails on a difference:
//
//	api/v1beta1/zz_generated.deepcopy.go  from the types
//	config/crd                            from the types and their markers
//	config/crd/gateway-api                from the Gateway API module that go.mod pins
//	config/rbac                           from the RBAC markers of each program
//	deploy/chart/porchlight/crds          copies of config/crd
//	deploy/chart/porchlight/files/rbac    copies of config/rbac
//	config/default                        from the chart with its default values
//	docs/reference/metrics.md             from the declarations of the metrics
//	docs/reference/api.md                 from config/crd
//
// It needs controller-gen and helm in bin/tools (`make tools`).
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	controllerGen = "bin/tools/controller-gen"
	helm          = "bin/tools/helm"

	chart = "deploy/chart/porchlight"
	// reference has the pages of the documentation that are made here.
	reference = "docs/reference"
	// release, namespace and kubeVersion are what the chart is rendered with
	// for kustomize: those of the documentation.
	release     = "porchlight"
	namespace   = "porchlight-system"
	kubeVersion = "1.36.0"
)

// programs have RBAC markers in their packages.
var programs = []string{"controller", "gateway", "speaker"}

func main() {
	if err := generate(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context) error {
	for _, step := range []func(context.Context) error{types, gatewayAPI, rbac, chartCopies, kustomizeBase, metricsPage, apiPage} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// types makes the deep copies and the CRDs of our own kinds.
func types(ctx context.Context) error {
	made, err := os.MkdirTemp("", "crd-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	if _, err := run(ctx, controllerGen, "object", "crd", "paths=./api/...", "output:crd:dir="+made); err != nil {
		return err
	}
	const to = "config/crd"
	if err := empty(to); err != nil {
		return err
	}
	if err := copyCRDs(made, to); err != nil {
		return err
	}
	return writeKustomization(to, "gateway-api")
}

// gatewayAPI copies the CRDs of the experimental channel. The bundle's
// admission policy stays out: it is about mixing channels, and is the
// cluster's to have, not ours.
func gatewayAPI(ctx context.Context) error {
	const to = "config/crd/gateway-api"
	if err := empty(to); err != nil {
		return err
	}
	dir, err := run(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	if err != nil {
		return err
	}
	from := filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental")
	if err := copyCRDs(from, to); err != nil {
		return err
	}
	return writeKustomization(to)
}

// rbac makes one file for each program, with its ClusterRole and its Role.
func rbac(ctx context.Context) error {
	roles := map[string][]byte{}
	for _, p := range programs {
		out, err := run(ctx, controllerGen, "rbac:roleName="+release+"-"+p, "paths=./"+p+"/...", "output:rbac:stdout")
		if err != nil {
			return err
		}
		roles[p] = out
	}
	const to = "config/rbac"
	if err := empty(to); err != nil {
		return err
	}
	for p, role := range roles {
		if err := os.WriteFile(filepath.Join(to, p+".yaml"), role, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// chartCopies puts the CRDs and the roles where Helm reads them: a chart may
// not look outside its folder.
func chartCopies(context.Context) error {
	crds, roles := filepath.Join(chart, "crds"), filepath.Join(chart, "files/rbac")
	for _, dir := range []string{crds, roles} {
		if err := empty(dir); err != nil {
			return err
		}
	}
	for _, from := range []string{"config/crd", "config/crd/gateway-api"} {
		if err := copyCRDs(from, crds); err != nil {
			return err
		}
	}
	return copyAll("config/rbac", roles)
}

// kustomizeBase renders the chart, one file for each of its templates.
func kustomizeBase(ctx context.Context) error {
	made, err := os.MkdirTemp("", "chart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	if _, err := run(ctx, helm, "template", release, chart, "--namespace", namespace, "--kube-version", kubeVersion, "--output-dir", made); err != nil {
		return err
	}
	const to = "config/default"
	if err := empty(to); err != nil {
		return err
	}
	// Helm writes <chart>/templates/<name>.yaml below the folder it is given.
	if err := copyAll(filepath.Join(made, filepath.Base(chart), "templates"), to); err != nil {
		return err
	}
	ns := object{APIVersion: "v1", Kind: "Namespace"}
	ns.Metadata.Name = namespace
	// The speakers are in the hosts' network.
	ns.Metadata.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}
	if err := writeYAML(filepath.Join(to, "namespace.yaml"), ns); err != nil {
		return err
	}
	return writeKustomization(to, "../crd")
}

// object is as much of a Kubernetes object as this program writes or asks for.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels,omitempty"`
	} `json:"metadata"`
}

func copyAll(from, to string) error {
	return copyFiles(from, to, func([]byte) (bool, error) { return true, nil })
}

func copyCRDs(from, to string) error {
	return copyFiles(from, to, func(content []byte) (bool, error) {
		var o object
		if err := yaml.Unmarshal(content, &o); err != nil {
			return false, err
		}
		return o.Kind == "CustomResourceDefinition", nil
	})
}

// copyFiles copies the YAML files of a folder, not of those below it, that
// want accepts.
func copyFiles(from, to string, want func(content []byte) (bool, error)) error {
	files, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		ok, err := want(content)
		if err != nil {
			return fmt.Errorf("reading %s: %w", f, err)
		}
		if !ok {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeKustomization lists the folder's files, after the bases.
func writeKustomization(dir string, bases ...string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	resources := slices.Clone(bases)
	for _, f := range files {
		resources = append(resources, filepath.Base(f))
	}
	return writeYAML(filepath.Join(dir, "kustomization.yaml"), struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Resources  []string `json:"resources"`
	}{"kustomize.config.k8s.io/v1beta1", "Kustomization", resources})
}

func writeYAML(path string, document any) error {
	b, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// empty makes a folder that holds nothing.
func empty(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// run returns what a command prints.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return out, nil
}
