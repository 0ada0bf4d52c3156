package leader

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sparse is a log handler that lets a message pass once in a pause; the next
// one that passes says how many did not. What a message is about, its
// attributes, does not make it another.
type sparse struct {
	slog.Handler
	pause time.Duration
	seen  *seen
}

type seen struct {
	mu       sync.Mutex
	messages map[string]repeated
}

type repeated struct {
	last    time.Time
	dropped int
}

func newSparse(h slog.Handler, pause time.Duration) sparse {
	return sparse{h, pause, &seen{messages: map[string]repeated{}}}
}

// Handle implements [slog.Handler].
func (s sparse) Handle(ctx context.Context, r slog.Record) error {
	s.seen.mu.Lock()
	m := s.seen.messages[r.Message]
	pass := r.Time.Sub(m.last) >= s.pause
	if pass && m.dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", m.dropped))
	}
	if m.dropped++; pass {
		m = repeated{last: r.Time}
	}
	s.seen.messages[r.Message] = m
	s.seen.mu.Unlock()
	if !pass {
		return nil
	}
	return s.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (s sparse) WithAttrs(attrs []slog.Attr) slog.Handler {
	s.Handler = s.Handler.WithAttrs(attrs)
	return s
}

// WithGroup implements [slog.Handler].
func (s sparse) WithGroup(name string) slog.Handler {
	s.Handler = s.Handler.WithGroup(name)
	return s
}
