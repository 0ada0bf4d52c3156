package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// metric is what the source says of one.
type metric struct {
	program, name, kind, help string
	labels                    []string
}

// metricsPage lists the metrics of all programs, as their source declares them.
func metricsPage(context.Context) error {
	var all []metric
	for _, p := range programs {
		found, err := declaredMetrics(p)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	var page bytes.Buffer
	page.WriteString(`# Metrics

Every program serves them at ` + "`/metrics`" + `: the controller and the gateway on port 7472 of their pods, the speakers on port 7482 of
their nodes. With them come those of the Go runtime and of the process (` + "`go_*`, `process_*`" + `).

<!-- Made by "make generate" from the source. -->
`)
	for _, p := range programs {
		fmt.Fprintf(&page, "\n## %s%s\n\n| metric | type | labels | |\n|---|---|---|---|\n", strings.ToUpper(p[:1]), p[1:])
		for _, m := range all {
			if m.program == p {
				fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), strings.ReplaceAll(m.help, "|", "\\|"))
			}
		}
	}
	return os.WriteFile(filepath.Join(reference, "metrics.md"), page.Bytes(), 0o644)
}

// declaredMetrics reads the declarations in a program's packages, ordered by
// name. They are calls of prometheus.NewGaugeVec and its like with literal
// options, or of a function of the package that calls prometheus.NewDesc.
func declaredMetrics(program string) ([]metric, error) {
	packages := map[string][]*ast.File{}
	err := filepath.WalkDir(program, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], file)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []metric
	for dir, files := range packages {
		descriptions, err := describers(files)
		if err != nil {
			return nil, fmt.Errorf("%s: metric: %w", dir, err)
		}
		for _, file := range files {
			var failed error
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				m, is, err := declaration(call, descriptions)
				if err != nil {
					failed = fmt.Errorf("%s: metric: %w", dir, err)
				}
				if is {
					m.program = program
					all = append(all, m)
				}
				return true
			})
			if failed != nil {
				return nil, failed
			}
		}
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// describers are the functions that make a description: name, and what comes
// before the first argument in the metric's name. Descriptions are made in such
// functions only.
func describers(files []*ast.File) (map[string]string, error) {
	found := map[string]string{}
	var failed error
	for _, file := range files {
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || selected(call.Fun, "prometheus") != "NewDesc" {
					return true
				}
				prefix, err := "", error(fmt.Errorf("%s: the name of a description is no text and the argument after it", f.Name.Name))
				if sum, ok := call.Args[0].(*ast.BinaryExpr); ok && sum.Op == token.ADD {
					prefix, err = text(sum.X)
				}
				if err != nil {
					failed = err
				}
				found[f.Name.Name] = prefix
				return true
			})
		}
	}
	return found, failed
}

// noMetrics are those of prometheus.New… that declare none: descriptions count
// where the functions that make them are called.
var noMetrics = []string{"Desc", "Registry", "PedanticRegistry"}

func declaration(call *ast.CallExpr, describers map[string]string) (m metric, is bool, err error) {
	if f, ok := call.Fun.(*ast.Ident); ok {
		prefix, ok := describers[f.Name]
		if !ok {
			return m, false, nil
		}
		words := make([]string, len(call.Args))
		for i, a := range call.Args {
			if words[i], err = text(a); err != nil {
				return m, false, err
			}
		}
		m = metric{name: prefix + words[0], help: words[1], labels: words[2:], kind: "gauge"}
		if strings.HasSuffix(m.name, "_total") {
			m.kind = "counter"
		}
		return m, true, nil
	}
	kind, ok := strings.CutPrefix(selected(call.Fun, "prometheus"), "New")
	if !ok || slices.Contains(noMetrics, kind) {
		return m, false, nil
	}
	m.kind = strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(kind, "Vec"), "Func"))
	if !slices.Contains([]string{"gauge", "counter", "histogram", "summary"}, m.kind) {
		return m, false, fmt.Errorf("prometheus.New%s is not understood here", kind)
	}
	options, ok := call.Args[0].(*ast.CompositeLit)
	if !ok {
		return m, false, fmt.Errorf("options of a prometheus.New%s that are no literal", kind)
	}
	for _, e := range options.Elts {
		field := e.(*ast.KeyValueExpr)
		switch field.Key.(*ast.Ident).Name {
		case "Name":
			m.name, err = text(field.Value)
		case "Help":
			m.help, err = text(field.Value)
		}
		if err != nil {
			return m, false, err
		}
	}
	if strings.HasSuffix(kind, "Vec") {
		for _, e := range call.Args[1].(*ast.CompositeLit).Elts {
			label, err := text(e)
			if err != nil {
				return m, false, err
			}
			m.labels = append(m.labels, label)
		}
	}
	return m, true, nil
}

// selected is the name that is selected from a package, or empty.
func selected(e ast.Expr, from string) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); !ok || x.Name != from {
		return ""
	}
	return s.Sel.Name
}

// text is the value of a literal.
func text(e ast.Expr) (string, error) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", fmt.Errorf("%T is no text literal", e)
	}
	return strconv.Unquote(l.Value)
}
