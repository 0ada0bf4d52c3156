package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/internal/version"
)

func execute(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestVersion(t *testing.T) {
	out, err := execute("version", "--client")
	if err != nil || strings.TrimSpace(out) != version.Version {
		t.Errorf("printed %q, %v; want %s", out, err, version.Version)
	}
}

func TestRefusedArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"status", "-o", "xml"}, `--output "xml": want json, yaml or wide`},
		{[]string{"status", "everything"}, "unknown command"},
		{[]string{"status", "--kubeconfig", "/nonexistent/config"}, "configuration of the Kubernetes client"},
		{[]string{"announce"}, "unknown command"},
		{[]string{"logs", "kubelet"}, `component "kubelet": want controller, speaker, gateway, envoy`},
		{[]string{"logs", "--level", "loud"}, `--level "loud": want debug, info, warn or error`},
		{[]string{"status", "-w", "-f", "x.yaml"}, "leave out --filename"},
	} {
		if _, err := execute(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("porchlight %s: error %v, want one that says %q", strings.Join(c.args, " "), err, c.want)
		}
	}
}
