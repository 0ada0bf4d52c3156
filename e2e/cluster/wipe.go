package cluster

import (
	"context"
	"fmt"
	"strings"
)

// Reinstall has the lab's own installation in place of whatever is there.
func (c *Cluster) Reinstall(ctx context.Context) error {
	err := c.Wipe(ctx)
	if err == nil {
		err = c.Lab.Install(ctx)
	}
	if err != nil {
		return fmt.Errorf("installing Porchlight again: %w", err)
	}
	return nil
}

// Wipe takes away all of Porchlight, however it was installed, and the Gateway
// API with it.
func (c *Cluster) Wipe(ctx context.Context) error {
	if _, err := c.Lab.Helm(ctx, "uninstall", "porchlight", "-n", System, "--ignore-not-found", "--wait"); err != nil {
		return err
	}
	out, err := c.Kubectl("get", "crd,clusterrole,clusterrolebinding,namespace", "-o", "name")
	if err != nil {
		return err
	}
	var gone []string
	for name := range strings.FieldsSeq(out) {
		if strings.Contains(name, "porchlight") || strings.HasSuffix(name, ".gateway.networking.k8s.io") || strings.HasSuffix(name, ".x-k8s.io") {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	_, err = c.Kubectl(append([]string{"delete", "--ignore-not-found", "--timeout=80s"}, gone...)...)
	return err
}
