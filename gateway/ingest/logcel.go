package ingest

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// celFunctions are those that Envoy has for CEL, with the numbers of arguments
// that each takes, that before the dot counted.
var celFunctions = map[string][]int{
	"size": {1}, "int": {1}, "uint": {1}, "double": {1}, "bytes": {1}, "bool": {1}, "duration": {1}, "timestamp": {1}, "type": {1}, "dyn": {1},
	"contains": {2}, "startsWith": {2}, "endsWith": {2}, "matches": {2},
	"getFullYear": {1, 2}, "getMonth": {1, 2}, "getDate": {1, 2}, "getDayOfMonth": {1, 2}, "getDayOfWeek": {1, 2}, "getDayOfYear": {1, 2},
	"getHours": {1, 2}, "getMinutes": {1, 2}, "getSeconds": {1, 2}, "getMilliseconds": {1, 2},
}

const (
	// maxCELRegex bounds the size of an expression for matches as programSize
	// estimates it; Envoy allows 100 instructions.
	maxCELRegex = 80
	// maxCELDepth bounds how deep expressions are in each other.
	maxCELDepth = 24
)

// celReserved are no identifiers, of which celKeywords are no names of fields
// either.
var (
	celReserved = strings.Fields("as break const continue else for function if import let loop package namespace return var void while")
	celKeywords = []string{"true", "false", "null", "in"}
)

// celToken is a token, with what is blank before it. Of literals it has those
// that mean the same to every parser: strings without other escapes than those
// of a quote, of a backslash, and of n, r and t, and numbers without exponents.
var celToken = regexp.MustCompile(`^[ \t]*(?:([A-Za-z_][A-Za-z0-9_]*)|([0-9]+(?:\.[0-9]+|u)?)|("(?:[^"\\\n\r]|\\["'\\nrt])*"|'(?:[^'\\\n\r]|\\["'\\nrt])*')|(&&|\|\||[<>=!]=|[-+*/%!<>?:.,()[\]{}]))`)

// celParser reads the CEL that Envoy takes in an access log: a subset, that has
// all of Envoy's examples in it, without messages, raw strings and bytes, and
// without macros other than has, as Envoy evaluates no others.
// https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
type celParser struct {
	rest  string
	depth int
	// The next token, and what it is; kind 0: the end.
	next string
	kind celKind
}

// celKind is the group of celToken.
type celKind int

const (
	celEnd celKind = iota
	celIdent
	celNumber
	celString
	celMark
)

// celError is the first thing that is wrong.
type celError struct{ error }

// checkCEL refuses what is not an expression that Envoy evaluates. It refuses
// some that are, too.
func checkCEL(argument string) (err error) {
	p := &celParser{rest: argument}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case celError:
			err = fmt.Errorf("it is not a CEL expression that can be used here: %w", e.error)
		default:
			panic(e)
		}
	}()
	p.advance()
	p.expression()
	if p.kind != celEnd {
		p.unexpected()
	}
	return nil
}

func (p *celParser) fail(format string, args ...any) { panic(celError{fmt.Errorf(format, args...)}) }

func (p *celParser) unexpected() {
	if p.kind == celEnd {
		p.fail("it ends too early")
	}
	p.fail("unexpected %s", p.next)
}

func (p *celParser) advance() {
	if strings.Trim(p.rest, " \t") == "" {
		p.rest, p.next, p.kind = "", "", celEnd
		return
	}
	m := celToken.FindStringSubmatch(p.rest)
	if m == nil {
		p.fail("unexpected %.20q", p.rest)
	}
	p.rest = p.rest[len(m[0]):]
	p.kind = celKind(1 + slices.IndexFunc(m[1:], func(s string) bool { return s != "" }))
	p.next = m[p.kind]
	if p.kind == celNumber && p.rest != "" && strings.ContainsAny(p.rest[:1], "._eExXuU") {
		p.fail("unexpected %.20q", p.next+p.rest)
	}
	if p.kind == celIdent && p.rest != "" && strings.ContainsAny(p.rest[:1], `"'`) {
		p.fail("%s before a string", p.next)
	}
	if p.kind == celMark && p.next == "/" && strings.HasPrefix(p.rest, "/") {
		p.fail("there is a comment")
	}
}

// is says whether the next token is one of the marks.
func (p *celParser) is(marks ...string) bool {
	return p.kind == celMark && slices.Contains(marks, p.next)
}

func (p *celParser) expect(mark string) {
	if !p.is(mark) {
		p.unexpected()
	}
	p.advance()
}

func (p *celParser) expression() {
	if p.depth++; p.depth > maxCELDepth {
		p.fail("expressions are more than %d deep", maxCELDepth)
	}
	p.binary(0)
	if p.is("?") {
		p.advance()
		p.binary(0)
		p.expect(":")
		p.expression()
	}
	p.depth--
}

// celOperators are the binary ones, those that bind least first.
var celOperators = [][]string{{"||"}, {"&&"}, {"<", "<=", ">", ">=", "==", "!="}, {"+", "-"}, {"*", "/", "%"}}

// celRelations is where among them also in belongs.
const celRelations = 2

func (p *celParser) binary(level int) {
	if level == len(celOperators) {
		p.unary()
		return
	}
	p.binary(level + 1)
	for p.is(celOperators[level]...) || level == celRelations && p.kind == celIdent && p.next == "in" {
		p.advance()
		p.binary(level + 1)
	}
}

func (p *celParser) unary() {
	if p.is("!", "-") {
		p.advance()
		if p.is("!", "-") {
			p.fail("two signs after each other")
		}
	}
	p.member()
}

// member reads what may be followed by a field, an index or a call.
func (p *celParser) member() {
	literal := p.kind == celNumber
	p.primary()
	if literal {
		return
	}
	for p.is(".", "[") {
		if p.is("[") {
			p.advance()
			p.expression()
			p.expect("]")
			continue
		}
		p.advance()
		name := p.next
		if p.kind != celIdent || slices.Contains(celKeywords, name) {
			p.unexpected()
		}
		if p.advance(); p.is("(") {
			p.call(name, 1)
		}
	}
}

func (p *celParser) primary() {
	word := p.next
	switch {
	case p.kind == celNumber:
		p.number()
	case p.kind == celString:
		p.advance()
	case p.kind == celIdent && word == "has":
		p.has()
	case p.kind == celIdent && word != "in" && !slices.Contains(celReserved, word):
		p.advance()
		if p.is("(") {
			p.call(word, 0)
		} else if p.is("{") {
			p.unexpected()
		}
	case p.is("("):
		p.advance()
		p.expression()
		p.expect(")")
	case p.is("["):
		p.advance()
		p.list("]", p.expression)
	case p.is("{"):
		p.advance()
		p.list("}", func() {
			p.expression()
			p.expect(":")
			p.expression()
		})
	default:
		p.unexpected()
	}
}

func (p *celParser) number() {
	var err error
	switch digits, unsigned := strings.CutSuffix(p.next, "u"); {
	case unsigned:
		_, err = strconv.ParseUint(digits, 10, 64)
	case !strings.Contains(digits, "."):
		_, err = strconv.ParseInt(digits, 10, 64)
	}
	if err != nil {
		p.fail("%s is too large", p.next)
	}
	p.advance()
}

// list reads elements up to a mark, after the one that opens it.
func (p *celParser) list(end string, element func()) (n int) {
	for ; !p.is(end); n++ {
		if n > 0 {
			p.expect(",")
		}
		element()
	}
	p.advance()
	return n
}

// call reads the arguments of a function, of which some were before its name.
func (p *celParser) call(name string, before int) {
	p.advance()
	patterns := 1 - before // where the pattern of matches is
	n := before + p.list(")", func() {
		pattern, rest := p.next, p.rest
		literal := p.kind == celString
		p.expression()
		if patterns == 0 && name == "matches" && literal {
			p.pattern(pattern, rest)
		}
		patterns--
	})
	if counts, known := celFunctions[name]; !known {
		p.fail("Envoy has no function %s for it", name)
	} else if !slices.Contains(counts, n) {
		p.fail("%s has too few or too many arguments", name)
	}
}

// pattern refuses a literal that is an argument of matches, with what followed
// it, that Envoy would refuse to compile.
func (p *celParser) pattern(literal, rest string) {
	if rest = strings.TrimLeft(rest, " \t"); rest == "" || !strings.ContainsAny(rest[:1], ",)") {
		p.fail("the pattern of matches is made of several")
	}
	text := strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\'`, `'`, `\n`, "\n", `\r`, "\r", `\t`, "\t").Replace(literal[1 : len(literal)-1])
	if text == "" {
		return
	}
	if r := checkRegex(text); r != nil {
		p.fail("%s", strings.TrimSuffix(r.message, "."))
	}
	if re, err := syntax.Parse(text, syntax.Perl); err != nil || programSize(re, maxCELRegex) >= maxCELRegex {
		p.fail("the pattern of matches is too large")
	}
}

// has reads the macro, whose argument is a field.
func (p *celParser) has() {
	if p.advance(); !p.is("(") {
		p.fail("has is a macro")
	}
	p.advance()
	if p.kind != celIdent || slices.Contains(celKeywords, p.next) || slices.Contains(celReserved, p.next) {
		p.unexpected()
	}
	p.advance()
	fields := 0
	for ; p.is("."); fields++ {
		p.advance()
		if p.kind != celIdent || slices.Contains(celKeywords, p.next) {
			p.unexpected()
		}
		p.advance()
	}
	if fields == 0 {
		p.fail("has takes a field")
	}
	p.expect(")")
}
