package manifest_test

import (
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/gateway/ingest/manifest"
)

func TestReadRefuses(t *testing.T) {
	for name, doc := range map[string]string{
		"an unknown kind":  "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
		"an unknown field": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}\n",
		"what is not YAML": "kind: [",
	} {
		if _, err := manifest.Read(strings.NewReader("kind: Namespace\nmetadata: {name: a}\n---\n" + doc)); err == nil {
			t.Errorf("%s is read without an error", name)
		} else if !strings.HasPrefix(err.Error(), "document 2: ") {
			t.Errorf("%s: the error does not say where: %v", name, err)
		}
	}
}

func TestReadSkipsEmptyDocuments(t *testing.T) {
	o, err := manifest.Read(strings.NewReader("---\n# nothing\n---\nkind: Namespace\nmetadata: {name: a}\n---\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Namespaces) != 1 || o.Namespaces[0].Labels["kubernetes.io/metadata.name"] != "a" {
		t.Errorf("got %v", o.Namespaces)
	}
}
