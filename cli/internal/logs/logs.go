// Package logs reads the lines that the programs of an installation log, puts
// those of several pods in order, and writes them for a person.
package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/cli/internal/paint"
)

// Line is a line of a log.
type Line struct {
	// Source is the program and where it runs: speaker/node1.
	Source string
	// Time at which the container wrote it; zero where that is not known.
	Time time.Time
	// Text as the program wrote it.
	Text string
	// What the text says if it is structured, as ours is; Message is empty where
	// it is not.
	Level   slog.Level
	Message string
	Fields  []Field
}

// Field is a key of a structured line, and its value.
type Field struct{ Key, Value string }

// Parse reads a line, before which the kubelet has put the time.
func Parse(source, raw string) Line {
	l := Line{Source: source, Text: strings.TrimRight(raw, "\r\n")}
	if stamp, rest, ok := strings.Cut(l.Text, " "); ok {
		if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			l.Time, l.Text = t, rest
		}
	}
	l.structure()
	return l
}

// structure reads a line of slog's JSON. Its fields keep their order.
func (l *Line) structure() {
	if !strings.HasPrefix(l.Text, "{") || !json.Valid([]byte(l.Text)) {
		return
	}
	d := json.NewDecoder(strings.NewReader(l.Text))
	_, _ = d.Token() // the opening brace: it is valid
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return
		}
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		switch key {
		case "time", "program":
		case "level":
			_ = l.Level.UnmarshalText([]byte(text)) // one that is not known counts as INFO
		case "msg":
			l.Message = text
		default:
			l.Fields = append(l.Fields, Field{fmt.Sprint(key), text})
		}
	}
}

// AtLeast says whether the line is to be shown to who asks for the level; what
// is not structured is shown to everybody.
func (l Line) AtLeast(level slog.Level) bool { return l.Message == "" || l.Level >= level }

// Merge puts the lines of several logs in the order of their times; those of one
// log keep theirs.
func Merge(logs ...[]Line) []Line {
	all := slices.Concat(logs...)
	slices.SortStableFunc(all, func(a, b Line) int { return a.Time.Compare(b.Time) })
	return all
}

// Format writes the line for a person: when, how bad, who, what.
func (l Line) Format(p paint.Paint) string {
	var b bytes.Buffer
	if !l.Time.IsZero() {
		b.WriteString(p.Faint(l.Time.UTC().Format("15:04:05.000")) + " ")
	}
	if l.Message == "" {
		fmt.Fprintf(&b, "-     %s %s\n", l.Source, l.Text)
		return b.String()
	}
	level := fmt.Sprintf("%-5s", l.Level)
	switch {
	case l.Level >= slog.LevelError:
		level = p.Bad(level)
	case l.Level >= slog.LevelWarn:
		level = p.Warn(level)
	}
	fmt.Fprintf(&b, "%s %s %s", level, p.Title(l.Source), l.Message)
	for _, f := range l.Fields {
		value := f.Value
		if value == "" || strings.ContainsAny(value, " \t\"=") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&b, " %s=%s", p.Faint(f.Key), value)
	}
	b.WriteString("\n")
	return b.String()
}
