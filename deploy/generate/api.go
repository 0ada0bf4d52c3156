package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// definition is as much of a CRD as its page tells.
type definition struct {
	Spec struct {
		Names struct {
			Kind       string   `json:"kind"`
			Plural     string   `json:"plural"`
			ShortNames []string `json:"shortNames"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				OpenAPIV3Schema schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

type schema struct {
	Type        string            `json:"type"`
	IntOrString bool              `json:"x-kubernetes-int-or-string"`
	Description string            `json:"description"`
	Default     any               `json:"default"`
	Enum        []any             `json:"enum"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	Required    []string          `json:"required"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
	Validations []struct {
		Message string `json:"message"`
	} `json:"x-kubernetes-validations"`
}

// apiPage has a table of the fields of each of our kinds.
func apiPage(context.Context) error {
	files, err := filepath.Glob("config/crd/*.yaml")
	if err != nil {
		return err
	}
	var page bytes.Buffer
	page.WriteString(`# Kinds and fields

The kinds of group ` + "`porchlight.dev`, version `v1beta1`" + `. All are namespaced and are read in the installation's own namespace only.
` + "`kubectl explain`" + ` says the same in a terminal: ` + "`kubectl explain ipaddresspools.spec`" + `.

<!-- Made by "make generate" from the CRDs. -->
`)
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		var d definition
		if err := yaml.Unmarshal(content, &d); err != nil {
			return fmt.Errorf("reading %s: %w", f, err)
		}
		if d.Spec.Names.Kind == "" {
			continue // kustomization.yaml
		}
		root := d.Spec.Versions[0].Schema.OpenAPIV3Schema
		fmt.Fprintf(&page, "\n## %s\n\n%s\n\nFor kubectl: `%s`", d.Spec.Names.Kind, oneLine(root.Description), d.Spec.Names.Plural)
		for _, short := range d.Spec.Names.ShortNames {
			fmt.Fprintf(&page, ", `%s`", short)
		}
		page.WriteString(".\n\n| field | type | default | |\n|---|---|---|---|\n")
		for _, part := range []string{"spec", "status"} {
			if s, ok := root.Properties[part]; ok {
				if err := writeFields(&page, part, s); err != nil {
					return err
				}
			}
		}
	}
	return os.WriteFile(filepath.Join(reference, "api.md"), page.Bytes(), 0o644)
}

// foreign are fields of types that are Kubernetes' own: what is in them, its
// documentation says.
var foreign = []string{"affinity", "resources", "tolerations", "conditions", "topologySpreadConstraints"}

func writeFields(page *bytes.Buffer, path string, s schema) error {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f, at := s.Properties[name], path+"."+name
		value := ""
		if f.Default != nil && !(f.Type == "object") {
			b, err := json.Marshal(f.Default)
			if err != nil {
				return err
			}
			value = "`" + strings.Trim(string(b), `"`) + "`"
		}
		if slices.Contains(s.Required, name) && value == "" {
			value = "required"
		}
		fmt.Fprintf(page, "| `%s` | %s | %s | %s |\n", at, typeOf(f), value, about(f))
		inside := f
		if f.Items != nil {
			inside, at = *f.Items, at+"[]"
		}
		if _, selector := inside.Properties["matchExpressions"]; selector || slices.Contains(foreign, name) {
			continue
		}
		if err := writeFields(page, at, inside); err != nil {
			return err
		}
	}
	return nil
}

func typeOf(s schema) string {
	switch {
	case s.IntOrString:
		return "integer or string"
	case s.Items != nil:
		return "list of " + typeOf(*s.Items)
	case len(s.Enum) > 0:
		var all []string
		for _, e := range s.Enum {
			all = append(all, fmt.Sprintf("`%v`", e))
		}
		return strings.Join(all, ", ")
	}
	if _, selector := s.Properties["matchExpressions"]; selector {
		return "label selector"
	}
	t := s.Type
	if s.Minimum != nil && s.Maximum != nil {
		t += fmt.Sprintf(", %.0f to %.0f", *s.Minimum, *s.Maximum)
	}
	return t
}

// about is what the field is for, and what is refused of it.
func about(s schema) string {
	text := oneLine(s.Description)
	for _, v := range s.Validations {
		if v.Message != "" {
			text += " Refused otherwise: " + strings.TrimSuffix(oneLine(v.Message), ".") + "."
		}
	}
	return text
}

// oneLine is for a cell of a table.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s)
}
