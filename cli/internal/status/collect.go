package status

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/program"
)

// Objects are what a Report is made of.
type Objects struct {
	// Namespace of the installation.
	Namespace   string
	Deployments []appsv1.Deployment
	DaemonSets  []appsv1.DaemonSet
	Pools       []v1beta1.IPAddressPool
	L2Statuses  []v1beta1.ServiceL2Status
	Fleets      []v1beta1.EnvoyFleet
	Services    []corev1.Service
	Classes     []gatewayv1.GatewayClass
	Gateways    []gatewayv1.Gateway
}

// Collect reads the objects of the installation in the namespace. Kinds that
// the cluster does not have are left empty: a part may not be installed.
func Collect(ctx context.Context, cfg *rest.Config, namespace string) (*Objects, error) {
	c, err := client.New(cfg, client.Options{Scheme: program.Scheme(gatewayv1.Install)})
	if err != nil {
		return nil, fmt.Errorf("making the Kubernetes client: %w", err)
	}
	var (
		deployments appsv1.DeploymentList
		daemonSets  appsv1.DaemonSetList
		pools       v1beta1.IPAddressPoolList
		l2          v1beta1.ServiceL2StatusList
		fleets      v1beta1.EnvoyFleetList
		services    corev1.ServiceList
		classes     gatewayv1.GatewayClassList
		gateways    gatewayv1.GatewayList
	)
	inNamespace := client.InNamespace(namespace)
	programs := client.MatchingLabels{nameLabel: "porchlight"}
	for _, list := range []struct {
		what string
		into client.ObjectList
		opts []client.ListOption
	}{
		{"Deployments", &deployments, []client.ListOption{inNamespace, programs}},
		{"DaemonSets", &daemonSets, []client.ListOption{inNamespace, programs}},
		{"IPAddressPools", &pools, []client.ListOption{inNamespace}},
		{"ServiceL2Statuses", &l2, []client.ListOption{inNamespace}},
		{"EnvoyFleets", &fleets, []client.ListOption{inNamespace}},
		{"Services", &services, nil},
		{"GatewayClasses", &classes, nil},
		{"Gateways", &gateways, nil},
	} {
		if err := c.List(ctx, list.into, list.opts...); err != nil && !meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("listing %s: %w", list.what, err)
		}
	}
	return &Objects{
		Namespace:   namespace,
		Deployments: deployments.Items,
		DaemonSets:  daemonSets.Items,
		Pools:       pools.Items,
		L2Statuses:  l2.Items,
		Fleets:      fleets.Items,
		Services:    services.Items,
		Classes:     classes.Items,
		Gateways:    gateways.Items,
	}, nil
}
