package fleet

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/porchlight-lb/porchlight/internal/names"
)

// Annotations on a fleet's pods, written by what the xDS streams learn.
const (
	// ServesAnnotation has the names of the listeners that the pod's Envoy
	// serves, separated by commas.
	ServesAnnotation = names.Prefix + "serves"
	// AddressesAnnotation has the pod's addresses as its Envoy knows them,
	// separated by commas: the kubelet tells them up to a second later.
	AddressesAnnotation = names.Prefix + "addresses"
)

// envoyContainer is the name of the container that Envoy runs in.
const envoyContainer = "envoy"

// Serves returns the listeners that the pod's Envoy serves, and whether that
// is known.
func Serves(p *corev1.Pod) ([]string, bool) {
	v, ok := p.Annotations[ServesAnnotation]
	return fields(v), ok
}

// Ready says that the pod's Envoy takes new connections and stays.
//
// At its first start that is so once it has acknowledged over its stream what
// it is to serve. From then on the kubelet's word counts, which takes a probe
// for it, and which alone knows of an Envoy that was started again.
func Ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && (podReady(p) || starting(p))
}

// Serving says that the pod's Envoy takes new connections, also where it is
// about to leave: one that leaves does so until the time that ServesUntil gives.
func Serving(p *corev1.Pod, now time.Time) bool {
	if p.DeletionTimestamp == nil {
		return Ready(p)
	}
	_, known := Serves(p)
	c := envoyStatus(p)
	return known && c != nil && c.State.Running != nil && now.Before(ServesUntil(p))
}

// ServesUntil is when nobody should use the Envoy any more of a pod that
// leaves: so long before its end that nodes and routers have turned away by
// then. It is the zero time for a pod that stays.
func ServesUntil(p *corev1.Pod) time.Time {
	if p.DeletionTimestamp == nil {
		return time.Time{}
	}
	return p.DeletionTimestamp.Add(-handOver - endTime)
}

// starting says that the Envoy serves and that the kubelet has not judged it
// yet. The kubelet tells that the probe has succeeded before it tells what it
// makes of that, a second before where it is busy. Whether the container is
// ready it tells along with whether the pod is; and a container that has been
// stays so in what is left of a node that is lost.
func starting(p *corev1.Pod) bool {
	if _, known := Serves(p); !known {
		return false
	}
	switch p.Status.Phase {
	case corev1.PodFailed, corev1.PodSucceeded:
		return false
	}
	c := envoyStatus(p)
	return c == nil || c.RestartCount == 0 && c.State.Terminated == nil && !c.Ready
}

// Addresses returns the pod's addresses: those that the kubelet tells, or else
// those that its Envoy told.
func Addresses(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	add := func(s string) {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	for _, ip := range p.Status.PodIPs {
		add(ip.IP)
	}
	if len(out) == 0 {
		for _, s := range fields(p.Annotations[AddressesAnnotation]) {
			add(s)
		}
	}
	return out
}

func envoyStatus(p *corev1.Pod) *corev1.ContainerStatus {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == envoyContainer })
	if i < 0 {
		return nil
	}
	return &p.Status.ContainerStatuses[i]
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
