package check

import (
	"fmt"
	"io"

	"github.com/porchlight-lb/porchlight/cli/internal/paint"
)

// few is how many findings of one part are told where not all are asked for.
const few = 10

// WriteText writes the report for a person. Unless all is set, a part with many
// findings is cut, and says so.
func (r *Report) WriteText(w io.Writer, p paint.Paint, all bool) error {
	b := &printer{w: w}
	for _, part := range r.Parts {
		mark := p.Good("ok     ")
		for _, f := range part.Findings {
			if mark = p.Warn("warning"); f.Severity == Error {
				mark = p.Bad("ERROR  ")
				break
			}
		}
		b.printf("%s  %-14s  %s\n", mark, part.Name, part.Summary)
		for i, f := range part.Findings {
			if i == few && !all {
				b.printf("         %s\n", paint.Rest(len(part.Findings)-few))
				break
			}
			reason := p.Warn(string(f.Reason))
			if f.Severity == Error {
				reason = p.Bad(string(f.Reason))
			}
			b.printf("         %s: %s: %s\n", p.Title(f.Object), reason, f.Message)
			if f.Fix != "" {
				b.printf("           %s\n", p.Faint(f.Fix))
			}
		}
	}
	errors, warnings := r.Count(Error), r.Count(Warning)
	switch {
	case errors > 0:
		b.printf("\n%s\n", p.Bad(plural(errors, "error")+", "+plural(warnings, "warning")))
	case warnings > 0:
		b.printf("\n%s\n", p.Warn("no error, "+plural(warnings, "warning")))
	default:
		b.printf("\n%s\n", p.Good("everything is as it should be"))
	}
	return b.err
}

// printer keeps the first error of many writes.
type printer struct {
	w   io.Writer
	err error
}

func (b *printer) printf(format string, args ...any) {
	if b.err == nil {
		_, b.err = fmt.Fprintf(b.w, format, args...)
	}
}
