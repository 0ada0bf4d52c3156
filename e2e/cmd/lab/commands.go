package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

func buildCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Build what all labs share into the cache (minutes, once)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			return l.Build(cmd.Context())
		},
	}
}

func upCommand(open open) *cobra.Command {
	o := lab.DefaultOptions()
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring the lab up; repair it if it runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			if err := l.Up(cmd.Context(), o); err != nil {
				return err
			}
			l.Logf("lab %s is up", l.Name)
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Nodes, "nodes", o.Nodes, "number of nodes")
	cmd.Flags().StringVar(&o.ProxyMode, "proxy-mode", o.ProxyMode, "mode of kube-proxy: nftables or iptables")
	cmd.Flags().StringSliceVar(&o.Routers, "routers", o.Routers, "routers that run: frr, bird, both, or none of them (an empty list)")
	cmd.Flags().BoolVar(&o.Install, "install", o.Install, "build Porchlight from the checkout and install it")
	return cmd
}

func downCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab and everything it made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			return l.Down(cmd.Context())
		},
	}
}

func statusCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print the hosts, their programs, the nodes' readiness and the faults in force",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			return l.Status(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func kubeconfigCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of an administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), l.Kubeconfig())
			return nil
		},
	}
}

func envoyCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "envoy",
		Short: "Print the path of the Envoy binary that the lab runs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			path, err := l.Envoy(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Println(path)
			return nil
		},
	}
}

func kubectlCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "kubectl -- ARGS…",
		Short: "Run kubectl as an administrator of the cluster",
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			kubectl, err := l.Kubectl()
			if err != nil {
				return err
			}
			if err := os.Setenv("KUBECONFIG", l.Kubeconfig()); err != nil {
				return err
			}
			return become(l, lab.HostControlPlane, append([]string{kubectl}, args...))
		},
	}
}

func execCommand(open open) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec HOST -- CMD…",
		Short: "Run a command on a host: nodeN, client, far, frr, bird, cp, lan",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			command := args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return errors.New("exec: no command")
			}
			return become(l, args[0], command)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// become replaces this program by a command on a host: streams, signals and
// exit status are that command's.
func become(l *lab.Lab, host string, command []string) error {
	argv, err := l.Argv(host, command...)
	if err != nil {
		return err
	}
	if err := syscall.Exec(argv[0], argv, os.Environ()); err != nil {
		return fmt.Errorf("run %s: %w", argv[0], err)
	}
	return nil
}

func loadCommand(open open) *cobra.Command {
	return &cobra.Command{
		Use:   "load IMAGE.tar",
		Short: "Import an image archive into every node",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			return l.Load(cmd.Context(), args[0])
		},
	}
}

func faultCommand(open open) *cobra.Command {
	var kinds []string
	for _, k := range lab.FaultKinds {
		kinds = append(kinds, string(k))
	}
	return &cobra.Command{
		Use:       "fault FAULT HOST | fault partition HOST,HOST… | fault heal",
		Short:     "Break something, or undo it: " + strings.Join(kinds, ", "),
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: kinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			var hosts []string
			if len(args) == 2 {
				hosts = strings.Split(args[1], ",")
			}
			return l.Fault(cmd.Context(), lab.FaultKind(args[0]), hosts...)
		},
	}
}

func logsCommand(open open) *cobra.Command {
	var lines int
	cmd := &cobra.Command{
		Use:   "logs [WORD…]",
		Short: "List the logs, or print the end of those whose name contains a word",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := open()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				return l.WriteLogs(cmd.OutOrStdout(), lines, args...)
			}
			logs, err := l.Logs()
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(logs)) {
				fmt.Fprintln(cmd.OutOrStdout(), name, logs[name])
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&lines, "lines", 200, "lines of each log")
	return cmd
}
