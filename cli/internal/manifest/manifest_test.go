package manifest

import (
	"strings"
	"testing"
)

func TestUnreadable(t *testing.T) {
	for _, c := range []struct{ manifests, want string }{
		{"kind: BGPPeer\nmetadata: [", "document 1 of in.yaml"},
		{"kind: A\napiVersion: v1\n---\n- 1\n", "document 2 of in.yaml: it is not an object"},
		{"kind: A\n", "no apiVersion"},
		{"apiVersion: v1\nkind: A\nkind: B\n", `"kind" already set`},
		{"apiVersion: v1\nkind: List\nitems: [1]\n", "items[0] is not an object"},
		{"apiVersion: v1\nkind: List\nitems: [{kind: A}]\n", "items[0]: it has no kind or no apiVersion"},
	} {
		if _, err := Read("in.yaml", []byte(c.manifests)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one that says %q", c.manifests, err, c.want)
		}
	}
}
