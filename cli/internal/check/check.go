// Package check walks the whole chain of an installation, from its programs to
// the endpoints behind a route, and says of every link what is wrong and what
// to do about it. It takes objects and gives a Report.
package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/porchlight-lb/porchlight/cli/internal/advice"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/excerpt"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Severity of a finding.
type Severity string

// Severities: an Error is something that does not work, a Warning what works in
// part, or will cease to.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	// Object that it is about: "Service shop/web".
	Object  string        `json:"object"`
	Reason  reason.Reason `json:"reason"`
	Message string        `json:"message"`
	// Fix is what to do; empty where nothing is known.
	Fix string `json:"fix,omitempty"`
}

// Part is a link of the chain.
type Part struct {
	Name string `json:"name"`
	// Summary of the part, in a few words.
	Summary  string    `json:"summary"`
	Findings []Finding `json:"findings"`
}

// Report is all parts, in the order of the chain: what one needs comes before
// it, so the first finding is the one to look at first.
type Report struct {
	Namespace string `json:"namespace"`
	Parts     []Part `json:"parts"`
}

// Count returns how many findings have the severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings() {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Findings of all parts, in the order of the chain.
func (r *Report) Findings() []Finding {
	var all []Finding
	for _, p := range r.Parts {
		all = append(all, p.Findings...)
	}
	return all
}

// Run looks at the objects.
func Run(o *inventory.Objects) *Report {
	r := &Report{Namespace: o.Namespace}
	for _, part := range []struct {
		name  string
		check func(*checker) string
	}{
		{"programs", (*checker).programs},
		{"nodes", (*checker).nodes},
		{"pools", (*checker).pools},
		{"advertisements", (*checker).advertisements},
		{"BGP sessions", (*checker).sessions},
		{"services", (*checker).services},
		{"gateways", (*checker).gateways},
		{"routes", (*checker).routes},
	} {
		c := &checker{Objects: o, found: []Finding{}}
		summary := part.check(c)
		slices.SortStableFunc(c.found, func(a, b Finding) int {
			return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Object, b.Object))
		})
		r.Parts = append(r.Parts, Part{part.name, summary, c.found})
	}
	return r
}

// checker collects the findings of one part.
type checker struct {
	*inventory.Objects
	found []Finding
}

func (c *checker) say(s Severity, object string, why reason.Reason, format string, args ...any) {
	c.found = append(c.found, Finding{s, object, why, fmt.Sprintf(format, args...), advice.For(why)})
}

func (c *checker) fail(object string, why reason.Reason, format string, args ...any) {
	c.say(Error, object, why, format, args...)
}

func (c *checker) warn(object string, why reason.Reason, format string, args ...any) {
	c.say(Warning, object, why, format, args...)
}

// runs says whether a component is installed and a pod of it is ready: what it
// should have written is missed only then, or one cause would be told a
// thousand times.
func (c *checker) runs(component string) bool {
	return slices.ContainsFunc(c.Programs(), func(p inventory.Program) bool { return p.Component == component && p.Ready > 0 })
}

// plural writes a number of things: "1 pool", "2 pools".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// list is an excerpt of names as long as a finding has room for.
func list(names []string) string { return excerpt.Names(names, 5) }
