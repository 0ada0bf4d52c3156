package probe

import (
	"context"
	"fmt"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// Handover does to the owners of addresses what a person does on purpose: it
// deletes their speakers, drains their nodes, and rolls all speakers anew. It
// goes on when the speakers are ready again.
func Handover(ctx context.Context, c *cluster.Cluster, owners func(context.Context) ([]string, error)) error {
	for _, event := range []struct {
		name string
		of   func(node string) error
	}{
		{"delete the speaker's pod", func(node string) error {
			return kubectl(c, "delete", "pod", "-n", cluster.System, "-l", "app.kubernetes.io/component=speaker",
				"--field-selector=spec.nodeName="+node)
		}},
		{"drain", func(node string) error {
			err := kubectl(c, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
			if e := kubectl(c, "uncordon", node); err == nil {
				err = e
			}
			return err
		}},
	} {
		nodes, err := owners(ctx)
		if err != nil {
			return err
		}
		for _, node := range nodes {
			if err := event.of(node); err != nil {
				return fmt.Errorf("%s of %s: %w", event.name, node, err)
			}
			if err := speakersReady(c); err != nil {
				return fmt.Errorf("after %s of %s: %w", event.name, node, err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	if err := kubectl(c, "rollout", "restart", "-n", cluster.System, "daemonset/porchlight-speaker"); err != nil {
		return err
	}
	return speakersReady(c)
}

func speakersReady(c *cluster.Cluster) error {
	return kubectl(c, "rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s")
}

func kubectl(c *cluster.Cluster, args ...string) error {
	_, err := c.Kubectl(args...)
	return err
}
