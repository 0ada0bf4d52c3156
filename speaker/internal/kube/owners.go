package kube

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// Owners returns, as references for other objects, what a pod belongs to: its
// DaemonSet. A program that is no pod's belongs to nothing. It waits for an API
// server that is away.
func Owners(ctx context.Context, log *slog.Logger, core rest.Interface, namespace, pod string) ([]metav1.OwnerReference, error) {
	if pod == "" {
		return nil, nil
	}
	var p corev1.Pod
	err := read(ctx, log, core, "pods", namespace, pod, &p)
	var out []metav1.OwnerReference
	for _, o := range p.OwnerReferences {
		// What controls the pod does not control what the pod writes.
		out = append(out, metav1.OwnerReference{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, UID: o.UID})
	}
	return out, err
}
