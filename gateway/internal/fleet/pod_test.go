package fleet

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhoTakesConnections(t *testing.T) {
	type pod = *corev1.Pod
	serves := func(p pod) { p.Annotations = map[string]string{ServesAnnotation: "ns/web/80"} }
	status := func(c corev1.ContainerStatus) func(pod) {
		c.Name = envoyContainer
		return func(p pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "drain"}, c} }
	}
	ready := func(p pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	now := time.Now()
	leaves := func(in time.Duration) func(pod) {
		return func(p pod) { p.DeletionTimestamp = &metav1.Time{Time: now.Add(in)} }
	}
	leaving := leaves(time.Minute)
	failed := func(p pod) { p.Status.Phase = corev1.PodFailed }
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}

	for name, c := range map[string]struct {
		with           []func(pod)
		ready, serving bool
	}{
		"just made":                               {nil, false, false},
		"the kubelet says so":                     {[]func(pod){ready}, true, true},
		"serves, and the kubelet knows nothing":   {[]func(pod){serves}, true, true},
		"serves, and the kubelet has not probed":  {[]func(pod){serves, status(corev1.ContainerStatus{State: running, Started: ptr(false)})}, true, true},
		"serves, and was probed this moment":      {[]func(pod){serves, status(corev1.ContainerStatus{State: running, Started: ptr(true)})}, true, true},
		"runs, and serves nothing yet":            {[]func(pod){status(corev1.ContainerStatus{State: running, Started: ptr(false)})}, false, false},
		"served, and was started again":           {[]func(pod){serves, status(corev1.ContainerStatus{State: running, Started: ptr(false), RestartCount: 1})}, false, false},
		"served, was started again, and is ready": {[]func(pod){serves, ready, status(corev1.ContainerStatus{State: running, Started: ptr(true), RestartCount: 1})}, true, true},
		"served, and ended":                       {[]func(pod){serves, status(corev1.ContainerStatus{State: ended})}, false, false},
		"served, and its pod failed":              {[]func(pod){serves, failed}, false, false},
		"was ready, and its node is lost":         {[]func(pod){serves, status(corev1.ContainerStatus{State: running, Started: ptr(true), Ready: true})}, false, false},
		"leaves":                                  {[]func(pod){serves, ready, leaving, status(corev1.ContainerStatus{State: running, Started: ptr(true)})}, false, true},
		"leaves before it served":                 {[]func(pod){leaving, status(corev1.ContainerStatus{State: running})}, false, false},
		"leaves soon":                             {[]func(pod){serves, ready, leaves(handOver + endTime), status(corev1.ContainerStatus{State: running, Started: ptr(true)})}, false, false},
		"left":                                    {[]func(pod){serves, leaving, status(corev1.ContainerStatus{State: ended})}, false, false},
	} {
		p := &corev1.Pod{}
		for _, f := range c.with {
			f(p)
		}
		if r, s := Ready(p), Serving(p, now); r != c.ready || s != c.serving {
			t.Errorf("%s: ready %v, serving %v; want %v, %v", name, r, s, c.ready, c.serving)
		}
	}
}

func TestAddressesOfThePod(t *testing.T) {
	p := &corev1.Pod{}
	_, told := Node("envoy-1@10.0.0.1,fd00::1")
	p.Annotations = map[string]string{AddressesAnnotation: told}
	if a := Addresses(p); len(a) != 2 || a[0].String() != "10.0.0.1" || a[1].String() != "fd00::1" {
		t.Errorf("addresses %v that its Envoy told", a)
	}
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.2"}}
	if a := Addresses(p); len(a) != 1 || a[0].String() != "10.0.0.2" {
		t.Errorf("addresses %v, want what the kubelet tells", a)
	}
}
