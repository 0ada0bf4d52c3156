package main

import (
	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
)

// complete has the shell complete a flag of the command with one of the values.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is not defined: a mistake where this is called
	}
}

// completeNames has the shell complete a flag of the command with names of
// objects that there are, in the cluster or in the files.
func (c *cluster) completeNames(cmd *cobra.Command, flag string, files *[]string, names func(*inventory.Objects) []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		objects, err := c.objects(cmd, *files)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names(objects), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // the flag is not defined: a mistake where this is called
	}
}

func poolNames(o *inventory.Objects) []string {
	var all []string
	for _, p := range inventory.Sorted(o.Pools.Items) {
		all = append(all, p.Name)
	}
	return all
}

func nodeNames(o *inventory.Objects) []string {
	var all []string
	for _, n := range inventory.Sorted(o.Nodes.Items) {
		all = append(all, n.Name)
	}
	return all
}
