package explain

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/porchlight-lb/porchlight/cli/internal/paint"
)

// WriteText writes the chain for a person.
func (r *Report) WriteText(w io.Writer, p paint.Paint) error {
	var b strings.Builder
	fmt.Fprintln(&b, p.Title(r.Object))
	width := 0
	for _, l := range r.Links {
		width = max(width, utf8.RuneCountInString(l.Name))
	}
	for _, l := range r.Links {
		mark := p.Good("ok    ")
		switch l.State {
		case Broken:
			mark = p.Bad("BROKEN")
		case Note:
			mark = p.Faint("-     ")
		}
		text := l.Text
		if l.State == Broken {
			text = p.Bad(string(l.Reason)) + ": " + text
		}
		fmt.Fprintf(&b, "  %s  %-*s  %s\n", mark, width, l.Name, text)
		for _, d := range l.Details {
			var parts []string
			for _, part := range []string{d.Subject, p.Warn(string(d.Reason)), d.Text} {
				if part != "" {
					parts = append(parts, part)
				}
			}
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", width+12), strings.Join(parts, " "))
		}
	}
	if l := r.Break(); l != nil {
		fmt.Fprintf(&b, "\n%s\n", p.Bad(fmt.Sprintf("the chain breaks at %s: %s", l.Name, l.Reason)))
		if l.Fix != "" {
			fmt.Fprintf(&b, "%s\n", l.Fix)
		}
	} else {
		fmt.Fprintf(&b, "\n%s\n", p.Good("the chain holds"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
