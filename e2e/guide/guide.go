// Package guide reads the pages of docs as what a person does: a fenced block
// of sh has commands to run, in the order of the page; a fenced block of text
// right after it is what they print. Blocks that are indented are shown, not
// run.
package guide

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Pages of docs whose commands are run, in this order: the last begins with a
// cluster that has nothing, and leaves one.
var Pages = []string{"concepts.md", "layer2.md", "bgp.md", "gateway.md", "migrate-from-metallb.md", "troubleshooting.md", "install.md"}

// Step is a block of commands.
type Step struct {
	// Line is that of the block's first command, from 1.
	Line int
	// Commands are for bash.
	Commands string
	// Prints are lines to be found in the output, in this order, with others
	// between them; empty: nothing is said of it.
	Prints []string
}

// Read returns the steps of a page.
func Read(file string) ([]Step, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parse(file, string(b))
}

func parse(file, page string) ([]Step, error) {
	var (
		steps    []Step
		language string // of the block that is open
		opened   int    // where, from 1; 0: none is
		adjacent bool   // nothing but empty lines since the last step
		block    []string
	)
	line := 0
	for text := range strings.Lines(page) {
		line++
		text = strings.TrimSuffix(text, "\n")
		fence, isFence := strings.CutPrefix(text, "```")
		switch {
		case isFence && opened == 0:
			language, opened, block = fence, line, nil
		case isFence:
			switch language {
			case "sh":
				steps = append(steps, Step{Line: opened + 1, Commands: strings.Join(block, "\n") + "\n"})
				adjacent = true
			case "text":
				if !adjacent {
					return nil, fmt.Errorf("%s:%d: output that follows no commands", file, opened)
				}
				steps[len(steps)-1].Prints = block
				adjacent = false
			default:
				adjacent = false
			}
			opened = 0
		case opened > 0:
			block = append(block, text)
		case strings.TrimSpace(text) != "":
			adjacent = false
		}
	}
	if opened > 0 {
		return nil, fmt.Errorf("%s:%d: the block does not end", file, opened)
	}
	return steps, nil
}

// Missing returns the first line of what the step should print that the output
// has not, and whether there is one. An ellipsis stands for any text, and any
// run of spaces for one.
func (s Step) Missing(output string) (string, bool) {
	rest := spaces.ReplaceAllString(output, " ")
	for _, want := range s.Prints {
		parts := strings.Split(spaces.ReplaceAllString(strings.TrimSpace(want), " "), "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		at := regexp.MustCompile(strings.Join(parts, "[^\n]*")).FindStringIndex(rest)
		if at == nil {
			return want, true
		}
		rest = rest[at[1]:]
	}
	return "", false
}

var spaces = regexp.MustCompile(`[ \t]+`)
