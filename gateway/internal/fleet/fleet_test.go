package fleet

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
)

func wanted(name string) *Wanted {
	n := types.NamespacedName{Namespace: "porchlight-system", Name: name}
	return &Wanted{
		FleetPlan: ingest.FleetPlan{Name: n, Parameters: n},
		Fleet:     &v1beta1.EnvoyFleet{ObjectMeta: metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name, UID: "u"}},
	}
}

// rendered are the objects of a group by their kinds.
type rendered struct {
	deployment *appsv1.Deployment
	daemonSet  *appsv1.DaemonSet
	autoscaler *autoscalingv2.HorizontalPodAutoscaler
	budget     *policyv1.PodDisruptionBudget
}

func render(t *testing.T, w *Wanted, replicas int32) (r rendered) {
	t.Helper()
	objects, err := Objects(w, Settings{Image: "envoy:1", DrainImage: "porchlight:1", XDSPort: 18000, PullSecrets: []string{"pull"}}, replicas)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetName() != w.Name.Name || o.GetNamespace() != w.Name.Namespace || len(o.GetOwnerReferences()) != 1 || o.GetLabels()[Label] != w.Name.Name {
			t.Errorf("%T: %s/%s %v owned by %v", o, o.GetNamespace(), o.GetName(), o.GetLabels(), o.GetOwnerReferences())
		}
		switch o := o.(type) {
		case *appsv1.Deployment:
			r.deployment = o
		case *appsv1.DaemonSet:
			r.daemonSet = o
		case *autoscalingv2.HorizontalPodAutoscaler:
			r.autoscaler = o
		case *policyv1.PodDisruptionBudget:
			r.budget = o
		}
	}
	return r
}

func TestDeployment(t *testing.T) {
	w := wanted("edge")
	d := render(t, w, 0).deployment
	pod := d.Spec.Template
	c := pod.Spec.Containers[0]
	if *d.Spec.Replicas != 2 || c.Image != "envoy:1" || pod.Spec.Containers[1].Image != "porchlight:1" || pod.Labels[Label] != "edge" || pod.Spec.ImagePullSecrets[0].Name != "pull" {
		t.Errorf("replicas %d, image %s, labels %v", *d.Spec.Replicas, c.Image, pod.Labels)
	}
	if !*pod.Spec.SecurityContext.RunAsNonRoot || pod.Spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.Spec.AutomountServiceAccountToken {
		t.Error("the pod may do more than it needs")
	}
	for _, c := range pod.Spec.Containers {
		if s := c.SecurityContext; !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || len(s.Capabilities.Drop) != 1 {
			t.Errorf("container %s may do more than it needs", c.Name)
		}
	}
	b := render(t, w, 0).budget
	if b == nil || b.Spec.MaxUnavailable.IntValue() != 1 || b.Spec.MinAvailable != nil || *b.Spec.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow ||
		len(b.Spec.Selector.MatchLabels) != 1 || b.Spec.Selector.MatchLabels[Label] != pod.Labels[Label] {
		t.Errorf("disruption budget %+v", b)
	}
	before := pod.Annotations["porchlight.dev/config"]
	w.Fleet.Spec.Image, w.Fleet.Spec.Replicas = "envoy:2", ptr(int32(0))
	if d := render(t, w, 5).deployment; d.Spec.Template.Spec.Containers[0].Image != "envoy:2" || *d.Spec.Replicas != 0 ||
		d.Spec.Template.Annotations["porchlight.dev/config"] != before {
		t.Error("what the EnvoyFleet says is not what the Deployment has")
	}
	other := wanted("edge")
	other.Name.Namespace = "elsewhere"
	if render(t, other, 0).deployment.Spec.Template.Annotations["porchlight.dev/config"] == before {
		t.Error("another configuration does not make new pods")
	}
}

// Everything that shapes a pod reaches it.
func TestPodIsAsTheFleetSays(t *testing.T) {
	w := wanted("edge")
	f := &w.Fleet.Spec
	f.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	f.NodeSelector = map[string]string{"edge": "true"}
	f.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	f.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
	f.LogLevel = "debug"
	f.DrainTime = &metav1.Duration{Duration: 90 * time.Second}
	pod := render(t, w, 0).deployment.Spec.Template.Spec
	envoy, drain := pod.Containers[0], pod.Containers[1]
	if !envoy.Resources.Requests.Cpu().Equal(resource.MustParse("1")) || pod.NodeSelector["edge"] != "true" || len(pod.Tolerations) != 1 || pod.Affinity == nil {
		t.Errorf("pod %+v", pod)
	}
	for _, want := range [][]string{{"--log-level", "debug"}, {"--drain-time-s", "90"}} {
		if i := slices.Index(envoy.Args, want[0]); i < 0 || envoy.Args[i+1] != want[1] {
			t.Errorf("arguments %v, want %v", envoy.Args, want)
		}
	}
	if !slices.Contains(drain.Args, "--drain=1m30s") || *pod.TerminationGracePeriodSeconds < 95 {
		t.Errorf("drained by %v in %d s", drain.Args, *pod.TerminationGracePeriodSeconds)
	}
	f.Service.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	if args := render(t, w, 0).deployment.Spec.Template.Spec.Containers[1].Args; !slices.Contains(args, "--leave=1m40s") || !slices.Contains(args, "--drain=0s") {
		t.Errorf("with the policy Local it may end while its node is announced: %v", args)
	}
	if !slices.ContainsFunc(envoy.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/var/log/envoy" && !m.ReadOnly }) {
		t.Errorf("mounts %v: the access log's folder is not there", envoy.VolumeMounts)
	}
	before := render(t, w, 0).deployment.Spec.Template
	f.AccessLog = &v1beta1.FleetAccessLog{Path: "/var/log/envoy/access.log"}
	if after := render(t, w, 0).deployment.Spec.Template; !reflect.DeepEqual(before, after) {
		t.Errorf("an access log replaces the pods: %+v, before %+v", after, before)
	}
}

func TestDaemonSet(t *testing.T) {
	w := wanted("edge")
	w.Fleet.Spec.Kind = v1beta1.FleetDaemonSet
	r := render(t, w, 0)
	if r.daemonSet == nil || r.deployment != nil || r.budget != nil || r.autoscaler != nil {
		t.Errorf("rendered %+v", r)
	}
	if u := r.daemonSet.Spec.UpdateStrategy.RollingUpdate; u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() != 1 {
		t.Errorf("an update takes an Envoy away before there is another: %+v", u)
	}
}

// The cluster decides how many Envoys there are, between the bounds.
func TestAutoscaling(t *testing.T) {
	w := wanted("edge")
	w.Fleet.Spec.Autoscaling = &v1beta1.FleetAutoscaling{MinReplicas: 2, MaxReplicas: 6, CPUUtilization: ptr(int32(70))}
	for now, want := range map[int32]int32{0: 2, 4: 4, 9: 6} {
		if got := *render(t, w, now).deployment.Spec.Replicas; got != want {
			t.Errorf("with %d Envoys now: %d, want %d", now, got, want)
		}
	}
	h := render(t, w, 0).autoscaler
	if h == nil || h.Spec.ScaleTargetRef.Name != "edge" || *h.Spec.MinReplicas != 2 || h.Spec.MaxReplicas != 6 || len(h.Spec.Metrics) != 1 {
		t.Fatalf("autoscaler %+v", h)
	}
	if m := h.Spec.Metrics[0].ContainerResource; m.Container != "envoy" || m.Name != corev1.ResourceCPU || *m.Target.AverageUtilization != 70 {
		t.Errorf("metric %+v", m)
	}
	w.Fleet.Spec.Autoscaling.CPUUtilization, w.Fleet.Spec.Autoscaling.MemoryUtilization = nil, ptr(int32(80))
	h = render(t, w, 0).autoscaler
	if m := h.Spec.Metrics[0].ContainerResource; len(h.Spec.Metrics) != 1 || m.Name != corev1.ResourceMemory || *m.Target.AverageUtilization != 80 {
		t.Errorf("metrics %+v", h.Spec.Metrics)
	}
}

// What a Gateway's author asks for is on everything that serves that Gateway
// alone, but for what the gateway itself relies on.
func TestDedicatedHasTheGatewaysLabels(t *testing.T) {
	w := wanted("envoy-ns-web-1")
	w.Gateway = &types.NamespacedName{Namespace: "ns", Name: "web"}
	w.Labels = map[string]string{"team": "a", Label: "other", gwv1.GatewayNameLabelKey: "web"}
	w.Annotations = map[string]string{"note": "b", "porchlight.dev/config": "none"}
	d := render(t, w, 0).deployment
	for what, m := range map[string]metav1.ObjectMeta{"Deployment": d.ObjectMeta, "pod": d.Spec.Template.ObjectMeta} {
		if m.Labels["team"] != "a" || m.Labels[Label] != "envoy-ns-web-1" || m.Labels[gwv1.GatewayNameLabelKey] != "web" || m.Annotations["note"] != "b" {
			t.Errorf("%s: %v %v", what, m.Labels, m.Annotations)
		}
	}
	if d.Spec.Template.Annotations["porchlight.dev/config"] == "none" {
		t.Error("an annotation of the Gateway keeps pods from being made new")
	}
	w.Labels[gwv1.GatewayNameLabelKey] = strings.Repeat("a", 64)
	if _, ok := render(t, w, 0).deployment.Labels[gwv1.GatewayNameLabelKey]; ok {
		t.Error("a label is longer than the API server takes")
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
	// What is translated counts on it: larger expressions than Envoy allows.
	if want := "static_layer: {\"re2.max_program_size.error_level\":32768}"; !strings.Contains(files["envoy.yaml"], want) {
		t.Errorf("the runtime is not %s", want)
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

// The number of statistics does not grow with what is served.
func TestStatisticsAreOfNoRouteNorListener(t *testing.T) {
	files, err := Files(PlaceOf(types.NamespacedName{Namespace: "porchlight-system", Name: "edge"}, 18000))
	if err != nil {
		t.Fatal(err)
	}
	type pattern struct{ Prefix, Exact string }
	var b struct {
		StatsConfig struct {
			StatsMatcher struct {
				InclusionList struct{ Patterns []pattern } `json:"inclusion_list"`
			} `json:"stats_matcher"`
		} `json:"stats_config"`
	}
	if err := yaml.Unmarshal([]byte(files["envoy.yaml"]), &b); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"http.http.downstream_rq_total":             true,
		"http.http.rds.ns/web/80.config_reload":     false,
		"http.ready.downstream_rq_total":            false,
		"cluster.ns/web/80/http.upstream_rq_total":  false,
		"vhost.example.com.vcluster.x":              false,
		"listener.[__]_20000.downstream_cx_total":   false,
		"tcp.tcp.downstream_cx_total":               true,
		"server.total_connections":                  true,
		"cluster_manager.active_clusters":           true,
		"listener_manager.total_listeners_active":   true,
		"listener_manager.worker_0.dispatcher.loop": false,
	} {
		got := slices.ContainsFunc(b.StatsConfig.StatsMatcher.InclusionList.Patterns, func(p pattern) bool {
			return p.Exact == name || p.Prefix != "" && strings.HasPrefix(name, p.Prefix)
		})
		if got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}
