//go:build e2e

package install

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// helm installs or upgrades the release with more values.
func (b *bare) helm(t *testing.T, more ...string) {
	t.Helper()
	if err := b.release(t.Context(), cluster.System, more...); err != nil {
		t.Fatal(err)
	}
}

// release is helm in any namespace.
func (b *bare) release(ctx context.Context, namespace string, more ...string) error {
	tag, err := b.Lab.ImageTag()
	if err != nil {
		return err
	}
	return b.chart(ctx, b.Lab.Chart(), namespace, tag, more...)
}

// chart installs or upgrades the release with a chart and images of a tag.
func (b *bare) chart(ctx context.Context, chart, namespace, tag string, more ...string) error {
	_, err := b.Lab.Helm(ctx, append([]string{"upgrade", "--install", "porchlight", chart, "--namespace", namespace, "--create-namespace",
		"--set-string", "image.tag=" + tag, "--wait", "--timeout", "100s"}, more...)...)
	return err
}

// image is where the chart and the role expect it.
const image = "docker.io/porchlight-lb/porchlight"

// previous installs a release before this one, as far as Helm, Kubernetes and
// the gateway can tell: chart and images have the version and the tag of another.
func (b *bare) previous(t *testing.T) {
	t.Helper()
	const tag = "previous"
	current, err := b.Lab.ImageTag()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Lab.Tag(t.Context(), image+":"+current, image+":"+tag); err != nil {
		t.Fatal(err)
	}
	chart := filepath.Join(t.TempDir(), "porchlight")
	if err := os.CopyFS(chart, os.DirFS(b.Lab.Chart())); err != nil {
		t.Fatal(err)
	}
	about := filepath.Join(chart, "Chart.yaml")
	text, err := os.ReadFile(about)
	if err != nil {
		t.Fatal(err)
	}
	older := regexp.MustCompile(`(?m)^version: .*$`).ReplaceAll(text, []byte("version: 0.0.1"))
	if err := os.WriteFile(about, older, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.chart(t.Context(), chart, cluster.System, tag, "--set", "logLevel=debug"); err != nil {
		t.Fatal(err)
	}
}

// upgrade upgrades the release, and returns once the Envoys are new, too.
func (b *bare) upgrade(ctx context.Context) error {
	tag, err := b.Lab.ImageTag()
	if err != nil {
		return err
	}
	if err := b.release(ctx, cluster.System, "--reset-then-reuse-values"); err != nil {
		return err
	}
	const beside = `{.spec.template.spec.containers[?(@.name=="drain")].image}=`
	if _, err := b.Kubectl("wait", "-n", cluster.System, "deployment/porchlight-envoy", "--for=jsonpath="+beside+image+":"+tag, "--timeout=80s"); err != nil {
		return err
	}
	_, err = b.Kubectl("rollout", "status", "-n", cluster.System, "deployment/porchlight-envoy", "--timeout=80s")
	return err
}

const addresses = `
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: default, namespace: porchlight-system}
spec: {addresses: [172.30.0.230-172.30.0.239]}
---
apiVersion: porchlight.dev/v1beta1
kind: L2Advertisement
metadata: {name: default, namespace: porchlight-system}
---
`

const site = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: porchlight, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: site}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}
`

// An upgrade that replaces every pod of ours, Envoys among them, changes no
// address and breaks no new connection, neither to a Service nor to a Gateway.
func TestHelmUpgrade(t *testing.T) {
	b := clean(t)
	b.previous(t)
	ns := b.Namespace(t)
	b.Apply(t, ns, addresses+cluster.Echo("DaemonSet", "echo")+balancer+site)
	var targets []string
	for _, name := range []string{"web", b.serviceOf(t, ns, "edge")} {
		ip := cluster.Addresses(b.Service(t, ns, name, "announced", announced))[0]
		targets = append(targets, net.JoinHostPort(ip, "80"))
		r := cluster.Request{URL: "http://" + ip + "/"}
		if err := b.AwaitForwarding(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		b.Want(t, 200, r)
	}
	pods := b.pods(t)
	attempts, failed, err := probe.Connections(t.Context(), b.Lab.Dialer("client"), targets, 50, 0, b.upgrade)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections", attempts)
	if len(failed) > 0 {
		t.Errorf("%d of %d connections failed, the first: %v", len(failed), attempts, failed[0])
	}
	cluster.Eventually(t, "all pods are replaced", func(context.Context) error {
		for _, p := range b.pods(t) {
			if slices.Contains(pods, p) {
				return fmt.Errorf("%s is still there", p)
			}
		}
		return nil
	})
	if args, err := b.Kubectl("get", "-n", cluster.System, "daemonset/porchlight-speaker", "-o", "jsonpath={.spec.template.spec.containers[0].args}"); err != nil ||
		!strings.Contains(args, "--log-level=debug") {
		t.Errorf("the values of before are lost: %s, %v", args, err)
	}
	for i, name := range []string{"web", b.serviceOf(t, ns, "edge")} {
		s := b.Service(t, ns, name, "announced", announced)
		if a := cluster.Addresses(s); len(a) != 1 || net.JoinHostPort(a[0], "80") != targets[i] {
			t.Errorf("%s had %s, and has %v", name, targets[i], a)
		}
	}
}

// serviceOf waits for the Service that is made for a Gateway, and names it.
func (b *bare) serviceOf(t *testing.T, namespace, gateway string) string {
	t.Helper()
	if _, err := b.Kubectl("wait", "-n", namespace, "gateway/"+gateway, "--for=condition=Programmed", "--timeout=80s"); err != nil {
		t.Fatal(err)
	}
	out, err := b.Kubectl("get", "service", "-n", namespace, "-l", "gateway.networking.k8s.io/gateway-name="+gateway, "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil || out == "" {
		t.Fatalf("the Service of Gateway %s is %q: %v", gateway, out, err)
	}
	return out
}

// pods names those of the three programs and of the fleet.
func (b *bare) pods(t *testing.T) []string {
	t.Helper()
	out, err := b.Kubectl("get", "pods", "-n", cluster.System, "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// staying is what docs/install.md says an uninstallation keeps, as kind and
// namespace, and names; none: any. Kubernetes makes a ConfigMap and a
// ServiceAccount in every namespace.
var staying = map[string][]string{
	"CustomResourceDefinition <none>":   nil,
	"APIService <none>":                 nil,
	"Namespace <none>":                  {cluster.System},
	"ConfigMap " + cluster.System:       {"kube-root-ca.crt"},
	"ServiceAccount " + cluster.System:  {"default"},
	"IPAddressPool " + cluster.System:   {"default"},
	"L2Advertisement " + cluster.System: {"default"},
}

// Uninstalled, nothing of ours runs and nothing that acts is left; installed
// again, a Service has the address that it had.
func TestHelmUninstall(t *testing.T) {
	b := clean(t)
	ns := b.Namespace(t)
	b.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+balancer)
	before := b.everything(t)
	b.helm(t)
	b.Apply(t, ns, addresses)
	had := cluster.Addresses(b.Service(t, ns, "web", "announced", announced))
	b.Apply(t, ns, site)
	b.Service(t, ns, b.serviceOf(t, ns, "edge"), "announced", announced)

	if _, err := b.Kubectl("delete", "-n", ns, "gateway/edge", "httproute/site"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Lab.Helm(t.Context(), "uninstall", "porchlight", "-n", cluster.System, "--wait"); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "nothing that acts is left", func(context.Context) error {
		for _, object := range without(b.everything(t), before) {
			words := strings.Fields(object)
			if all, stays := staying[words[0]+" "+words[1]]; !stays || all != nil && !slices.Contains(all, words[2]) {
				return fmt.Errorf("there is still %s", object)
			}
		}
		out, err := b.Kubectl("get", "pods", "-n", cluster.System, "-o", "name")
		if err == nil && out != "" {
			err = fmt.Errorf("there are still pods: %s", out)
		}
		return err
	})

	b.helm(t)
	s := b.Service(t, ns, "web", "announced", announced)
	if again := cluster.Addresses(s); !slices.Equal(had, again) {
		t.Errorf("it had %v, and has %v", had, again)
	}
	// The condition may still be the one from before; a speaker that answers is not.
	cluster.Eventually(t, "a speaker answers for the address", func(ctx context.Context) error {
		_, err := b.On(ctx, "client", "arping", "-c", "1", "-w", "1", "-I", "eth0", had[0])
		return err
	})
}

// Two installations, in two namespaces, serve a class of Services and one of
// Gateways each, from pools of their own, and the end of one is none of the
// other's business.
func TestTwoReleases(t *testing.T) {
	const second = "porchlight-second"
	b := clean(t)
	b.helm(t)
	t.Cleanup(func() {
		if _, err := b.Lab.Helm(context.Background(), "uninstall", "porchlight", "-n", second, "--ignore-not-found", "--wait"); err != nil {
			t.Error(err)
		}
	})
	if err := b.release(t.Context(), second, "--set", "lbClass=example.com/second", "--set", "controller.requireClass=true",
		"--set", "gatewayClass.controllerName=example.com/gateway", "--set", "envoy.replicas=1", "--set", "gateway.replicas=1",
		"--set", "speaker.gossipPort=7950", "--set", "speaker.metricsPort=7484", "--set", "speaker.healthPort=7485"); err != nil {
		t.Fatal(err)
	}
	b.Apply(t, cluster.System, addresses)
	b.Apply(t, second, strings.NewReplacer(cluster.System, second, "172.30.0.230-172.30.0.239", "172.30.0.220-172.30.0.229").Replace(addresses))
	ns := b.Namespace(t)
	b.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+balancer+"---"+
		strings.NewReplacer("name: web", "name: other", "type: LoadBalancer", "type: LoadBalancer\n  loadBalancerClass: example.com/second").Replace(balancer)+
		site+strings.NewReplacer("name: edge", "name: rim", "gatewayClassName: porchlight", "gatewayClassName: porchlight-"+second, "name: site", "name: place").Replace(site))
	edge, rim := b.serviceOf(t, ns, "edge"), b.serviceOf(t, ns, "rim")
	had := map[string]string{}
	for name, of := range map[string]string{"web": "172.30.0.23", "other": "172.30.0.22", edge: "172.30.0.23", rim: "172.30.0.22"} {
		all := cluster.Addresses(b.Service(t, ns, name, "announced", announced))
		if len(all) != 1 || !strings.HasPrefix(all[0], of) {
			t.Errorf("Service %s has %v", name, all)
			continue
		}
		b.Want(t, 200, cluster.Request{From: "client", URL: "http://" + all[0] + "/"})
		had[name] = all[0]
	}
	if _, err := b.Kubectl("delete", "-n", ns, "gateway/rim"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Lab.Helm(t.Context(), "uninstall", "porchlight", "-n", second, "--wait"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", edge} {
		b.Want(t, 200, cluster.Request{From: "client", URL: "http://" + had[name] + "/"})
		if now := cluster.Addresses(b.Service(t, ns, name, "announced", announced)); !slices.Equal(now, []string{had[name]}) {
			t.Errorf("Service %s had %s, and has %v since the other installation went", name, had[name], now)
		}
	}
}
