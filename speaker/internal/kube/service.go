package kube

import (
	"context"
	"log/slog"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// APIService returns the cluster's address of the API server and its port, which
// every service proxy of the cluster knows; an invalid one where there is none.
// It waits for an API server that is away.
func APIService(ctx context.Context, log *slog.Logger, core rest.Interface) (netip.AddrPort, error) {
	var s corev1.Service
	err := read(ctx, log, core, "services", corev1.NamespaceDefault, "kubernetes", &s)
	ip, invalid := netip.ParseAddr(s.Spec.ClusterIP)
	if err != nil || invalid != nil || len(s.Spec.Ports) == 0 {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ip, uint16(s.Spec.Ports[0].Port)), nil
}
