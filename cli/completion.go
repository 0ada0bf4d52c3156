package main

import (
	"github.com/spf13/cobra"
)

// complete has the shell complete a flag of the command with one of the values.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is not defined: a mistake where this is called
	}
}
