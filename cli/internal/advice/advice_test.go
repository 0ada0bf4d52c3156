package advice

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// fine are the reasons that tell of no trouble.
var fine = map[reason.Reason]bool{
	reason.Allocated: true, reason.Announced: true, reason.Ready: true, reason.Available: true,
	reason.DefaultScope: true,
}

func TestEveryReasonHasAdvice(t *testing.T) {
	declared := reasons(t)
	if len(declared) < 50 {
		t.Fatalf("package reason declares %d reasons; is it read rightly?", len(declared))
	}
	for _, r := range declared {
		s, ok := ours[r]
		switch {
		case !ok:
			t.Errorf("%s has no entry: say what to do about it", r)
		case fine[r] != (s == ""):
			t.Errorf("%s: %q; those that tell of no trouble are %v", r, s, fine)
		}
	}
	for r := range ours {
		if !slices.Contains(declared, r) {
			t.Errorf("%s is not a reason of package reason", r)
		}
	}
}

func TestAdviceIsOneSentence(t *testing.T) {
	for _, table := range []map[reason.Reason]string{ours, gatewayAPI} {
		for r, s := range table {
			if s == "" {
				continue
			}
			if !strings.HasSuffix(s, ".") || strings.ContainsAny(s, "\n") || strings.Contains(s, ". ") || s[0] < 'A' || s[0] > 'Z' {
				t.Errorf("%s: %q is not one sentence", r, s)
			}
			if For(r) != s {
				t.Errorf("For(%s) is %q, want %q", r, For(r), s)
			}
		}
	}
}

// reasons reads the constants of package reason from its source.
func reasons(t *testing.T) []reason.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../../internal/reason/reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []reason.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, v := range spec.Values {
			if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, reason.Reason(s))
			}
		}
		return true
	})
	return all
}
