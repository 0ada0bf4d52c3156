package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/cli/internal/logs"
)

// envoy is the component of the fleets' pods, which bear no such label.
const envoy = "envoy"

// logOptions say which lines are wanted, and how.
type logOptions struct {
	components []string
	node       string
	level      slog.Level
	raw        bool
	pod        corev1.PodLogOptions
}

func logsCommand(c *cluster) *cobra.Command {
	var o logOptions
	var level, output string
	var since time.Duration
	var tail int64
	known := append(slices.Clone(inventory.Components), envoy)
	cmd := &cobra.Command{
		Use:   "logs [COMPONENT]...",
		Short: "Show what the programs log, in the order of time",
		Long: `Show what the programs log, those of all pods together in the order of time.
COMPONENT is controller, speaker, gateway or envoy; without one, all of ours.`,
		Example: `  porchlight logs speaker --node node1
  porchlight logs --level warn --since 1h --tail -1
  porchlight logs controller -f`,
		ValidArgs: known,
		Args: func(_ *cobra.Command, args []string) error {
			for _, a := range args {
				if !slices.Contains(known, a) {
					return fmt.Errorf("component %q: want %s", a, strings.Join(known, ", "))
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "raw" {
				return fmt.Errorf("--output %q: want raw", output)
			}
			if err := o.level.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--level %q: want debug, info, warn or error", level)
			}
			o.raw = output == "raw"
			if o.components = args; len(args) == 0 {
				o.components = inventory.Components
			}
			o.pod.Timestamps = true
			if tail >= 0 {
				o.pod.TailLines = &tail
			}
			if since > 0 {
				seconds := int64(since.Seconds())
				o.pod.SinceSeconds = &seconds
			}
			return c.logs(cmd, o)
		},
	}
	cmd.Flags().StringVar(&o.node, "node", "", "of the pods on this node alone")
	cmd.Flags().BoolVarP(&o.pod.Follow, "follow", "f", false, "go on, and show new lines as they come")
	cmd.Flags().BoolVarP(&o.pod.Previous, "previous", "p", false, "of the containers that ran before the present ones")
	cmd.Flags().Int64Var(&tail, "tail", 50, "the last lines of each pod; -1 for all")
	cmd.Flags().DurationVar(&since, "since", 0, "lines that are no older, as 10m")
	cmd.Flags().StringVar(&level, "level", "debug", "lines of this level and worse: debug, info, warn, error")
	cmd.Flags().StringVarP(&output, "output", "o", "", "raw for the lines as they were written")
	c.completeNames(cmd, "node", new([]string), nodeNames)
	complete(cmd, "level", "debug", "info", "warn", "error")
	complete(cmd, "output", "raw")
	return cmd
}

func (c *cluster) logs(cmd *cobra.Command, o logOptions) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	core, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making the Kubernetes client: %w", err)
	}
	ctx := cmd.Context()
	pods, err := core.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing pods of namespace %s: %w", c.namespace, err)
	}
	sources := o.sources(pods.Items)
	if len(sources) == 0 {
		where := "namespace " + c.namespace
		if o.node != "" {
			where += " on node " + o.node
		}
		return fmt.Errorf("no pod of %s in %s; is Porchlight installed there? (--namespace, porchlight check)", strings.Join(o.components, ", "), where)
	}
	show := func(l logs.Line) error {
		if !l.AtLeast(o.level) {
			return nil
		}
		text := l.Format(c.paint(cmd))
		if o.raw {
			text = l.Text + "\n"
		}
		_, err := io.WriteString(cmd.OutOrStdout(), text)
		return err
	}
	return readLogs(ctx, core, sources, o.pod, show)
}

// sources are the pods whose logs are wanted, by the name that their lines bear:
// the component and the node or, where a node has several, the pod.
func (o *logOptions) sources(pods []corev1.Pod) map[string]*corev1.Pod {
	byNode := map[string][]*corev1.Pod{}
	for _, p := range inventory.Sorted(pods) {
		component := p.Labels[inventory.ComponentLabel]
		if _, ok := p.Labels[inventory.FleetLabel]; ok {
			component = envoy
		}
		if p.Spec.NodeName == "" || !slices.Contains(o.components, component) || o.node != "" && p.Spec.NodeName != o.node {
			continue // one that is not scheduled has logged nothing
		}
		name := component + "/" + p.Spec.NodeName
		byNode[name] = append(byNode[name], p)
	}
	all := map[string]*corev1.Pod{}
	for name, several := range byNode {
		for _, p := range several {
			if len(several) > 1 {
				component, _, _ := strings.Cut(name, "/")
				name = component + "/" + p.Name
			}
			all[name] = p
		}
	}
	return all
}

// readLogs shows the lines of pods: in order where they end, as they come where
// they are followed. What cannot be read of one pod does not hide the others.
func readLogs(ctx context.Context, core kubernetes.Interface, sources map[string]*corev1.Pod, options corev1.PodLogOptions, show func(logs.Line) error) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	all := map[string][]logs.Line{}
	for source, pod := range sources {
		wg.Go(func() {
			err := readLog(ctx, core, source, pod, options, func(l logs.Line) error {
				mu.Lock()
				defer mu.Unlock()
				if options.Follow {
					return show(l)
				}
				all[source] = append(all[source], l)
				return nil
			})
			if err != nil && ctx.Err() == nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("reading the log of pod %s: %w", pod.Name, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	var ordered [][]logs.Line
	names := make([]string, 0, len(all))
	for source := range all {
		names = append(names, source)
	}
	slices.Sort(names)
	for _, source := range names {
		ordered = append(ordered, all[source])
	}
	for _, l := range logs.Merge(ordered...) {
		if err := show(l); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func readLog(ctx context.Context, core kubernetes.Interface, source string, pod *corev1.Pod, options corev1.PodLogOptions, take func(logs.Line) error) error {
	options.Container = pod.Spec.Containers[0].Name
	stream, err := core.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &options).Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewReader(stream)
	for {
		text, err := lines.ReadString('\n')
		if text != "" {
			if err := take(logs.Parse(source, text)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
