package probe

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestConnections(t *testing.T) {
	var calls atomic.Int64
	refused := errors.New("refused")
	dial := func(_ context.Context, _, address string) (net.Conn, error) {
		if calls.Add(1); address == "b" {
			return nil, refused
		}
		near, _ := net.Pipe()
		return near, nil
	}
	attempts, failed, err := Connections(t.Context(), dial, []string{"a", "b"}, 1000, 5, func(context.Context) error { return nil })
	if err != nil || attempts < 10 || int(calls.Load()) != attempts || len(failed) != attempts/2 {
		t.Errorf("%d attempts, %d calls, %d failed, %v; want at least 10, each called, the half failed", attempts, calls.Load(), len(failed), err)
	}
	for _, f := range failed {
		if f.Address != "b" || !errors.Is(f.Err, refused) {
			t.Errorf("failed: %v", f)
		}
	}
	broken := errors.New("broken")
	if _, _, err := Connections(t.Context(), dial, []string{"a"}, 1000, 5, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want what went wrong meanwhile", err)
	}
}

// A connection that is reset once it is open was opened, whenever its dial comes
// to look; one that is reset before is refused, and fails.
func TestConnectionReset(t *testing.T) {
	for _, c := range []struct {
		err    error
		failed bool
	}{{syscall.ECONNRESET, false}, {syscall.ECONNREFUSED, true}, {syscall.EHOSTUNREACH, true}, {context.DeadlineExceeded, true}} {
		dial := func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: c.err}
		}
		if _, failed, err := Connections(t.Context(), dial, []string{"a"}, 1000, 1, func(context.Context) error { return nil }); err != nil || len(failed) > 0 != c.failed {
			t.Errorf("%v: %d failed, %v", c.err, len(failed), err)
		}
	}
}

// It goes on while something happens, however long that takes.
func TestConnectionsUntilOver(t *testing.T) {
	over := make(chan struct{})
	var calls atomic.Int64
	attempts, _, err := Connections(t.Context(), func(context.Context, string, string) (net.Conn, error) {
		if calls.Add(1) == 20 {
			close(over)
		}
		return nil, errors.New("refused")
	}, []string{"a"}, 1000, 1, func(context.Context) error { <-over; return nil })
	if err != nil || attempts < 20 {
		t.Errorf("%d attempts, %v; want to go on until it is over", attempts, err)
	}
}
