package paint

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/porchlight-lb/porchlight/internal/excerpt"
)

// Cell is a text of a table, and how it is coloured; nil: it is not.
type Cell struct {
	Text  string
	Style func(string) string
}

// Plain makes cells without colour.
func Plain(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, t := range texts {
		cells[i].Text = t
	}
	return cells
}

// Table is a title over rows of cells. What is in a column begins at one place.
type Table struct {
	Title string
	Head  []string
	Rows  [][]Cell
}

// Write writes at most limit rows, and says so where there are more.
func (t *Table) Write(w io.Writer, p Paint, limit int) error {
	if len(t.Rows) == 0 {
		_, err := fmt.Fprintf(w, "%s: none\n", p.Title(t.Title))
		return err
	}
	shown := t.Rows[:min(limit, len(t.Rows))]
	widths := make([]int, len(t.Head))
	for _, row := range append([][]Cell{Plain(t.Head...)}, shown...) {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.Text))
		}
	}
	var b strings.Builder
	fmt.Fprintln(&b, p.Title(t.Title))
	line := func(row []Cell) {
		for len(row) > 0 && row[len(row)-1].Text == "" {
			row = row[:len(row)-1] // no blanks at the end
		}
		for i, c := range row {
			text := c.Text
			if c.Style != nil {
				text = c.Style(text)
			}
			b.WriteString("  " + text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.Text)))
			}
		}
		b.WriteString("\n")
	}
	head := Plain(t.Head...)
	for i := range head {
		head[i].Style = p.Faint
	}
	line(head)
	for _, row := range shown {
		line(row)
	}
	if left := len(t.Rows) - limit; left > 0 {
		fmt.Fprintf(&b, "  %s\n", Rest(left))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Rest stands for those that are left where not all was asked for.
func Rest(left int) string { return excerpt.Rest(left) + " (--all shows them)" }
