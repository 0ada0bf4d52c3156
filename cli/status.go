package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/porchlight-lb/porchlight/cli/internal/live"
	"github.com/porchlight-lb/porchlight/cli/internal/paint"
	"github.com/porchlight-lb/porchlight/cli/internal/status"
)

func statusCommand(c *cluster) *cobra.Command {
	var output string
	var files []string
	var form status.Form
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show an installation on one screen",
		Long: `Show the programs, what is wrong, pools and their use, Services with their
addresses, who announces them and how, BGP sessions, Gateways and fleets. What is
not as it should be comes first, with its reason.`,
		Example: `  porchlight status
  porchlight status -w
  porchlight status -o json | jq '.pools[] | {name, availableIPv4}'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var write func(*status.Report, io.Writer) error
			switch output {
			case "", "wide":
				form.Wide, form.Paint = output == "wide", c.paint(cmd)
				write = func(r *status.Report, w io.Writer) error { return r.WriteText(w, form) }
			case "json":
				write = (*status.Report).WriteJSON
			case "yaml":
				write = (*status.Report).WriteYAML
			default:
				return fmt.Errorf("--output %q: want json, yaml or wide", output)
			}
			if watch && len(files) > 0 {
				return fmt.Errorf("--watch: files do not change; leave out --filename")
			}
			if watch {
				return c.watchStatus(cmd, write)
			}
			objects, err := c.objects(cmd, files)
			if err != nil {
				return err
			}
			return write(status.Summarize(objects), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml for all of it as data, wide for more columns")
	cmd.Flags().BoolVarP(&form.All, "all", "a", false, "show every Service and Gateway, however many there are")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on, and show it anew whenever it changes")
	filesFlag(cmd, &files)
	complete(cmd, "output", "json", "yaml", "wide")
	return cmd
}

// redraw is how often the screen is drawn anew at most.
const redraw = 500 * time.Millisecond

// clear empties a terminal and what it has scrolled past, and begins at its top.
const clearScreen = "\x1b[H\x1b[2J\x1b[3J"

// watchStatus writes the report whenever it has changed: on a terminal in place
// of the last one, elsewhere one after the other.
func (c *cluster) watchStatus(cmd *cobra.Command, write func(*status.Report, io.Writer) error) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	reader, err := live.Watch(ctx, cfg, c.namespace)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	var last []byte
	for {
		objects, err := live.Collect(ctx, reader, c.namespace)
		if ctx.Err() != nil {
			return nil // interrupted, as one ends it
		}
		if err != nil {
			return err
		}
		var now bytes.Buffer
		if err := write(status.Summarize(objects), &now); err != nil {
			return err
		}
		if !bytes.Equal(now.Bytes(), last) {
			if paint.Terminal(out) {
				_, _ = io.WriteString(out, clearScreen)
			} else if last != nil {
				_, _ = io.WriteString(out, "\n")
			}
			if _, err := out.Write(now.Bytes()); err != nil {
				return fmt.Errorf("writing the status: %w", err)
			}
			last = now.Bytes()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
