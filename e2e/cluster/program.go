package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Program is one of our programs that runs in a pod, as a process of the
// machine.
type Program struct {
	Pod *corev1.Pod
	PID int
}

// Program finds the program of that name in the pod. Pods on the network of
// their node have its host name, and are not told apart.
func (c *Cluster) Program(pod *corev1.Pod, name string) (Program, error) {
	hosts, err := host.Find(c.Lab.Dir)
	if err != nil {
		return Program{}, err
	}
	all, err := host.Processes(hosts[pod.Spec.NodeName])
	if err != nil {
		return Program{}, fmt.Errorf("processes of node %s: %w", pod.Spec.NodeName, err)
	}
	hostname := pod.Name
	if pod.Spec.HostNetwork {
		hostname = pod.Spec.NodeName
	}
	for _, p := range all {
		if !p.Contained || filepath.Base(p.Args[0]) != name {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "environ"))
		if err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00HOSTNAME="+hostname+"\x00")) {
			return Program{pod, p.PID}, nil
		}
	}
	return Program{}, fmt.Errorf("no process %s of pod %s on %s", name, pod.Name, pod.Spec.NodeName)
}

// Signal sends the program a signal.
func (p Program) Signal(s syscall.Signal) error {
	if err := syscall.Kill(p.PID, s); err != nil {
		return fmt.Errorf("sending %v to process %d of pod %s: %w", s, p.PID, p.Pod.Name, err)
	}
	return nil
}

// RSS is the program's resident memory in bytes, now and at its most.
func (p Program) RSS() (now, most int64, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID), "status"))
	if err != nil {
		return 0, 0, fmt.Errorf("memory of pod %s: %w", p.Pod.Name, err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		for field, into := range map[string]*int64{"VmRSS:": &now, "VmHWM:": &most} {
			if words[0] != field {
				continue
			}
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("memory of pod %s: %w", p.Pod.Name, err)
			}
			*into = kib << 10
		}
	}
	return now, most, nil
}

// controllerProgram is the name of the controller's program, its Deployment
// and its Lease.
const controllerProgram = "porchlight-controller"

// Leader is the controller that holds the Lease.
func (c *Cluster) Leader(ctx context.Context) (Program, error) {
	var lease coordinationv1.Lease
	if err := c.Get(ctx, types.NamespacedName{Namespace: System, Name: controllerProgram}, &lease); err != nil {
		return Program{}, fmt.Errorf("the controllers' Lease: %w", err)
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return Program{}, errors.New("nobody holds the controllers' Lease")
	}
	name, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: System, Name: name}}
	if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
		return Program{}, fmt.Errorf("the leading controller: %w", err)
	}
	return c.Program(pod, controllerProgram)
}

// Replace deletes the pod of a program that was killed, so that another takes
// its place at once: the kubelet would wait longer each time before it starts
// one that fails again and again.
func (c *Cluster) Replace(ctx context.Context, p Program) error {
	if err := c.Delete(ctx, p.Pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("replacing pod %s: %w", p.Pod.Name, err)
	}
	return nil
}

// ControllersReady waits until as many controllers are ready as there shall be.
func (c *Cluster) ControllersReady() error {
	_, err := c.Kubectl("rollout", "status", "-n", System, "deployment/"+controllerProgram, "--timeout="+Patience.String())
	return err
}

// Metrics are the metrics that the pod of a program serves: a series, as it is
// written there, and its value.
func (c *Cluster) Metrics(ctx context.Context, pod *corev1.Pod) (map[string]float64, error) {
	core, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return nil, err
	}
	text, err := core.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, "7472", "metrics", nil).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics of pod %s: %w", pod.Name, err)
	}
	series := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		line = strings.TrimSpace(line)
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, fmt.Errorf("metrics of pod %s: line %q", pod.Name, line)
		}
		if series[line[:i]], err = strconv.ParseFloat(line[i+1:], 64); err != nil {
			return nil, fmt.Errorf("metrics of pod %s: %w", pod.Name, err)
		}
	}
	return series, nil
}
