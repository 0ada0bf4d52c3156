// Package paint colours what a person reads on a terminal. Reports take a
// Paint as an argument; what is piped or asked for as data has none.
package paint

import (
	"os"

	"golang.org/x/term"
)

// Paint says whether there are colours.
type Paint bool

// Choose says whether there are colours on a stream: never, always, or, where
// mode is auto, on a terminal that can, unless NO_COLOR is set
// (https://no-color.org).
func Choose(mode string, stream any, getenv func(string) string) Paint {
	switch mode {
	case "always":
		return true
	case "never":
		return false
	}
	return Paint(getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && Terminal(stream))
}

// Terminal says whether a stream is one.
func Terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// The colours, by what they say.
const (
	good  = "\x1b[32m"
	bad   = "\x1b[31m"
	warn  = "\x1b[33m"
	faint = "\x1b[2m"
	bold  = "\x1b[1m"
	end   = "\x1b[0m"
)

// Good is for what is as it should be.
func (p Paint) Good(s string) string { return p.with(good, s) }

// Bad is for what is broken.
func (p Paint) Bad(s string) string { return p.with(bad, s) }

// Warn is for what may break.
func (p Paint) Warn(s string) string { return p.with(warn, s) }

// Faint is for what matters less.
func (p Paint) Faint(s string) string { return p.with(faint, s) }

// Title is for headings.
func (p Paint) Title(s string) string { return p.with(bold, s) }

func (p Paint) with(code, s string) string {
	if !p || s == "" {
		return s
	}
	return code + s + end
}
