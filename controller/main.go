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
	config, err := program.Cluster()
	if err != nil {
		return err
	}
	pools, err := poolClient(config)
	if err != nil {
		return err
	}
	lease := rest.CopyConfig(config)
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client for Services: %w", err)
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
	lead := func(ctx context.Context, lease *leader.Held) error { return term.Run(ctx, lease) }
	return options.Run(ctx, leader.New(lease, options.Namespace, lead, log))
}

// poolClient is a client of our own kinds.
func poolClient(config *rest.Config) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("kinds of pools: %w", err)
	}
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &v1beta1.GroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for pools: %w", err)
	}
	return client, nil
}
