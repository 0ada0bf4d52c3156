// Command porchlight is what a person types to look at an installation, and to
// bring a configuration to it. As kubectl-porchlight on the PATH it is `kubectl
// porchlight`, too.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/live"
	"github.com/porchlight-lb/porchlight/cli/internal/paint"
	"github.com/porchlight-lb/porchlight/internal/program"
	"github.com/porchlight-lb/porchlight/internal/version"
)

// asPlugin is the name that kubectl looks for when it is told "kubectl
// porchlight", and completesPlugin the one when it completes that.
const (
	asPlugin        = "kubectl-porchlight"
	completesPlugin = "kubectl_complete-porchlight"
)

func main() {
	if filepath.Base(os.Args[0]) == completesPlugin {
		os.Args = slices.Insert(os.Args, 1, cobra.ShellCompRequestCmd)
	}
	ctx, stop := program.Context()
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "porchlight:", err)
		os.Exit(exitCode(err))
	}
}

// troubleError ends the command after a report that tells of trouble.
type troubleError string

func (t troubleError) Error() string { return string(t) }

// exitCode is 2 where a report tells of trouble, and 1 where there is none.
func exitCode(err error) int {
	if _, ok := errors.AsType[troubleError](err); ok {
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
	if filepath.Base(os.Args[0]) == asPlugin {
		cmd.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl porchlight"}
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&c.context, "context", "", "context of the kubeconfig")
	flags.StringVarP(&c.namespace, "namespace", "n", "porchlight-system", "namespace of the installation")
	flags.StringVar(&c.color, "color", "auto", "colours: auto, on a terminal unless NO_COLOR is set; always; never")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		if !slices.Contains(colorModes, c.color) {
			return fmt.Errorf("--color %q: want %s", c.color, strings.Join(colorModes, ", "))
		}
		return nil
	}
	cmd.AddCommand(statusCommand(&c), checkCommand(&c), explainCommand(&c), allocateCommand(&c), translateCommand(&c), logsCommand(&c), migrateCommand(&c), versionCommand(&c))
	return cmd
}

var colorModes = []string{"auto", "always", "never"}

// cluster says which installation is meant, and how a person reads of it.
type cluster struct {
	kubeconfig, context, namespace string
	color                          string
}

// paint is the colours of a command's standard output.
func (c *cluster) paint(cmd *cobra.Command) paint.Paint {
	return paint.Choose(c.color, cmd.OutOrStdout(), os.Getenv)
}

// objects reads the installation from files or, where none is named, from the
// cluster.
func (c *cluster) objects(cmd *cobra.Command, files []string) (*inventory.Objects, error) {
	if len(files) > 0 {
		documents, err := readManifests(cmd.InOrStdin(), files)
		if err != nil {
			return nil, err
		}
		return inventory.Decode(documents, c.namespace, false)
	}
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	return live.Read(cmd.Context(), cfg, c.namespace)
}

// filesFlag has a command read objects from files instead of from the cluster.
func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil,
		"read the objects from this file, as kubectl get -o yaml prints them, folder of such files, or - for standard input, and not from a cluster; may be given several times")
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

func versionCommand(c *cluster) *cobra.Command {
	var client bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this command, and of the programs in the cluster",
		Long: `Print the version of this command and, where a cluster is configured, the images
of the programs in it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if _, err := fmt.Fprintln(out, version.Version); err != nil || client {
				return err
			}
			objects, err := c.objects(cmd, nil)
			if err != nil {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "no cluster: %v\n", err)
				return nil
			}
			for _, p := range objects.Programs() {
				if _, err := fmt.Fprintf(out, "%s %s\n", p.Component, p.Image); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&client, "client", false, "of this command alone")
	return cmd
}
