package guide

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const docs = "../../docs"

func TestParse(t *testing.T) {
	const page = "# Page\n\n```sh\none\ntwo\n```\n\n```text\na … c\n```\n\n    shown\n\n```sh\nthree\n```\n\n```yaml\nkind: X\n```\n"
	steps, err := parse("page", page)
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{{4, "one\ntwo\n", []string{"a … c"}}, {15, "three\n", nil}}
	if !slices.EqualFunc(steps, want, func(a, b Step) bool {
		return a.Line == b.Line && a.Commands == b.Commands && slices.Equal(a.Prints, b.Prints)
	}) {
		t.Errorf("the steps are %+v; want %+v", steps, want)
	}
	for _, bad := range []string{"```sh\nx\n", "text\n```text\nx\n```\n", "```sh\nx\n```\nand\n```text\nx\n```\n"} {
		if steps, err := parse("page", bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, steps)
		}
	}
}

func TestMissing(t *testing.T) {
	s := Step{Prints: []string{"NAME   EXTERNAL-IP", "web … 192.0.2.1  80:…/TCP"}}
	for output, want := range map[string]string{
		"NAME EXTERNAL-IP\nother  x\nweb   10.0.0.1  192.0.2.1   80:31000/TCP  5s\n": "",
		"NAME EXTERNAL-IP\nweb   10.0.0.1  192.0.2.2   80:31000/TCP  5s\n":           s.Prints[1],
		"web  10.0.0.1 192.0.2.1 80:31000/TCP\nNAME   EXTERNAL-IP\n":                 s.Prints[1],
		"NAME EXTERNAL-IP\nweb 10.0.0.1\n192.0.2.1 80:31000/TCP\n":                   s.Prints[1],
	} {
		if got, _ := s.Missing(output); got != want {
			t.Errorf("%q: %q is missing; want %q", output, got, want)
		}
	}
}

// pages are all pages of the documentation, and those beside it that it is read
// with.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"../../README.md", "../../deploy/ansible/README.md", "../../deploy/chart/porchlight/README.md"}
	for _, pattern := range []string{"*.md", "*/*.md"} {
		found, err := filepath.Glob(filepath.Join(docs, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unsaid  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names under which a page's headings can be linked to.
func anchors(page string) (all []string) {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		all = append(all, strings.ReplaceAll(unsaid.ReplaceAllString(strings.ToLower(text), ""), " ", "-"))
	}
	return all
}

// Links between pages lead to a file, and to a heading, that is there.
func TestLinks(t *testing.T) {
	for _, file := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			to := file
			if path != "" {
				to = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %s leads nowhere", file, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s: %s leads to no heading", file, m[1])
			}
		}
	}
}

// Every reason that a person can meet is explained.
func TestTroubleshootingHasEveryReason(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../internal/reason/reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	page, reasons := read(t, filepath.Join(docs, "troubleshooting.md")), 0
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) == 0 {
			return true
		}
		word, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		reasons++
		if !strings.Contains(page, "`"+word+"`") {
			t.Errorf("troubleshooting.md says nothing about %s", word)
		}
		return true
	})
	if reasons < 40 {
		t.Errorf("package reason has %d reasons: is its form another?", reasons)
	}
}

// So is every alert.
func TestTroubleshootingHasEveryAlert(t *testing.T) {
	page := read(t, filepath.Join(docs, "troubleshooting.md"))
	alerts := regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(read(t, "../../deploy/chart/porchlight/files/monitoring/alerts.yaml"), -1)
	if len(alerts) < 10 {
		t.Fatalf("%d alerts: is the form of the file another?", len(alerts))
	}
	for _, m := range alerts {
		if !strings.Contains(page, "`"+m[1]+"`") {
			t.Errorf("troubleshooting.md says nothing about %s", m[1])
		}
	}
}

// once are commands that fail the second time.
var once = regexp.MustCompile(`(?m)^(kubectl (create|expose|delete)|helm (install|uninstall)) `)

// The pages that the suite runs have something to run.
func TestPagesCanBeRead(t *testing.T) {
	for _, page := range Pages {
		steps, err := Read(filepath.Join(docs, page))
		if err != nil {
			t.Error(err)
		} else if len(steps) == 0 {
			t.Errorf("%s has no commands", page)
		}
		for _, s := range steps {
			if len(s.Prints) > 0 && once.MatchString(s.Commands) {
				t.Errorf("%s:%d: what is followed by its output is repeated until it prints that, and cannot be", page, s.Line)
			}
		}
	}
}
