//go:build e2e

package install

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/lab/build"
)

// variables of the role; those that every run needs are added.
type variables map[string]any

// play runs the role's playbook on the control plane's host and returns what
// it prints, and whether it succeeded.
func (b *bare) play(t *testing.T, v variables, more ...string) (string, bool) {
	t.Helper()
	kubectl, err := b.Lab.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	tag, err := b.Lab.ImageTag()
	if err != nil {
		t.Fatal(err)
	}
	all := variables{
		"porchlight_become": false, "porchlight_version": tag, "porchlight_dir": b.manifests,
		"porchlight_kubectl": kubectl, "porchlight_kubeconfig": b.Lab.Kubeconfig(),
	}
	for name, value := range v {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	given, inventory := filepath.Join(dir, "vars.json"), filepath.Join(dir, "hosts.yml")
	const hosts = `all: {children: {kube_control_plane: {hosts: {cp: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}}}}}`
	for file, content := range map[string][]byte{given: text, inventory: []byte(hosts)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd, err := b.Lab.Exec(t.Context(), lab.HostControlPlane, append([]string{
		filepath.Join(b.Lab.Source, "bin/tools/ansible/bin/ansible-playbook"), "-i", inventory, "-e", "@" + given,
		filepath.Join(b.Lab.Tree(), "deploy/ansible/porchlight.yml"),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ansible-playbook with %s", text)
	out := &transcript{t: t}
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	out.flush()
	return out.all.String(), err == nil
}

// transcript logs what is written to it as it comes, so that each task is seen
// with its time.
type transcript struct {
	t    *testing.T
	all  bytes.Buffer
	line []byte
}

func (w *transcript) Write(b []byte) (int, error) {
	w.all.Write(b)
	w.line = append(w.line, b...)
	if end := bytes.LastIndexByte(w.line, '\n'); end >= 0 {
		w.t.Log(string(bytes.Trim(w.line[:end], "\n")))
		w.line = w.line[end+1:]
	}
	return len(b), nil
}

func (w *transcript) flush() {
	if len(w.line) > 0 {
		w.t.Log(string(w.line))
	}
}

var recap = regexp.MustCompile(`(?m)^cp +: ok=\d+ +changed=(\d+) `)

// must runs the playbook, which must succeed, and returns how many tasks
// changed something.
func (b *bare) must(t *testing.T, v variables) (changed string) {
	t.Helper()
	out, ok := b.play(t, v)
	m := recap.FindStringSubmatch(out)
	if !ok || m == nil {
		t.Fatal("the playbook failed")
	}
	return m[1]
}

// The addon is turned on, left alone, changed, and turned off.
func TestToggle(t *testing.T) {
	b := clean(t)
	ns := b.Namespace(t)
	b.Apply(t, ns, cluster.Echo("Deployment", "echo")+balancer)
	theirs := filepath.Join(b.Lab.Tree(), "config/crd/gateway-api/gateway.networking.k8s.io_tcproutes.yaml")
	if _, err := b.Kubectl("apply", "--server-side", "-f", theirs); err != nil { // somebody else's, which stays
		t.Fatal(err)
	}
	before := b.everything(t)

	v := variables{"porchlight_enabled": true, "porchlight_ip_range": "172.30.0.230-172.30.0.231"}
	if out, ok := b.play(t, v, "--check", "--diff"); !ok || !strings.Contains(out, "+kind: DaemonSet") {
		t.Errorf("in check mode the playbook's success is %v; want it to show what it would write", ok)
	}
	if _, err := os.Stat(b.manifests); !os.IsNotExist(err) {
		t.Errorf("check mode wrote manifests: %v", err)
	}
	if out, err := b.Kubectl("get", "namespace", cluster.System, "--ignore-not-found", "-o", "name"); err != nil || out != "" {
		t.Errorf("check mode made %q, %v", out, err)
	}
	b.must(t, v)
	s := b.Service(t, ns, "web", "announced", announced)
	if a := cluster.Addresses(s); !slices.Equal(a, []string{"172.30.0.230"}) {
		t.Errorf("External-IP %v", a)
	}
	if out, err := b.On(t.Context(), "client", "curl", "-sS", "--fail", "--max-time", "10", "http://172.30.0.230/"); err != nil {
		t.Errorf("through the address: %v\n%s", err, out)
	}
	if n := b.must(t, v); n != "0" {
		t.Errorf("run twice, %s tasks changed something", n)
	}

	v["porchlight_ip_range"] = []string{"172.30.0.240/29"}
	v["porchlight_avoid_buggy_ips"] = true
	if n := b.must(t, v); n == "0" {
		t.Error("nothing changed though the range did")
	}
	b.Service(t, ns, "web", "an address of the new range", func(s *corev1.Service) bool {
		return announced(s) && cluster.Addresses(s)[0] != "172.30.0.230"
	})
	pool := &v1beta1.IPAddressPool{}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: cluster.System, Name: "default"}, pool); err != nil {
		t.Fatal(err)
	}
	if got := pool.Spec; len(got.Addresses) != 1 || got.Addresses[0] != "172.30.0.240/29" || !got.AvoidBuggyIPs {
		t.Errorf("the pool's spec is %+v", got)
	}

	off := variables{"porchlight_enabled": false}
	b.must(t, off)
	if s = b.Service(t, ns, "web", "as it was", func(s *corev1.Service) bool { return len(cluster.Addresses(s)) == 0 }); len(s.Status.Conditions) > 0 ||
		len(s.Annotations) > 0 {
		t.Errorf("what is left of us: annotations %v, conditions %v", s.Annotations, s.Status.Conditions)
	}
	if after := b.everything(t); !slices.Equal(before, after) {
		t.Errorf("turned off, there is\n%s\nmore and\n%s\nless", strings.Join(without(after, before), "\n"), strings.Join(without(before, after), "\n"))
	}
	if _, err := os.Stat(b.manifests); !os.IsNotExist(err) {
		t.Errorf("the manifests are still there: %v", err)
	}
	if n := b.must(t, off); n != "0" {
		t.Errorf("turned off twice, %s tasks changed something", n)
	}
}

// Pools and peers that leave the variables leave the cluster; those that the
// role did not make stay. Each program runs where it is said to, or not at all.
func TestSettings(t *testing.T) {
	b := clean(t)
	v := variables{
		"porchlight_enabled": true, "porchlight_protocol": "bgp", "porchlight_gateway_enabled": false,
		"porchlight_pools": []variables{
			{"name": "a", "ip_range": "10.77.0.0/24,fd00:77::/120", "auto_assign": false},
			{"name": "b", "ip_range": []string{"10.78.0.1-10.78.0.9"}, "spec": variables{"exclude": []string{"10.78.0.4-10.78.0.5"}}},
		},
		"porchlight_peers": []variables{
			{"name": "tor1", "peer_address": "172.30.0.3", "peer_asn": 64512, "my_asn": 64513, "password": "swordfish", "hold_time": "30s", "bfd_profile": "fast"},
			{"name": "tor2", "peer_address": "172.30.0.4", "peer_asn": 64512, "my_asn": 64513},
		},
		"porchlight_bfd_profiles":             []variables{{"name": "fast", "spec": variables{"receiveInterval": 50}}},
		"porchlight_speaker_node_selector":    variables{"kubernetes.io/hostname": "node1"},
		"porchlight_speaker_tolerations":      []variables{{"key": "speakers", "operator": "Exists"}},
		"porchlight_controller_node_selector": variables{"kubernetes.io/hostname": "node2"},
		"porchlight_controller_tolerations":   []variables{{"key": "controllers", "operator": "Exists"}},
		"porchlight_patches": []variables{{
			"target": variables{"kind": "Deployment", "name": "porchlight-controller"},
			"patch":  "- {op: replace, path: /spec/replicas, value: 1}",
		}},
	}
	b.must(t, v)
	b.settings(t, []string{
		"ipaddresspool.porchlight.dev/a", "ipaddresspool.porchlight.dev/b", "bgpadvertisement.porchlight.dev/default",
		"bgppeer.porchlight.dev/tor1", "bgppeer.porchlight.dev/tor2", "bfdprofile.porchlight.dev/fast", "secret/bgp-tor1",
	})
	peer := &v1beta1.BGPPeer{}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: cluster.System, Name: "tor1"}, peer); err != nil {
		t.Fatal(err)
	}
	if peer.Spec.PasswordSecret == nil || peer.Spec.PasswordSecret.Name != "bgp-tor1" || peer.Spec.Password != "" || peer.Spec.BFDProfile != "fast" {
		t.Errorf("the peer's password and BFD profile are in %+v", peer.Spec)
	}
	b.placed(t, client.MatchingLabels{"app.kubernetes.io/name": "porchlight"}, "controller node2 controllers", "speaker node1 speakers")

	b.Apply(t, cluster.System, "apiVersion: porchlight.dev/v1beta1\nkind: IPAddressPool\nmetadata: {name: mine}\nspec: {addresses: [10.79.0.0/30]}\n")
	v["porchlight_pools"] = []variables{{"name": "b", "ip_range": []string{"10.78.0.1-10.78.0.9"}}}
	v["porchlight_peers"] = []variables{{"name": "tor2", "peer_address": "172.30.0.4", "peer_asn": 64512, "my_asn": 64513}}
	v["porchlight_bfd_profiles"] = []variables{}
	v["porchlight_advertisements"] = []variables{{"name": "edge", "protocol": "bgp", "pools": []string{"b"}, "spec": variables{"communities": []string{"no-export"}}}}
	v["porchlight_speaker_enabled"] = false
	v["porchlight_controller_enabled"] = false
	b.must(t, v)
	b.settings(t, []string{"ipaddresspool.porchlight.dev/b", "bgpadvertisement.porchlight.dev/edge", "bgppeer.porchlight.dev/tor2"})
	if _, err := b.Kubectl("get", "-n", cluster.System, "ippool", "mine"); err != nil {
		t.Errorf("a pool that a person made: %v", err)
	}
	if out, err := b.Kubectl("get", "daemonset,deployment,clusterrole", "-A", "-l", "app.kubernetes.io/name=porchlight", "-o", "name"); err != nil || out != "" {
		t.Errorf("all programs are off and there is %q, %v", out, err)
	}
	if n := b.must(t, v); n != "0" {
		t.Errorf("run twice, %s tasks changed something", n)
	}
}

// What cannot work is refused before anything is changed, with the fix.
func TestRefusals(t *testing.T) {
	b := clean(t)
	before := b.everything(t)
	refused := func(fix string, v variables) {
		t.Helper()
		v["porchlight_enabled"] = true
		if out, ok := b.play(t, v); ok || !strings.Contains(strings.Join(strings.Fields(out), " "), fix) {
			t.Errorf("the playbook with %v: success %v; want that it says %q", v, ok, fix)
		}
	}
	refused("it may be layer2 or bgp", variables{"porchlight_protocol": "l2"})
	refused("porchlight_peers is empty", variables{"porchlight_protocol": "bgp", "porchlight_ip_range": "10.77.0.0/24"})
	refused("needs a name and addresses", variables{"porchlight_pools": []variables{{"name": "a"}}})
	refused("two pools have one name", variables{"porchlight_ip_range": "10.77.0.0/24", "porchlight_pools": []variables{{"name": "default", "ip_range": "10.78.0.0/24"}}})
	refused("Set metallb_enabled to false", variables{"metallb_enabled": true})
	refused("kube_proxy_strict_arp: true", variables{"kube_proxy_mode": "ipvs"})

	config := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"},
		Data:       map[string]string{"config.conf": "mode: ipvs\nipvs: {strictARP: false}\n"},
	}
	if err := b.Create(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	refused("kube_proxy_strict_arp: true", variables{})
	if err := b.Delete(t.Context(), config); err != nil {
		t.Error(err)
	}
	if after := b.everything(t); !slices.Equal(before, after) {
		t.Errorf("refused, and there is\n%s\nmore", strings.Join(without(after, before), "\n"))
	}
}

// kubespray's variables for MetalLB, old and new, mean the same to us.
func TestMetalLBVariables(t *testing.T) {
	b := clean(t)
	v := variables{
		"porchlight_enabled": true, "porchlight_from_metallb": true, "porchlight_gateway_enabled": false,
		"metallb_enabled": false, "metallb_speaker_enabled": "{{ metallb_enabled }}", // as kubespray's inventory has it
		"metallb_config": variables{
			"address_pools": variables{
				"primary": variables{"ip_range": []string{"10.77.0.0/28"}, "auto_assign": true},
				"pool1":   variables{"ip_range": []string{"10.78.0.0/24"}, "auto_assign": false},
			},
			"layer2": []string{"primary"},
			"layer3": variables{
				"defaults":    variables{"peer_port": 1179, "hold_time": "120s"},
				"communities": variables{"vpn-only": "1234:1"},
				"metallb_peers": variables{"peer1": variables{
					"peer_address": "172.30.0.3", "peer_asn": 64512, "my_asn": 4200000000, "communities": []string{"vpn-only"},
					"address_pool": []string{"pool1"}, "aggregation_length": 28,
				}},
			},
		},
	}
	b.must(t, v)
	b.settings(t, []string{
		"ipaddresspool.porchlight.dev/pool1", "ipaddresspool.porchlight.dev/primary", "l2advertisement.porchlight.dev/layer2",
		"bgpadvertisement.porchlight.dev/peer1-external", "bgpadvertisement.porchlight.dev/peer1-local", "bgppeer.porchlight.dev/peer1",
	})
	if out, err := b.Kubectl("get", "-n", cluster.System, "daemonset/porchlight-speaker", "-o", "name"); err != nil {
		t.Errorf("the speakers, as MetalLB's are off: %v, %s", err, out)
	}
	adv := &v1beta1.BGPAdvertisement{}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: cluster.System, Name: "peer1-external"}, adv); err != nil {
		t.Fatal(err)
	}
	if got := adv.Spec; got.AggregationLength == nil || *got.AggregationLength != 28 || len(got.Communities) != 1 || got.Communities[0] != "1234:1" {
		t.Errorf("peer1-external is %+v", got)
	}

	b.must(t, variables{
		"porchlight_enabled": true, "porchlight_from_metallb": true, "porchlight_gateway_enabled": false,
		"metallb_protocol": "layer2", "metallb_pool_name": "loadbalanced",
		"metallb_ip_range": []string{"10.77.0.0/28"}, "metallb_avoid_buggy_ips": true,
	})
	b.settings(t, []string{"ipaddresspool.porchlight.dev/loadbalanced", "l2advertisement.porchlight.dev/layer2"})
}

// Users' Gateways are not deleted with their kinds. Images may come from
// elsewhere, and the gateway runs where it is said to.
func TestGatewaysStay(t *testing.T) {
	b := clean(t)
	tag, err := b.Lab.ImageTag()
	if err != nil {
		t.Fatal(err)
	}
	const elsewhere = "registry.example.com/porchlight"
	if err := b.Lab.Tag(t.Context(), image+":"+tag, elsewhere+":"+tag); err != nil {
		t.Fatal(err)
	}
	v := variables{
		"porchlight_enabled": true, "porchlight_ip_range": "172.30.0.230-172.30.0.231", "porchlight_pool_name": "lan", "porchlight_auto_assign": true,
		"porchlight_image_repo": elsewhere, "porchlight_envoy_image": build.EnvoyImage, "porchlight_timeout": 100,
		"porchlight_gateway_node_selector": variables{"kubernetes.io/hostname": "node3"},
		"porchlight_gateway_tolerations":   []variables{{"key": "gateways", "operator": "Exists"}},
	}
	b.must(t, v)
	b.settings(t, []string{"ipaddresspool.porchlight.dev/lan", "l2advertisement.porchlight.dev/default"})
	b.placed(t, client.MatchingLabels{"app.kubernetes.io/component": "gateway"}, "gateway node3 gateways")
	ns := b.Namespace(t)
	b.Apply(t, ns, `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: porchlight, listeners: [{name: http, port: 80, protocol: HTTP}]}
`)
	if _, err := b.Kubectl("wait", "-n", ns, "gateway/web", "--for=condition=Programmed", "--timeout=80s"); err != nil {
		t.Fatal(err)
	}
	images, err := b.Kubectl("get", "pods", "-n", cluster.System, "-o", `jsonpath={range .items[*].spec.containers[*]}{.image}{"\n"}{end}`)
	if err != nil {
		t.Fatal(err)
	}
	for used := range strings.FieldsSeq(images) {
		if used != elsewhere+":"+tag && used != build.EnvoyImage {
			t.Errorf("a pod has the image %s", used)
		}
	}
	fleet := &v1beta1.EnvoyFleet{}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: cluster.System, Name: "porchlight-envoy"}, fleet); err != nil || fleet.Spec.Image != build.EnvoyImage {
		t.Errorf("the fleet's image is %q, %v", fleet.Spec.Image, err)
	}
	v["porchlight_enabled"] = false
	out, ok := b.play(t, v)
	if !ok || !strings.Contains(out, "gateway.gateway.networking.k8s.io/web") {
		t.Errorf("the playbook's success is %v; want it to name the Gateway", ok)
	}
	if out, err := b.Kubectl("get", "-n", ns, "gateway/web", "-o", `jsonpath={.status.conditions[?(@.type=="Programmed")].status} {.status.addresses}`); err != nil || out != "Unknown " {
		t.Errorf("the Gateway's status is %q, as if somebody served it: %v", out, err)
	}
	if out, err := b.Kubectl("get", "svc", "-n", ns, "-o", "name"); err != nil || out != "" {
		t.Errorf("Services in the Gateway's namespace: %q, %v", out, err)
	}
	v["porchlight_delete_gateway_api_objects"] = true
	b.must(t, v)
	if out, err := b.Kubectl("get", "crd", "-o", "name"); err != nil || strings.Contains(out, "gateway") {
		t.Errorf("CRDs are %q, %v", out, err)
	}
}
