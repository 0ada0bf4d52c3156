package excerpt

import (
	"strconv"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ all, want string }{
		{"", ""},
		{"a", "a"},
		{"a b", "a, b"},
		{"a b c", "a, b and 1 more"},
		{"a b c d e", "a, b and 3 more"},
	} {
		if got := Names(strings.Fields(c.all), 2); got != c.want {
			t.Errorf("of %q: %q, want %q", c.all, got, c.want)
		}
	}
}

func TestParts(t *testing.T) {
	for _, c := range []struct {
		all  []int
		want string
	}{
		{nil, ""},
		{[]int{1, 2}, "1; 2"},
		{[]int{1, 2, 3, 4}, "1; 2; and 2 more"},
	} {
		if got := strings.Join(Parts(c.all, 2, strconv.Itoa), "; "); got != c.want {
			t.Errorf("of %v: %q, want %q", c.all, got, c.want)
		}
	}
}
