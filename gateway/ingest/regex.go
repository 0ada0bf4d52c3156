package ingest

import (
	"regexp/syntax"
	"unicode/utf8"
)

// maxProgram bounds the size of a compiled expression. Envoy refuses a route
// configuration as a whole for one that is larger than xds.Runtime says; what
// is refused here stays well below that.
const maxProgram = 16384

// checkRegex refuses what Envoy would: its expressions are RE2's, whose syntax
// package regexp/syntax shares.
func checkRegex(expr string) *refusal {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil || expr == "" {
		return unsupported("%q is not a regular expression in RE2 syntax.", expr)
	}
	if programSize(re, maxProgram) >= maxProgram {
		return unsupported("%.100q is a regular expression that is too large.", expr)
	}
	return nil
}

// programSize estimates how many instructions RE2 makes of an expression, and
// counts no further than to the limit. RE2 works on bytes: a range of runes
// that are several bytes long becomes as many ranges of bytes, and more where
// it does not begin and end at round numbers.
func programSize(re *syntax.Regexp, limit int) int {
	n := 2
	for _, sub := range re.Sub {
		if n += programSize(sub, limit); n >= limit {
			return limit
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			n += 2 * utf8.RuneLen(r) // either case
		}
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			n += 1 + 3*(utf8.RuneLen(max(re.Rune[i+1], 0))-1)
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		n += 12
	case syntax.OpRepeat:
		times := re.Max
		if times < 0 {
			times = re.Min + 1
		}
		n *= max(times, 1)
	}
	return min(n, limit)
}
