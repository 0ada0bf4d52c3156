// Package excerpt writes the first few of many for a person, and how many are
// left.
package excerpt

import (
	"fmt"
	"strings"
)

// Names are the first most of all: "a, b and 3 more".
func Names(all []string, most int) string {
	first := all[:min(len(all), most)]
	text := strings.Join(first, ", ")
	if left := len(all) - len(first); left > 0 {
		text += " " + Rest(left)
	}
	return text
}

// Parts are what tell says of the first most of all and, as one part more, how
// many are left.
func Parts[T any](all []T, most int, tell func(T) string) []string {
	first := all[:min(len(all), most)]
	var parts []string
	for _, one := range first {
		parts = append(parts, tell(one))
	}
	if left := len(all) - len(first); left > 0 {
		parts = append(parts, Rest(left))
	}
	return parts
}

// Rest stands for those that are left: "and 3 more".
func Rest(left int) string { return fmt.Sprintf("and %d more", left) }
