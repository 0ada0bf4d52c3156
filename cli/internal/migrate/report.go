package migrate

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Outcome is what became of a field, or of an object.
type Outcome string

const (
	// Kept: it is as it was.
	Kept Outcome = "kept"
	// Changed: it is written differently, and means the same.
	Changed Outcome = "changed"
	// LeftOut: it is not needed, and nothing is lost.
	LeftOut Outcome = "left out"
	// NotKept: Porchlight does not do what it says.
	NotKept Outcome = "not kept"
)

// outcomes in the order in which an entry has them.
var outcomes = []Outcome{Kept, Changed, LeftOut, NotKept}

// Line is what became of one field of an object. A line without a field is
// about the object.
type Line struct {
	Outcome Outcome
	Field   string
	Detail  string
}

// Entry is what became of one object.
type Entry struct {
	Kind, Name string
	// Origin is what the object was, and Source the file that it was in.
	Origin, Source string
	Lines          []Line
}

// Result is a converted configuration.
type Result struct {
	// Namespace of everything that is written.
	Namespace string
	// Objects are ours, sorted by kind and name.
	Objects []map[string]any
	// Entries have every object that was read or made, in the same order.
	Entries []Entry
	// ToDo is what is left for a person, sorted.
	ToDo []string
}

// NotKept counts the fields and objects that could not be kept.
func (r *Result) NotKept() int {
	n := 0
	for _, e := range r.Entries {
		for _, l := range e.Lines {
			if l.Outcome == NotKept {
				n++
			}
		}
	}
	return n
}

// Manifests returns the objects as YAML for kubectl apply.
func (r *Result) Manifests() ([]byte, error) {
	var out bytes.Buffer
	for _, o := range r.Objects {
		document, err := yaml.Marshal(o)
		if err != nil {
			return nil, fmt.Errorf("writing %s %s: %w", text(o, "kind"), text(fields(o, "metadata"), "name"), err)
		}
		if out.Len() > 0 {
			out.WriteString("---\n")
		}
		out.Write(document)
	}
	return out.Bytes(), nil
}

// Report returns what became of every field, for a person to read.
func (r *Result) Report() []byte {
	var out bytes.Buffer
	for _, e := range r.Entries {
		fmt.Fprintf(&out, "%s %s (%s, %s)\n", e.Kind, cmp.Or(e.Name, "without a name"), e.Origin, e.Source)
		e.writeLines(&out)
	}
	if len(r.Entries) > 0 {
		fmt.Fprintln(&out)
	}
	fmt.Fprintf(&out, "Written for namespace %s: %d. Not kept: %d.\n", r.Namespace, len(r.Objects), r.NotKept())
	if len(r.ToDo) > 0 {
		fmt.Fprintln(&out, "\nTo do:")
		for _, t := range r.ToDo {
			fmt.Fprintf(&out, "- %s\n", strings.ReplaceAll(t, "\n", "\n  "))
		}
	}
	return out.Bytes()
}

func (e *Entry) writeLines(out *bytes.Buffer) {
	for _, outcome := range outcomes {
		var plain []string // fields with nothing to say about them
		for _, l := range e.Lines {
			if l.Outcome == outcome && l.Detail == "" {
				plain = append(plain, l.Field)
			}
		}
		if len(plain) > 0 {
			fmt.Fprintf(out, "  %-8s  %s\n", outcome, strings.Join(plain, ", "))
		}
		for _, l := range e.Lines {
			switch {
			case l.Outcome != outcome || l.Detail == "":
			case l.Field == "":
				fmt.Fprintf(out, "  %-8s  %s\n", outcome, l.Detail)
			default:
				fmt.Fprintf(out, "  %-8s  %s: %s\n", outcome, l.Field, l.Detail)
			}
		}
	}
}

// sortLines puts an entry's lines in their order.
func (e *Entry) sortLines() {
	slices.SortStableFunc(e.Lines, func(a, b Line) int {
		return cmp.Or(
			cmp.Compare(slices.Index(outcomes, a.Outcome), slices.Index(outcomes, b.Outcome)),
			strings.Compare(a.Field, b.Field), strings.Compare(a.Detail, b.Detail))
	})
}
