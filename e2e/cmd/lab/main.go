// Program lab runs a real Kubernetes cluster in network namespaces.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// progress puts the time since the start before each line.
type progress struct{ since time.Time }

func (p progress) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		fmt.Fprintf(os.Stderr, "%6.1fs  %s", time.Since(p.since).Seconds(), line)
	}
	return len(b), nil
}

// open is set to read the flags --name and --source.
type open func() (*lab.Lab, error)

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "A real Kubernetes cluster in network namespaces",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	var name, source string
	root.PersistentFlags().StringVar(&name, "name", "", "name of the lab (default: derived from the checkout's path; with a dash first: appended to that)")
	root.PersistentFlags().StringVar(&source, "source", "", "the checkout to build from (default: the one around the working directory)")
	labOf := open(func() (*lab.Lab, error) {
		l, err := lab.OpenFrom(source, name)
		if err == nil {
			l.Log = progress{time.Now()}
		}
		return l, err
	})
	root.AddCommand(buildCommand(labOf), upCommand(labOf), downCommand(labOf), statusCommand(labOf),
		kubeconfigCommand(labOf), kubectlCommand(labOf), execCommand(labOf), loadCommand(labOf),
		faultCommand(labOf), logsCommand(labOf), envoyCommand(labOf))
	return root
}
