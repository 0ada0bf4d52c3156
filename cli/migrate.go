package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/migrate"
)

func migrateCommand(c *cluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Turn another system's configuration into Porchlight's",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(migrateMetalLBCommand(c))
	return cmd
}

func migrateMetalLBCommand(c *cluster) *cobra.Command {
	var files []string
	var output string
	cmd := &cobra.Command{
		Use:   "metallb -f FILE",
		Short: "Turn MetalLB's configuration into Porchlight's",
		Long: `Turn MetalLB's configuration into Porchlight's: the objects of group metallb.io,
AddressPools too, and the ConfigMap of MetalLB before 0.13. Nothing in a cluster
is read or changed. The manifests are printed on standard output, ready for
kubectl apply, and on standard error a report that says of every field whether
it was kept, and what is left to do. Objects that are not MetalLB's
configuration are not printed; the report names them.

Exit code: 0 where everything was kept, 2 where something was not (what could be
is printed nevertheless), 1 where nothing could be read.`,
		Example: `  # What a cluster has; see what becomes of it, and then apply it.
  kubectl get --namespace metallb-system --output yaml \
    {ipaddresspools,l2advertisements,bgpadvertisements,bgppeers,bfdprofiles,communities}.metallb.io > metallb.yaml
  porchlight migrate metallb -f metallb.yaml -o report
  porchlight migrate metallb -f metallb.yaml | kubectl apply -f -

  # The ConfigMap of an old installation.
  kubectl get --namespace metallb-system --output yaml configmap config | porchlight migrate metallb -f -

  # The manifests of a folder, for an installation in another namespace.
  porchlight migrate metallb -f ./metallb --namespace edge > porchlight.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "yaml" && output != "report" {
				return fmt.Errorf("--output %q: want yaml or report", output)
			}
			documents, err := readManifests(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			result := migrate.Convert(documents, c.namespace)
			report := cmd.OutOrStdout()
			if output == "yaml" {
				manifests, err := result.Manifests()
				if err != nil {
					return err
				}
				if _, err := cmd.OutOrStdout().Write(manifests); err != nil {
					return fmt.Errorf("writing the manifests: %w", err)
				}
				report = cmd.ErrOrStderr()
			}
			if _, err := report.Write(result.Report()); err != nil {
				return fmt.Errorf("writing the report: %w", err)
			}
			if n := result.NotKept(); n > 0 {
				return troubleError(fmt.Sprintf("%d not kept; the report says what and why", n))
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file of manifests, folder of such files, or - for standard input; may be given several times")
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "what to print on standard output: yaml, the manifests, or report, the report alone")
	if err := cmd.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}
