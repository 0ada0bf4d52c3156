// Package fleet runs the Envoys of an EnvoyFleet: it renders their
// Deployment and what belongs to it, keeps those applied, and reports on the
// EnvoyFleet how many are ready.
package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// Label is on every pod of a fleet, with the fleet's name.
const Label = names.Prefix + "fleet"

const (
	// user that Envoy runs as.
	user = 65532
	// leaveSeconds is how long a pod that ends goes on serving, so that no node
	// sends it new connections any more when Envoy stops; drainSeconds is how
	// long Envoy then closes connections.
	leaveSeconds = 5
	drainSeconds = 10
)

// Settings of the installation.
type Settings struct {
	// Image of fleets that name none.
	Image string
	// XDSPort of the gateway's Service.
	XDSPort int
}

// Objects renders what runs the fleet: a ConfigMap, a Deployment and a
// PodDisruptionBudget of the fleet's name.
func Objects(f *v1beta1.EnvoyFleet, s Settings) ([]client.Object, error) {
	files, err := Files(PlaceOf(types.NamespacedName{Namespace: f.Namespace, Name: f.Name}, s.XDSPort))
	if err != nil {
		return nil, err
	}
	meta := metav1.ObjectMeta{
		Namespace: f.Namespace,
		Name:      f.Name,
		Labels:    map[string]string{names.ManagedBy: names.Porchlight, Label: f.Name, "app.kubernetes.io/name": "envoy"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1beta1.GroupVersion.String(), Kind: "EnvoyFleet", Name: f.Name, UID: f.UID,
			Controller: ptr(true),
		}},
	}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{Label: f.Name}}
	one := intstr.FromInt32(1)
	return []client.Object{
		&corev1.ConfigMap{ObjectMeta: *meta.DeepCopy(), Data: files},
		&policyv1.PodDisruptionBudget{
			ObjectMeta: *meta.DeepCopy(),
			Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: selector},
		},
		deployment(f, s, meta, selector, files),
	}, nil
}

func deployment(f *v1beta1.EnvoyFleet, s Settings, meta metav1.ObjectMeta, selector *metav1.LabelSelector, files map[string]string) *appsv1.Deployment {
	replicas := ptr(int32(2))
	if f.Spec.Replicas != nil {
		replicas = f.Spec.Replicas
	}
	surge, unavailable := intstr.FromInt32(1), intstr.FromInt32(0)
	return &appsv1.Deployment{
		ObjectMeta: *meta.DeepCopy(),
		Spec: appsv1.DeploymentSpec{
			Replicas:             replicas,
			RevisionHistoryLimit: ptr(int32(2)),
			Selector:             selector,
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels: meta.Labels,
					Annotations: map[string]string{
						names.Prefix + "config": digest(files),
						"prometheus.io/scrape":  "true",
						"prometheus.io/port":    "19001",
						"prometheus.io/path":    "/stats/prometheus",
					},
				},
				Spec: podSpec(f, s, selector),
			},
		},
	}
}

func podSpec(f *v1beta1.EnvoyFleet, s Settings, selector *metav1.LabelSelector) corev1.PodSpec {
	image := f.Spec.Image
	if image == "" {
		image = s.Image
	}
	return corev1.PodSpec{
		AutomountServiceAccountToken:  ptr(false),
		EnableServiceLinks:            ptr(false),
		TerminationGracePeriodSeconds: ptr(int64(leaveSeconds + drainSeconds + 15)),
		NodeSelector:                  f.Spec.NodeSelector,
		Tolerations:                   f.Spec.Tolerations,
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
		Containers: []corev1.Container{{
			Name:    "envoy",
			Image:   image,
			Command: []string{"envoy"},
			Args: []string{
				"-c", configDir + "/envoy.yaml",
				"--service-node", "$(POD_NAME)",
				"--service-cluster", f.Name,
				"--log-level", "warning",
				"--disable-hot-restart",
				"--drain-time-s", "10",
			},
			Env: []corev1.EnvVar{{
				Name:      "POD_NAME",
				ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}},
			}},
			Ports:     []corev1.ContainerPort{{Name: "ready", ContainerPort: ReadyPort, Protocol: corev1.ProtocolTCP}},
			Resources: f.Spec.Resources,
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: ptr(false),
				ReadOnlyRootFilesystem:   ptr(true),
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
					Path: "/ready", Port: intstr.FromInt32(ReadyPort), Scheme: corev1.URISchemeHTTP,
				}},
				PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
			},
			Lifecycle: &corev1.Lifecycle{
				PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: leaveSeconds}},
			},
			VolumeMounts: []corev1.VolumeMount{
				{Name: "config", MountPath: configDir, ReadOnly: true},
				{Name: "certificate", MountPath: certsDir, ReadOnly: true},
			},
		}},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: f.Name},
				DefaultMode:          ptr(int32(0o444)),
			}}},
			{Name: "certificate", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName:  certs.FleetSecret(f.Name),
				DefaultMode: ptr(int32(0o440)),
			}}},
		},
	}
}

// digest makes the pods new when Envoy's configuration files are.
func digest(files map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString(name + "\x00" + files[name] + "\x00")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:8])
}

func ptr[T any](v T) *T { return &v }
