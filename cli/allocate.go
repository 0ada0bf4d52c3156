package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/plan"
)

func allocateCommand(c *cluster) *cobra.Command {
	var files, against, deleted []string
	var output string
	var offline, all bool
	cmd := &cobra.Command{
		Use:   "allocate -f FILE",
		Short: "Say what manifests would do to the addresses of Services, before they are applied",
		Long: `Plan what the IPAddressPools, Services and Namespaces of manifests would do to the
addresses of the Services that there are, and which the Services of the manifests
would get. The controller's own code decides; nothing in the cluster is changed.

Pools are changed in the order of the files, and before the Services.

Exit code: 0 where nobody loses an address, 2 where a Service loses or changes one,
where one of the files gets none, or a pool of the files is refused, 1 where nothing
could be planned.`,
		Example: `  porchlight allocate -f pools.yaml
  porchlight allocate --delete-pool old
  porchlight allocate --offline -f ./manifests`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "" && output != "json":
				return fmt.Errorf("--output %q: want json", output)
			case len(files) == 0 && len(deleted) == 0:
				return errors.New("nothing to plan: want --filename or --delete-pool")
			case offline && len(against) > 0:
				return errors.New("--offline and --against exclude each other")
			}
			documents, err := readManifests(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			wanted, err := inventory.Decode(documents, c.namespace, true)
			if err != nil {
				return err
			}
			live := &inventory.Objects{Namespace: c.namespace}
			if !offline {
				if live, err = c.objects(cmd, against); err != nil {
					return err
				}
			}
			report, err := plan.Make(live, wanted, deleted)
			if err != nil {
				return err
			}
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(report)
			} else {
				err = report.WriteText(cmd.OutOrStdout(), c.paint(cmd), all)
			}
			if err != nil {
				return fmt.Errorf("writing the plan: %w", err)
			}
			if report.Trouble() {
				return troubleError("not every Service has what it had, or what it asks for; the plan says which and why")
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file of manifests, folder of such files, or - for standard input; may be given several times")
	cmd.Flags().StringArrayVar(&deleted, "delete-pool", nil, "plan the deletion of this IPAddressPool, too; may be given several times")
	cmd.Flags().StringArrayVar(&against, "against", nil, "plan against the objects of this file, as kubectl get -o yaml prints them, and not against a cluster; may be given several times")
	cmd.Flags().BoolVar(&offline, "offline", false, "plan for the manifests alone, as if nothing were there")
	cmd.Flags().StringVarP(&output, "output", "o", "", "json for all of it as JSON")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show the Services that keep their addresses, too")
	complete(cmd, "output", "json")
	c.completeNames(cmd, "delete-pool", &against, poolNames)
	return cmd
}
