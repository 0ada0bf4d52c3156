package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// Status writes what the lab is made of and what of it runs.
func (l *Lab) Status(ctx context.Context, w io.Writer) error {
	u, err := l.running()
	if errors.Is(err, ErrNotUp) {
		fmt.Fprintf(w, "lab %s is not up\n", l.Name)
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "lab %s: %d nodes, kube-proxy in %s mode, in %s\n", l.Name, u.record.Options.Nodes, u.record.Options.ProxyMode, l.Dir)
	if fs, err := l.Faults(); err == nil && len(fs) > 0 {
		var words []string
		for _, f := range fs {
			words = append(words, f.String())
		}
		fmt.Fprintf(w, "faults: %s\n", strings.Join(words, "; "))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tROLE\tADDRESSES\tSTATE\tPROCESSES")
	for _, h := range u.plan {
		state, ps := "on", ""
		if u.pids[h.Name] == 0 {
			state = "off"
		} else {
			ps = u.processStates(h)
		}
		if state == "on" && h.Role == Node {
			state = u.nodeState(ctx, h.Name)
		}
		var addresses []string
		for _, p := range h.Ports {
			for _, a := range p.Addresses {
				addresses = append(addresses, a.Addr().String())
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Role, strings.Join(addresses, " "), state, ps)
	}
	return t.Flush()
}

// processStates names the programs of h, those that ended with a mark.
func (u *run) processStates(h Host) string {
	running, err := host.Processes(u.pids[h.Name])
	if err != nil {
		return err.Error()
	}
	var words []string
	for _, p := range u.processes(h, u.record) {
		word := p.name
		if !p.in(running) {
			word += "(ended)"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (u *run) nodeState(ctx context.Context, name string) string {
	client, err := u.clientset()
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "on, unknown"
	}
	if err := nodeReady(node); err != nil {
		return "NotReady"
	}
	return "Ready"
}

// Logs lists the logs of the lab: HOST/PROGRAM, and for containers
// HOST/NAMESPACE/POD/CONTAINER, with their files.
func (l *Lab) Logs() (map[string]string, error) {
	if _, err := l.read(); err != nil {
		return nil, err
	}
	logs := map[string]string{}
	files, err := filepath.Glob(l.path("log", "*.log"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		logs[strings.Replace(strings.TrimSuffix(filepath.Base(f), ".log"), "-", "/", 1)] = f
	}
	// NODE/pods/NAMESPACE_POD_UID/CONTAINER/RESTARTS.log; a later restart
	// sorts later and wins.
	files, err = filepath.Glob(l.path("nodes", "*", "pods", "*", "*", "*.log"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		rel, err := filepath.Rel(l.path("nodes"), f)
		if err != nil {
			return nil, err
		}
		parts := strings.Split(rel, string(filepath.Separator))
		pod := strings.Split(parts[2], "_")
		if len(pod) == 3 {
			logs[strings.Join([]string{parts[0], pod[0], pod[1], parts[3]}, "/")] = f
		}
	}
	return logs, nil
}

// WriteLogs writes the last lines of every log whose name contains one of the
// words, or of all.
func (l *Lab) WriteLogs(w io.Writer, lines int, words ...string) error {
	logs, err := l.Logs()
	if err != nil {
		return err
	}
	var names []string
	for name := range logs {
		if len(words) == 0 || slices.ContainsFunc(words, func(word string) bool { return strings.Contains(name, word) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b, err := os.ReadFile(logs[name])
		if err != nil {
			return fmt.Errorf("log %s: %w", name, err)
		}
		fmt.Fprintf(w, "--- %s (%s)\n%s\n", name, logs[name], tail(string(b), lines))
	}
	return nil
}
