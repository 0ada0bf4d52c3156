package proxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
)

func TestWatch(t *testing.T) {
	times := func(n int, healthy bool) (out []bool) {
		for range n {
			out = append(out, healthy)
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		checks []bool
		want   []bool // reports that it is down
	}{
		{"healthy", times(20, true), nil},
		{"restarts", slices.Concat(times(3, true), times(failures-1, false), times(3, true), times(failures-1, false), times(1, true)), nil},
		{"fails", slices.Concat(times(1, true), times(failures, false)), []bool{true}},
		{"fails for long, and is back", slices.Concat(times(1, true), times(50, false), times(2, true)), []bool{true, false}},
		{"is no proxy that can be asked", times(100, false), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var got []bool
				follow(ctx, func() bool {
					healthy := tt.checks[0]
					if tt.checks = tt.checks[1:]; len(tt.checks) == 0 {
						cancel()
					}
					return healthy
				}, func(down bool) { got = append(got, down) })
				if !slices.Equal(got, tt.want) {
					t.Errorf("reported %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestHealthy(t *testing.T) {
	answer := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answer) }))
	for _, tt := range []struct {
		answer int
		want   bool
	}{
		{http.StatusOK, true},
		{http.StatusNotFound, true}, // an older proxy without this path lives
		{http.StatusServiceUnavailable, false},
	} {
		answer = tt.answer
		if got := healthy(t.Context(), server.Client(), server.URL); got != tt.want {
			t.Errorf("answer %d: healthy %v", tt.answer, got)
		}
	}
	server.Close()
	if healthy(t.Context(), server.Client(), server.URL) {
		t.Error("healthy though nobody listens")
	}
}
