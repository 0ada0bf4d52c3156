// Package script runs the stories that the cores are tested by. A story is a
// text of commands, each followed by a line ---- and what it prints, up to an
// empty line. Lines that start with # are comments.
package script

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories print into their files")

// Run runs each story of the files that match pattern, as a test named after
// the file. For each, begin returns what carries out its commands, line by
// line, and prints to out.
func Run(t *testing.T, pattern string, begin func(t *testing.T, out *bytes.Buffer) func(command []string)) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			tell(string(want), &out, begin(t, &out))
			got := out.Bytes()
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, want) {
				t.Errorf("prints something else (make golden accepts it):\n%s", got)
			}
		})
	}
}

// tell repeats a story with what its commands print now.
func tell(story string, out *bytes.Buffer, run func(command []string)) {
	lines := strings.Split(strings.TrimSuffix(story, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		fmt.Fprintln(out, lines[i])
		if lines[i] == "" || strings.HasPrefix(lines[i], "#") {
			continue
		}
		command := []string{lines[i]}
		for ; i+1 < len(lines) && lines[i+1] != "" && lines[i+1] != "----"; i++ {
			fmt.Fprintln(out, lines[i+1])
			command = append(command, lines[i+1])
		}
		for ; i+1 < len(lines) && lines[i+1] != ""; i++ { // what it printed before
		}
		fmt.Fprintln(out, "----")
		run(command)
	}
}
