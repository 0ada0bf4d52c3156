//go:build e2e

package docs

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

var series = regexp.MustCompile(`(?m)^# TYPE (porchlight_[a-z0-9_]+) ([a-z]+)$`)

// What the programs serve is in the list of metrics, with its type.
func TestMetricsAreListed(t *testing.T) {
	c := cluster.ForTest(t)
	b, err := os.ReadFile(filepath.Join(c.Lab.Tree(), "docs/reference/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	for part, port := range map[string]string{"controller": "7472", "gateway": "7472", "speaker": "7482"} {
		out, err := c.Kubectl("get", "pods", "-n", cluster.System, "-l", "app.kubernetes.io/name=porchlight,app.kubernetes.io/component="+part, "-o", "name")
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for pod := range strings.FieldsSeq(out) {
			var text string
			cluster.Eventually(t, pod+" serves metrics", func(context.Context) (err error) {
				text, err = c.Kubectl("get", "--raw", "/api/v1/namespaces/"+cluster.System+"/pods/"+strings.TrimPrefix(pod, "pod/")+":"+port+"/proxy/metrics")
				return err
			})
			for _, m := range series.FindAllStringSubmatch(text, -1) {
				seen++
				if !strings.Contains(string(b), "| `"+m[1]+"` | "+m[2]+" |") {
					t.Errorf("%s serves the %s %s, which metrics.md does not list", pod, m[2], m[1])
				}
			}
		}
		if seen < 3 {
			t.Errorf("the %s serves %d metrics of ours", part, seen)
		}
	}
}
