package chart

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
	"github.com/porchlight-lb/porchlight/internal/names"
)

const (
	path       = "../../deploy/chart/porchlight"
	usualSpace = "porchlight-system"
	usualName  = "porchlight"
)

type values = map[string]any

// render gives the objects of a release, and what it renders to as text.
func render(t *testing.T, name, namespace string, v values) ([]*unstructured.Unstructured, map[string]string) {
	t.Helper()
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: name, Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, rendered)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for file, content := range files {
		if strings.HasSuffix(file, "NOTES.txt") {
			continue
		}
		for doc := range strings.SplitSeq(content, "\n---\n") {
			u := &unstructured.Unstructured{}
			if err := yaml.UnmarshalStrict([]byte(doc), &u.Object); err != nil {
				t.Fatalf("%s: %v\n%s", file, err, doc)
			}
			if u.Object != nil {
				objects = append(objects, u)
			}
		}
	}
	return objects, files
}

// keys says which objects there are, as Kind/name.
func keys(objects []*unstructured.Unstructured, which func(*unstructured.Unstructured) bool) []string {
	set := map[string]bool{}
	for _, u := range objects {
		if which(u) {
			set[u.GetKind()+"/"+u.GetName()] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func ofCluster(u *unstructured.Unstructured) bool { return u.GetNamespace() == "" }
func everything(*unstructured.Unstructured) bool  { return true }

func TestNamesThatPeopleRelyOn(t *testing.T) {
	objects, _ := render(t, usualName, usualSpace, nil)
	got := keys(objects, everything)
	for _, want := range []string{
		"Deployment/porchlight-controller",
		"Deployment/porchlight-gateway",
		"DaemonSet/porchlight-speaker",
		"EnvoyFleet/" + names.DefaultFleet,
		"GatewayClass/porchlight",
		"Service/porchlight-gateway",
		"ServiceAccount/porchlight-controller",
		"ClusterRole/porchlight-controller",
		"ClusterRole/porchlight-gateway",
		"ClusterRole/porchlight-speaker",
		"Role/porchlight-controller",
		"Role/porchlight-gateway",
		"Role/porchlight-speaker",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// Installations in two namespaces do not fight for an object.
func TestInstallationsShareNothing(t *testing.T) {
	usual, _ := render(t, usualName, usualSpace, nil)
	elsewhere, _ := render(t, usualName, "elsewhere", nil)
	taken := keys(usual, ofCluster)
	for _, k := range keys(elsewhere, ofCluster) {
		if slices.Contains(taken, k) {
			t.Errorf("an installation in another namespace has the same %s", k)
		}
	}
}

// The programs find each other by name.
func TestNamesDoNotDependOnTheRelease(t *testing.T) {
	usual, _ := render(t, usualName, usualSpace, nil)
	other, _ := render(t, "other", usualSpace, nil)
	if got, want := keys(other, everything), keys(usual, everything); !slices.Equal(got, want) {
		t.Errorf("a release called other has\n%v\nwant\n%v", got, want)
	}
}

func TestSwitches(t *testing.T) {
	for part, leftOut := range map[string][]string{
		"controller": {"Deployment/porchlight-controller", "ClusterRole/porchlight-controller", "ServiceAccount/porchlight-controller"},
		"speaker":    {"DaemonSet/porchlight-speaker", "ClusterRole/porchlight-speaker", "ServiceAccount/porchlight-speaker"},
		"gateway": {"Deployment/porchlight-gateway", "ClusterRole/porchlight-gateway", "ServiceAccount/porchlight-gateway",
			"Service/porchlight-gateway", "GatewayClass/porchlight", "EnvoyFleet/porchlight-envoy"},
	} {
		t.Run(part, func(t *testing.T) {
			objects, _ := render(t, usualName, usualSpace, values{part: values{"enabled": false}})
			got := keys(objects, everything)
			for _, k := range leftOut {
				if slices.Contains(got, k) {
					t.Errorf("%s is there", k)
				}
			}
			for _, other := range []string{"controller", "speaker", "gateway"} {
				if other != part && !slices.Contains(got, "ServiceAccount/porchlight-"+other) {
					t.Errorf("the %s is gone, too", other)
				}
			}
		})
	}
}

// No pod has a right that its program does not need.
func TestLeastPrivilege(t *testing.T) {
	objects, _ := render(t, usualName, usualSpace, nil)
	pods := 0
	for _, u := range objects {
		raw, ok, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec")
		if !ok {
			continue
		}
		pods++
		var pod corev1.PodSpec
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(raw, &pod, true); err != nil {
			t.Fatalf("%s: %v", u.GetName(), err)
		}
		speaker := strings.HasSuffix(u.GetName(), "-speaker")
		if pod.HostNetwork != speaker {
			t.Errorf("%s: hostNetwork is %v", u.GetName(), pod.HostNetwork)
		}
		if sc := pod.SecurityContext; sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || sc.RunAsUser == nil || *sc.RunAsUser == 0 ||
			sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: the pod's security context is %+v", u.GetName(), sc)
		}
		for _, c := range pod.Containers {
			sc := c.SecurityContext
			if sc == nil || sc.Capabilities == nil || sc.AllowPrivilegeEscalation == nil || sc.ReadOnlyRootFilesystem == nil {
				t.Errorf("%s: the container's security context is %+v", u.GetName(), sc)
				continue
			}
			if *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: the container's security context is %+v", u.GetName(), sc)
			}
			var want []corev1.Capability
			if speaker {
				want = []corev1.Capability{"NET_RAW"}
			}
			if !slices.Equal(sc.Capabilities.Add, want) {
				t.Errorf("%s: capabilities %v, want %v", u.GetName(), sc.Capabilities.Add, want)
			}
			if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.Resources.Requests.Memory().IsZero() {
				t.Errorf("%s: a probe or a request for memory is missing", u.GetName())
			}
		}
	}
	if pods != 3 {
		t.Errorf("%d pod templates, want those of the three programs", pods)
	}
}

// Programs come before what they serve, run where they are needed, and are not
// evicted together.
func TestPlacement(t *testing.T) {
	objects, _ := render(t, usualName, usualSpace, nil)
	pods := map[string]corev1.PodSpec{}
	for _, u := range objects {
		raw, ok, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec")
		if !ok {
			continue
		}
		var pod corev1.PodSpec
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &pod); err != nil {
			t.Fatal(err)
		}
		pods[u.GetName()] = pod
	}
	for name, class := range map[string]string{
		"porchlight-controller": "system-cluster-critical", "porchlight-gateway": "system-cluster-critical", "porchlight-speaker": "system-node-critical",
	} {
		pod := pods[name]
		if pod.PriorityClassName != class || pod.NodeSelector[corev1.LabelOSStable] != "linux" {
			t.Errorf("%s has priority class %s and node selector %v", name, pod.PriorityClassName, pod.NodeSelector)
		}
	}
	if all := pods["porchlight-speaker"].Tolerations; len(all) != 1 || all[0] != (corev1.Toleration{Operator: corev1.TolerationOpExists}) {
		t.Errorf("speakers do not run on every node: they tolerate %v", all)
	}

	budgets := func(v values) []string {
		objects, _ := render(t, usualName, usualSpace, v)
		return keys(objects, func(u *unstructured.Unstructured) bool { return u.GetKind() == "PodDisruptionBudget" })
	}
	if got, want := budgets(nil), []string{"PodDisruptionBudget/porchlight-controller", "PodDisruptionBudget/porchlight-gateway"}; !slices.Equal(got, want) {
		t.Errorf("there are %v; want %v", got, want)
	}
	// One that is alone must be evictable.
	if got := budgets(values{"controller": values{"replicas": 1}}); !slices.Equal(got, []string{"PodDisruptionBudget/porchlight-gateway"}) {
		t.Errorf("with one controller there are %v", got)
	}
	if got := budgets(values{"podDisruptionBudget": values{"enabled": false}}); len(got) > 0 {
		t.Errorf("unwanted, there are %v", got)
	}
}

func TestValuesReachTheirPlace(t *testing.T) {
	_, files := render(t, usualName, usualSpace, values{
		"image":        values{"repository": "example.org/p", "tag": "t1"},
		"lbClass":      "example.org/class",
		"logLevel":     "debug",
		"controller":   values{"requireClass": true, "replicas": 3},
		"speaker":      values{"gossipPort": 7999, "ignoreExcludeLB": true},
		"envoy":        values{"image": "example.org/envoy:1", "replicas": 5, "service": values{"externalTrafficPolicy": "Local"}},
		"gatewayClass": values{"name": "edge", "controllerName": "example.org/gateway"},
	})
	for file, wants := range map[string][]string{
		"controller.yaml": {`image: "example.org/p:t1"`, "--lb-class=example.org/class", "--require-class=true", "--log-level=debug", "replicas: 3"},
		"speaker.yaml":    {"--lb-class=example.org/class", "--require-class=true", "--gossip-port=7999", "containerPort: 7999", "--ignore-exclude-lb=true"},
		"gateway.yaml":    {"--envoy-image=example.org/envoy:1", "--controller-name=example.org/gateway"},
		"fleet.yaml":      {"replicas: 5", "externalTrafficPolicy: Local", "loadBalancerClass: example.org/class", "name: edge", "controllerName: example.org/gateway"},
	} {
		for _, want := range wants {
			if !strings.Contains(files["porchlight/templates/"+file], want) {
				t.Errorf("%s does not say %s", file, want)
			}
		}
	}
}

// The values of envoy are the default fleet, but for what its kind excludes.
func TestFleetOfTheValues(t *testing.T) {
	for name, c := range map[string]struct {
		envoy      values
		want, deny []string
	}{
		"as it comes": {values{}, []string{"mode: Shared", "kind: Deployment", "replicas: 2", "drainTime: 30s"}, []string{"accessLog", "autoscaling", "affinity"}},
		"daemon set":  {values{"kind": "DaemonSet"}, []string{"kind: DaemonSet"}, []string{"replicas:"}},
		"autoscaling": {values{"autoscaling": values{"maxReplicas": 5, "cpuUtilization": 80}}, []string{"maxReplicas: 5"}, []string{" replicas:"}},
		"access log":  {values{"accessLog": values{}, "logLevel": "debug", "mode": "Dedicated"}, []string{"accessLog: {}", "logLevel: debug", "mode: Dedicated"}, nil},
	} {
		_, files := render(t, usualName, usualSpace, values{"envoy": c.envoy})
		got := files["porchlight/templates/fleet.yaml"]
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: it does not say %s:\n%s", name, want, got)
			}
		}
		for _, deny := range c.deny {
			if strings.Contains(got, deny) {
				t.Errorf("%s: it says %s:\n%s", name, deny, got)
			}
		}
	}
}

// The images of fleets come with the secrets that the others come with.
func TestPullSecretsReachTheFleets(t *testing.T) {
	_, files := render(t, usualName, usualSpace, values{"imagePullSecrets": []any{values{"name": "pull"}}, "image": values{"repository": "example.org/p", "tag": "t1"}})
	for _, want := range []string{"- --pull-secret=pull\n", "- --drain-image=example.org/p:t1\n"} {
		if !strings.Contains(files["porchlight/templates/gateway.yaml"], want) {
			t.Errorf("the gateway is not told %s", want)
		}
	}
}

// What the lab tests with is what the chart installs.
func TestEnvoyIsTheOneOfTheLab(t *testing.T) {
	_, files := render(t, usualName, usualSpace, nil)
	if want := "--envoy-image=" + build.EnvoyImage + "\n"; !strings.Contains(files["porchlight/templates/gateway.yaml"], want) {
		t.Errorf("the chart does not say %s", want)
	}
}

func TestRefusedValues(t *testing.T) {
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]values{
		"misspelled":     {"speaker": values{"gosipPort": 1}},
		"port too great": {"speaker": values{"gossipPort": 70000}},
		"log level":      {"logLevel": "loud"},
		"no image":       {"image": values{"repository": ""}},
		"traffic policy": {"envoy": values{"service": values{"externalTrafficPolicy": "Nearby"}}},
	} {
		if _, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: usualName, Namespace: usualSpace}, nil); err == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
	}
}

// Helm keeps a release, chart and manifests, in one Secret, and the API server
// stores a Secret of at most 1 MiB.
func TestReleaseFitsIntoItsSecret(t *testing.T) {
	_, files := render(t, usualName, usualSpace, nil)
	c, err := loader.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	r := release.Release{Name: usualName, Namespace: usualSpace, Chart: c}
	for _, content := range files {
		r.Manifest += content
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	gz, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	gz.Write(b)
	gz.Close()
	const room = 200 << 10
	if size := base64.StdEncoding.EncodedLen(packed.Len()); size > 1<<20-room {
		t.Errorf("a release is %d bytes, of 1 MiB that a Secret may have", size)
	} else {
		t.Logf("a release is %d bytes", size)
	}
}
