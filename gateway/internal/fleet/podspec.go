package fleet

import (
	"math"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
)

const (
	// user that the containers run as.
	user = 65532
	// leaveTime is how long an Envoy that ends takes new connections at the
	// least: until then every node and every speaker has heard that it leaves.
	leaveTime = 5 * time.Second
	// handOver is how long an Envoy goes on that is not used any more where the
	// policy is Local: until then its node serves with it alone.
	handOver = 5 * time.Second
	// endTime is for what follows when it may end.
	endTime = 10 * time.Second
	// logDir is where access logs that are files may be. Every pod has it: Envoy
	// refuses a listener whose log has no folder, and a fleet's pods are there
	// before it gets such a log.
	logDir = "/var/log/envoy"
)

// podSpec renders the pods: Envoy, and beside it the program that drains it.
// Envoy's image holds nothing but Envoy, which ends without draining when it is
// told to end; see docs/decisions/0007-envoys-come-and-go.md.
func podSpec(w *Wanted, s Settings, selector *metav1.LabelSelector) corev1.PodSpec {
	spec := &w.Fleet.Spec
	out := corev1.PodSpec{
		AutomountServiceAccountToken:  ptr(false),
		EnableServiceLinks:            ptr(false),
		TerminationGracePeriodSeconds: ptr(int64((leaveTime + w.drainTime() + handOver + endTime).Seconds())),
		NodeSelector:                  spec.NodeSelector,
		Tolerations:                   spec.Tolerations,
		Affinity:                      spec.Affinity,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot:   ptr(true),
			RunAsUser:      ptr(int64(user)),
			RunAsGroup:     ptr(int64(user)),
			FSGroup:        ptr(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selector,
		}},
		Containers: []corev1.Container{envoy(w, s), drainer(w, s)},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: w.Name.Name},
				DefaultMode:          ptr(int32(0o444)),
			}}},
			{Name: "certificate", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName:  certs.FleetSecret(w.Name.Name),
				DefaultMode: ptr(int32(0o440)),
			}}},
			{Name: "logs", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		},
	}
	for _, name := range s.PullSecrets {
		out.ImagePullSecrets = append(out.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return out
}

func envoy(w *Wanted, s Settings) corev1.Container {
	image, level := w.Fleet.Spec.Image, string(w.Fleet.Spec.LogLevel)
	if image == "" {
		image = s.Image
	}
	if level == "" {
		level = "warning"
	}
	ready := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
		Path: "/ready", Port: intstr.FromInt32(ReadyPort), Scheme: corev1.URISchemeHTTP,
	}}
	return corev1.Container{
		Name:    envoyContainer,
		Image:   image,
		Command: []string{"envoy"},
		Args: []string{
			"-c", configDir + "/envoy.yaml",
			// Its addresses, too, so that it is counted before the kubelet tells them.
			"--service-node", "$(POD_NAME)" + nodeSeparator + "$(POD_IPS)",
			"--service-cluster", w.Name.Name,
			"--log-level", level,
			"--disable-hot-restart",
			// To look for fields that it does not know costs it a third of the time
			// that it takes to load routes, and has no consequence but a warning.
			"--ignore-unknown-dynamic-fields",
			// Of connections whose listener changes.
			"--drain-time-s", strconv.Itoa(int(w.drainTime().Seconds())),
		},
		Env:             []corev1.EnvVar{field("POD_NAME", "metadata.name"), field("POD_IPS", "status.podIPs")},
		Ports:           []corev1.ContainerPort{{Name: "ready", ContainerPort: ReadyPort, Protocol: corev1.ProtocolTCP}},
		Resources:       w.Fleet.Spec.Resources,
		SecurityContext: confined(),
		// It has started once it has all it is to serve, however long the gateway
		// is away. From then on it stays ready until it ends: its main thread,
		// which answers, may be busy while its workers serve.
		StartupProbe: &corev1.Probe{
			ProbeHandler: ready, PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: math.MaxInt32,
		},
		LivenessProbe: &corev1.Probe{
			ProbeHandler: ready, PeriodSeconds: 10, TimeoutSeconds: 5, SuccessThreshold: 1, FailureThreshold: 3,
		},
		Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: "/drained", Port: intstr.FromInt32(DrainPort), Scheme: corev1.URISchemeHTTP,
		}}},
		VolumeMounts: []corev1.VolumeMount{
			{Name: "config", MountPath: configDir, ReadOnly: true},
			{Name: "certificate", MountPath: certsDir, ReadOnly: true},
			{Name: "logs", MountPath: logDir},
		},
	}
}

// drainer is the container with gateway/drain.
//
// With the policy Local a node without another Envoy serves, and announces,
// with this one until it is said to serve no more. That is said by the clock
// (see ServesUntil), so it must not end sooner.
func drainer(w *Wanted, s Settings) corev1.Container {
	leave, drain := leaveTime, w.drainTime()
	if w.Fleet.Spec.Service.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		leave, drain = leave+drain+handOver, 0
	}
	return corev1.Container{
		Name:    "drain",
		Image:   s.DrainImage,
		Command: []string{"/usr/local/bin/porchlight-drain"},
		Args: []string{
			"--admin=127.0.0.1:" + strconv.Itoa(AdminPort),
			"--listen=:" + strconv.Itoa(DrainPort),
			"--leave=" + leave.String(),
			"--drain=" + drain.String(),
		},
		Ports:           []corev1.ContainerPort{{Name: "drain", ContainerPort: DrainPort, Protocol: corev1.ProtocolTCP}},
		SecurityContext: confined(),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
	}
}

func confined() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr(false),
		ReadOnlyRootFilesystem:   ptr(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

// nodeSeparator is between the parts of the name that an Envoy gives itself.
const nodeSeparator = "@"

// Node returns the pod and the addresses that are in the name an Envoy gives
// itself. Neither is to be trusted.
func Node(id string) (pod, addresses string) {
	pod, addresses, _ = strings.Cut(id, nodeSeparator)
	return pod, addresses
}
