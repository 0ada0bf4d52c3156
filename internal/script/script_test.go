package script

import (
	"bytes"
	"fmt"
	"testing"
)

func TestTell(t *testing.T) {
	var out bytes.Buffer
	tell("# a comment\n# of two lines\nsay a\nand b\n----\nold\n\nsay nothing\n\n\n# the end\n", &out, func(command []string) {
		if len(command) > 1 {
			fmt.Fprintf(&out, "%q\n", command)
		}
	})
	const want = "# a comment\n# of two lines\nsay a\nand b\n----\n[\"say a\" \"and b\"]\n\nsay nothing\n----\n\n\n# the end\n"
	if out.String() != want {
		t.Errorf("printed %q; want %q", out.String(), want)
	}
}
