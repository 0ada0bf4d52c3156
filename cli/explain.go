package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/explain"
)

func explainCommand(c *cluster) *cobra.Command {
	var output string
	var files []string
	cmd := &cobra.Command{
		Use:   "explain KIND NAME",
		Short: "Follow an object from its address to the pods, and say where the chain breaks",
		Long: `Follow one object from its address to the pods: who gave the address, who
announces it and why the other nodes do not, which listener and route lead on, what
is behind them, and where the chain breaks.

KIND is svc, gateway, httproute (grpcroute, tlsroute, tcproute, udproute), ip or
pool. NAME is NAMESPACE/NAME, or NAME alone where no two namespaces have one.

Exit code: 0 where the chain holds, 2 where it breaks, 1 where nothing could be
found out.`,
		Example: `  porchlight explain svc shop/web
  porchlight explain ip 172.30.0.200
  porchlight explain httproute site`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && strings.Contains(args[0], "/") || len(args) == 2 {
				return nil
			}
			return fmt.Errorf("want a kind and a name, as in: porchlight explain svc shop/web")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "json" {
				return fmt.Errorf("--output %q: want json", output)
			}
			if len(args) == 1 { // as kubectl takes it: svc/web
				kind, name, _ := strings.Cut(args[0], "/")
				args = []string{kind, name}
			}
			kind, err := explain.Find(args[0])
			if err != nil {
				return err
			}
			objects, err := c.objects(cmd, files)
			if err != nil {
				return err
			}
			report, err := kind.Explain(objects, args[1])
			if err != nil {
				return err
			}
			if output == "json" {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(report)
			} else {
				err = report.WriteText(cmd.OutOrStdout(), c.paint(cmd))
			}
			if err != nil {
				return fmt.Errorf("writing the report: %w", err)
			}
			if l := report.Break(); l != nil {
				return troubleError(fmt.Sprintf("%s: the chain breaks at %s: %s", report.Object, l.Name, l.Reason))
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			switch len(args) {
			case 0:
				for _, k := range explain.Kinds {
					names = append(names, k.Names[0])
				}
			case 1:
				kind, err := explain.Find(args[0])
				if err != nil {
					return nil, cobra.ShellCompDirectiveError
				}
				objects, err := c.objects(cmd, files)
				if err != nil {
					return nil, cobra.ShellCompDirectiveError
				}
				names = kind.Objects(objects)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json for all of it as JSON")
	filesFlag(cmd, &files)
	complete(cmd, "output", "json")
	return cmd
}
