// Package manifest reads the objects of YAML and JSON manifests, as people
// write them and as kubectl prints them. It opens no file.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Document is an object of a manifest.
type Document struct {
	// Source is the file's name, for the report.
	Source string
	// Object has an apiVersion and a kind.
	Object map[string]any
}

// Read reads the objects of a stream of YAML or JSON documents, those of lists
// one by one. A document that is no object, or that has a field twice, is an
// error that names it by its number, from 1.
func Read(source string, manifests []byte) ([]Document, error) {
	var docs []Document
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for n := 1; ; n++ {
		content, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading document %d of %s: %w", n, source, err)
		}
		objects, err := decode(content)
		if err != nil {
			return nil, fmt.Errorf("reading document %d of %s: %w", n, source, err)
		}
		for _, o := range objects {
			docs = append(docs, Document{source, o})
		}
	}
}

// decode reads the objects of one document.
func decode(content []byte) ([]map[string]any, error) {
	asJSON, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(asJSON, &value); err != nil {
		return nil, err
	}
	if value == nil {
		return nil, nil // comments alone
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	return flatten(object)
}

// flatten returns the items of a list, and of lists in it, or the object.
func flatten(object map[string]any) ([]map[string]any, error) {
	if text(object, "kind") == "" || text(object, "apiVersion") == "" {
		return nil, errors.New("it has no kind or no apiVersion")
	}
	items, ok := object["items"].([]any)
	if !ok || !strings.HasSuffix(text(object, "kind"), "List") {
		return []map[string]any{object}, nil
	}
	var all []map[string]any
	for i, item := range items {
		o, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("items[%d] is not an object", i)
		}
		objects, err := flatten(o)
		if err != nil {
			return nil, fmt.Errorf("items[%d]: %w", i, err)
		}
		all = append(all, objects...)
	}
	return all, nil
}

// text returns the string at a field, or none.
func text(object map[string]any, field string) string {
	s, _ := object[field].(string)
	return s
}
