package paint

import (
	"bytes"
	"os"
	"testing"
)

func TestChoose(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	for _, c := range []struct {
		mode   string
		stream any
		env    map[string]string
		want   Paint
	}{
		{"auto", &bytes.Buffer{}, nil, false},
		{"auto", file, nil, false},
		{"auto", terminal, nil, true},
		{"auto", terminal, map[string]string{"NO_COLOR": "1"}, false},
		{"auto", terminal, map[string]string{"TERM": "dumb"}, false},
		{"never", terminal, nil, false},
		{"always", &bytes.Buffer{}, nil, true},
		{"always", file, map[string]string{"NO_COLOR": "1"}, true}, // who asks for them gets them
		{"never", os.Stdout, nil, false},
	} {
		if got := Choose(c.mode, c.stream, func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("Choose(%s, %T, %v) = %v, want %v", c.mode, c.stream, c.env, got, c.want)
		}
	}
}

func TestNoPaintChangesNothing(t *testing.T) {
	for _, f := range []func(Paint, string) string{Paint.Good, Paint.Bad, Paint.Warn, Paint.Faint, Paint.Title} {
		if got := f(false, "text"); got != "text" {
			t.Errorf("without colours: %q", got)
		}
		if got := f(true, "text"); got == "text" || len(got) < len("text") {
			t.Errorf("with colours: %q", got)
		}
		if got := f(true, ""); got != "" {
			t.Errorf("nothing, with colours: %q", got)
		}
	}
}
