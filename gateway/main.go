// Command gateway translates Gateway API objects into Envoy configuration,
// serves it to fleets of Envoys, runs those, and writes status back.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoys"
	"github.com/porchlight-lb/porchlight/gateway/internal/fleet"
	"github.com/porchlight-lb/porchlight/gateway/internal/infra"
	"github.com/porchlight-lb/porchlight/gateway/internal/mailbox"
	"github.com/porchlight-lb/porchlight/gateway/internal/manager"
	"github.com/porchlight-lb/porchlight/gateway/internal/server"
	"github.com/porchlight-lb/porchlight/gateway/internal/status"
	"github.com/porchlight-lb/porchlight/gateway/internal/watch"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/program"
	"github.com/porchlight-lb/porchlight/internal/version"
)

// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=porchlight-system,roleName=porchlight-gateway,resources=leases,verbs=get;create;update;patch

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// gcPercent trades a little processor time for memory, most of which is what
// the cache holds and stays.
const gcPercent = 50

func run() error {
	var opts program.Options
	settings := fleet.Settings{}
	ports := infra.DefaultRange
	var address, controller string
	var overlap time.Duration
	opts.Bind(flag.CommandLine)
	flag.StringVar(&controller, "controller-name", names.GatewayController, "spec.controllerName of the GatewayClasses to serve")
	flag.StringVar(&address, "xds-address", ":18000", "address that Envoys fetch their configuration from")
	flag.IntVar(&settings.XDSPort, "xds-port", 18000, "port of the gateway's Service that leads to it")
	flag.StringVar(&settings.Image, "envoy-image", "docker.io/envoyproxy/envoy:distroless-v1.40.0", "image of the fleets that name none")
	flag.StringVar(&settings.DrainImage, "drain-image", "docker.io/porchlight-lb/porchlight:"+version.Version, "image with the program that drains an Envoy, which runs beside it")
	flag.Func("pull-secret", "name of a Secret for pulling the images of the fleets; may be repeated", func(s string) error {
		settings.PullSecrets = append(settings.PullSecrets, s)
		return nil
	})
	flag.DurationVar(&overlap, "xds-overlap", certs.DefaultOverlap, "how long both authorities of the xDS certificates are believed before the newer signs")
	flag.Func("fleet-ports", fmt.Sprintf("ports of the Envoys to give to Gateways, one for each of their ports (default %d-%d)", ports.First, ports.Last), func(s string) error {
		if n, err := fmt.Sscanf(s, "%d-%d", &ports.First, &ports.Last); n != 2 || err != nil || ports.First < 1024 || ports.Last > 65535 || ports.First > ports.Last {
			return fmt.Errorf("want FIRST-LAST between 1024 and 65535")
		}
		return nil
	})
	flag.Parse()

	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := program.Context()
	defer stop()
	log, err := opts.Logger("gateway")
	if err != nil {
		return err
	}
	mgr, err := manager.New(&opts, log, ctrlmanager.Options{
		Cache:                         cacheOptions(opts.Namespace),
		LeaderElection:                true,
		LeaderElectionID:              "porchlight-gateway",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return err
	}

	hub, serving := server.NewHub(), certs.NewServing()
	recorder := mgr.GetEventRecorder("porchlight-gateway")
	reports := envoys.New(mgr.GetClient(), opts.Namespace, recorder, log)
	loop := watch.New()
	loop.Cache, loop.Mapper, loop.Namespace = mgr.GetCache(), mgr.GetRESTMapper(), opts.Namespace
	loop.Controller = gwv1.GatewayController(controller)
	loop.Hub, loop.TLS, loop.Log = hub, serving, log
	loop.Fleets = mailbox.New[[]fleet.Wanted]()
	loop.Plans = mailbox.New[infra.Plan]()
	loop.Statuses = status.NewCells()
	services := infra.New(mgr.GetClient(), mgr.GetAPIReader(), loop.Plans, opts.Namespace, ports, log)
	loop.Refused = services.Refused
	keeper := &certs.Keeper{Client: mgr.GetClient(), Uncached: mgr.GetAPIReader(), Namespace: opts.Namespace, Overlap: overlap, Now: time.Now, Log: log}

	for _, t := range []struct {
		task   program.Task
		leader bool
	}{
		{loop, false},
		{server.New(address, serving, hub, reports, log), false},
		{reports, false},
		{fleet.New(mgr.GetClient(), keeper, settings, loop.Fleets, recorder, log), true},
		{services, true},
		{status.New(mgr.GetClient(), loop.Statuses, loop.Controller, recorder, log), true},
	} {
		if err := manager.Add(mgr, t.task, t.leader); err != nil {
			return err
		}
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

// authoritiesOnly drops from ConfigMaps that are not a fleet's all but CA
// certificates, which policies and Gateways may refer to in any namespace.
func authoritiesOnly(o any) (any, error) {
	m, ok := o.(*corev1.ConfigMap)
	if !ok || m.Labels[fleet.Label] != "" {
		return cache.TransformStripManagedFields()(o)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion},
		Data:       map[string]string{ingest.AuthorityKey: m.Data[ingest.AuthorityKey]},
	}, nil
}

// cacheOptions limits what is watched to what is needed: of Secrets those that
// hold a certificate, of what a fleet consists of the installation's namespace.
func cacheOptions(namespace string) cache.Options {
	ours := map[string]cache.Config{namespace: {}}
	ofFleet := labels.NewSelector()
	if r, err := labels.NewRequirement(fleet.Label, selection.Exists, nil); err == nil {
		ofFleet = ofFleet.Add(*r)
	}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:                         {Field: fields.OneTermEqualSelector("type", string(corev1.SecretTypeTLS))},
			&corev1.Pod{}:                            {Namespaces: ours, Label: ofFleet},
			&corev1.ConfigMap{}:                      {Transform: authoritiesOnly},
			&appsv1.Deployment{}:                     {Namespaces: ours, Label: ofFleet},
			&appsv1.DaemonSet{}:                      {Namespaces: ours, Label: ofFleet},
			&policyv1.PodDisruptionBudget{}:          {Namespaces: ours, Label: ofFleet},
			&autoscalingv2.HorizontalPodAutoscaler{}: {Namespaces: ours, Label: ofFleet},
			&v1beta1.EnvoyFleet{}:                    {Namespaces: ours},
		},
	}
}
