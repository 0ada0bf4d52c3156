package xds_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
)

// The dump of a secret shows its certificate and not its key.
func TestYAMLHidesPrivateKeys(t *testing.T) {
	r := xds.Secret(ir.Certificate{
		Name:  types.NamespacedName{Namespace: "infra", Name: "cert"},
		Chain: []byte("chain"),
		Key:   ir.PrivateKey("hunter2"),
	})
	y, err := xds.YAML(r)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(y); strings.Contains(s, "private") || !strings.Contains(s, "certificate_chain") {
		t.Errorf("got\n%s", s)
	}
}
