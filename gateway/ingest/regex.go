package ingest

import (
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxProgram bounds the size of a compiled expression. Envoy refuses a route
// configuration as a whole for one that is larger than xds.Runtime says; what
// is refused here stays well below that.
const maxProgram = 16384

// checkRegex refuses what Envoy would: its expressions are RE2's, whose syntax
// package regexp/syntax shares but for some escape sequences.
func checkRegex(expr string) *refusal {
	re, err := syntax.Parse(ofBytes(expr), syntax.Perl)
	if err != nil || expr == "" {
		return unsupported("%q is not a regular expression in RE2 syntax.", expr)
	}
	if e := unknownEscape(expr); e != "" {
		return unsupported("%q has %s, which Envoy does not know.", expr, e)
	}
	if programSize(re, maxProgram) >= maxProgram {
		return unsupported("%.100q is a regular expression that is too large.", expr)
	}
	return nil
}

// ofBytes returns the expression as Envoy reads it, whose RE2 takes each byte
// for a character.
func ofBytes(expr string) string {
	out := make([]rune, len(expr))
	for i := range out {
		out[i] = rune(expr[i])
	}
	return string(out)
}

// unknownEscape returns the first escape sequence of a valid expression that
// package regexp/syntax knows and Envoy does not; empty: there is none. To
// Envoy no character is above \xff, and the categories and scripts of Unicode
// have one name each.
func unknownEscape(expr string) string {
	for {
		i := strings.IndexByte(expr, '\\')
		if i < 0 || i+1 == len(expr) {
			return ""
		}
		expr = expr[i:]
		n := 2
		switch c := expr[1]; {
		case c == 'Q':
			if n = strings.Index(expr, `\E`); n < 0 {
				return ""
			}
		case c == 'p' || c == 'P':
			name := expr[2:3]
			if name == "{" {
				name, _, _ = strings.Cut(expr[3:], "}")
				n = len(`\p{}`) + len(name)
			}
			if !classKnown(strings.TrimPrefix(name, "^")) {
				return expr[:max(n, len(`\pL`))]
			}
		case strings.HasPrefix(expr, `\x{`):
			hex, _, _ := strings.Cut(expr[3:], "}")
			if r, err := strconv.ParseUint(hex, 16, 32); err != nil || r > 0xff {
				return expr[:len(`\x{}`)+len(hex)]
			}
		case len(expr) >= 4:
			if r, err := strconv.ParseUint(expr[1:4], 8, 32); err == nil && r > 0xff {
				return expr[:4]
			}
		}
		expr = expr[n:]
	}
}

// classKnown says whether RE2 has a class of characters of this name.
func classKnown(name string) bool {
	if name == "Cn" || name == "LC" {
		return false
	}
	return name == "Any" || unicode.Categories[name] != nil || unicode.Scripts[name] != nil
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
