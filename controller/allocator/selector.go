package allocator

import (
	"fmt"
	"slices"
	"strings"
)

// Operator relates the value of a label to the values of a requirement.
type Operator string

// The operators of Kubernetes label selectors.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// Requirement is one condition on one label.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Selector selects by labels; every requirement must hold. An empty selector
// selects everything, as in Kubernetes.
type Selector []Requirement

// String writes the selector as kubectl does.
func (s Selector) String() string {
	var parts []string
	for _, r := range s {
		switch r.Operator {
		case In, NotIn:
			parts = append(parts, fmt.Sprintf("%s %s (%s)", r.Key, strings.ToLower(string(r.Operator)), strings.Join(r.Values, ",")))
		case DoesNotExist:
			parts = append(parts, "!"+r.Key)
		default:
			parts = append(parts, r.Key)
		}
	}
	return strings.Join(parts, ",")
}

// Validate says what is wrong with the selector.
func (s Selector) Validate() error {
	for _, r := range s {
		switch r.Operator {
		case In, NotIn:
			if len(r.Values) == 0 {
				return fmt.Errorf("label %q: operator %s needs values", r.Key, r.Operator)
			}
		case Exists, DoesNotExist:
			if len(r.Values) > 0 {
				return fmt.Errorf("label %q: operator %s takes no values", r.Key, r.Operator)
			}
		default:
			return fmt.Errorf("label %q: there is no operator %q", r.Key, r.Operator)
		}
	}
	return nil
}

// Matches says whether the labels fulfil every requirement.
func (s Selector) Matches(labels map[string]string) bool {
	for _, r := range s {
		value, set := labels[r.Key]
		var ok bool
		switch r.Operator {
		case In:
			ok = set && slices.Contains(r.Values, value)
		case NotIn:
			ok = !set || !slices.Contains(r.Values, value)
		case Exists:
			ok = set
		case DoesNotExist:
			ok = !set
		}
		if !ok {
			return false
		}
	}
	return true
}

func anyMatches(selectors []Selector, labels map[string]string) bool {
	return slices.ContainsFunc(selectors, func(s Selector) bool { return s.Matches(labels) })
}
