package api

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Case is an object of a table, with the messages its refusal must have.
type Case struct {
	// Want are parts of the message, none for an object to be accepted: the
	// lines "# want: …" of the document.
	Want []string
	// Object is the document.
	Object *unstructured.Unstructured
}

// ReadCases reads a table: a YAML file with a document for each case.
func ReadCases(path string) ([]Case, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseCases(path, content)
}

func parseCases(path string, content []byte) ([]Case, error) {
	var cases []Case
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		c := Case{Object: &unstructured.Unstructured{}}
		for line := range strings.Lines(document) {
			if want, ok := strings.CutPrefix(line, "# want: "); ok {
				c.Want = append(c.Want, strings.TrimSpace(want))
			}
		}
		object, err := yaml.YAMLToJSON([]byte(document))
		if err == nil && string(object) == "null" {
			continue // comments alone
		}
		if err == nil {
			err = c.Object.UnmarshalJSON(object)
		}
		if err != nil {
			return nil, fmt.Errorf("reading document %d of %s: %w", len(cases)+1, path, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}
