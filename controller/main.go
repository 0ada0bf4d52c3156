// Command controller gives addresses from IPAddressPools to Services of type
// LoadBalancer. The decisions are in allocator, the rest in internal.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/internal/assign"
	"github.com/porchlight-lb/porchlight/controller/internal/leader"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/program"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

func main() {
	var options program.Options
	var class names.Class
	options.Bind(flag.CommandLine)
	flag.StringVar(&class.Name, "lb-class", names.LoadBalancerClass, "spec.loadBalancerClass of the Services to serve")
	flag.BoolVar(&class.Required, "require-class", false, "leave Services without a loadBalancerClass alone")
	flag.Parse()

	ctx, stop := program.Context()
	defer stop()
	log, err := options.Logger("controller")
	if err == nil {
		err = run(ctx, options, class, log)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "controller:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, options program.Options, class names.Class, log *slog.Logger) error {
	scheme := program.Scheme()
	mgr, err := options.Manager(manager.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	config := rest.CopyConfig(mgr.GetConfig())
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client for Services: %w", err)
	}
	pools, err := apiutil.RESTClientForGVK(v1beta1.GroupVersion.WithKind("IPAddressPool"), false, false,
		mgr.GetConfig(), serializer.NewCodecFactory(scheme), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("client for pools: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name of this replica: %w", err)
	}
	term := &assign.Term{
		Kubernetes: client,
		Pools:      pools,
		Instance:   host,
		Namespace:  options.Namespace,
		Class:      class,
		Log:        log,
	}
	election := leader.New(mgr.GetConfig(), options.Namespace, term.Run, log)
	if err := program.Add(mgr, election, false); err != nil {
		return err
	}
	return mgr.Start(ctx)
}
