// Command porchlight is what a person types to look at an installation, and to
// bring a configuration to it. As kubectl-porchlight on the PATH it is `kubectl
// porchlight`, too.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/porchlight-lb/porchlight/cli/internal/status"
	"github.com/porchlight-lb/porchlight/internal/program"
	"github.com/porchlight-lb/porchlight/internal/version"
)

func main() {
	ctx, stop := program.Context()
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "porchlight:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is 2 for work that was done in part, and 1 for any other error.
func exitCode(err error) int {
	if _, ok := errors.AsType[notKeptError](err); ok {
		return 2
	}
	return 1
}

func root() *cobra.Command {
	var c cluster
	cmd := &cobra.Command{
		Use:           "porchlight",
		Short:         "Look at a Porchlight installation, and bring a configuration to it",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&c.context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&c.namespace, "namespace", "n", "porchlight-system", "namespace of the installation")
	cmd.AddCommand(versionCommand(), statusCommand(&c), migrateCommand(&c))
	return cmd
}

// cluster says which installation is meant.
type cluster struct {
	kubeconfig, context, namespace string
}

// config is the client configuration, as kubectl finds it.
func (c *cluster) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: c.context}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("configuration of the Kubernetes client: %w", err)
	}
	cfg.UserAgent = "porchlight-cli/" + version.Version
	return cfg, nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this command",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version.Version)
			return err
		},
	}
}

func statusCommand(c *cluster) *cobra.Command {
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show pools, Services, Gateways and fleets on one screen",
		Long: `Show pools and their use, Services with their addresses, Gateways and fleets.
What is not as it should be comes first, with its reason.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q: want json", output)
			}
			cfg, err := c.config()
			if err != nil {
				return err
			}
			objects, err := status.Collect(cmd.Context(), cfg, c.namespace)
			if err != nil {
				return err
			}
			report := status.Summarize(objects)
			if output == "json" {
				return report.WriteJSON(cmd.OutOrStdout())
			}
			return report.WriteText(cmd.OutOrStdout(), all)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json for all of it as JSON")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show every Service and Gateway, however many there are")
	return cmd
}
