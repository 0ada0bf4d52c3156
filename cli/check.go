package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/check"
)

func checkCommand(c *cluster) *cobra.Command {
	var output string
	var all, strict bool
	var files []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with an installation, and what to do",
		Long: `Walk the whole chain, from the programs over nodes, pools, advertisements and BGP
sessions to Services, Gateways and routes, and say of each what is wrong, why, and
what to do about it. What others need comes first: begin at the top.

Exit code: 0 where everything works, 2 where something does not, 1 where nothing
could be found out.`,
		Example: `  porchlight check
  porchlight check --strict -o json > report.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q: want json", output)
			}
			objects, err := c.objects(cmd, files)
			if err != nil {
				return err
			}
			report := check.Run(objects)
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(report)
			} else {
				err = report.WriteText(cmd.OutOrStdout(), c.paint(cmd), all)
			}
			if err != nil {
				return fmt.Errorf("writing the report: %w", err)
			}
			errors, warnings := report.Count(check.Error), report.Count(check.Warning)
			if errors > 0 || strict && warnings > 0 {
				return troubleError(fmt.Sprintf("not everything works: %d errors, %d warnings", errors, warnings))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json for all of it as JSON")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "tell of every finding, however many there are")
	cmd.Flags().BoolVar(&strict, "strict", false, "a warning, too, makes the exit code 2")
	filesFlag(cmd, &files)
	complete(cmd, "output", "json")
	return cmd
}
