// Command drain runs beside an Envoy and lets it end without failing a
// request: see docs/decisions/0007-envoys-come-and-go.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/porchlight-lb/porchlight/gateway/internal/drain"
)

// grace is how much later than a question for the drain its beginning may
// come, and closing how long the answers may take when it is done.
const (
	grace   = 2 * time.Second
	closing = 2 * time.Second
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "drain:", err)
		os.Exit(1)
	}
}

func run() error {
	admin := flag.String("admin", "127.0.0.1:19000", "address of Envoy's administration")
	listen := flag.String("listen", ":19002", "address that is asked whether Envoy may end")
	leave := flag.Duration("leave", 5*time.Second, "how long Envoy takes new connections at the least")
	last := flag.Duration("drain", 30*time.Second, "how much longer the connections it has may go on")
	flag.Parse()

	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("program", "drain")
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d := drain.New("http://"+*admin, *leave, *last, log)
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", *listen, err)
	}
	server := &http.Server{Handler: d.Handler(grace), ReadHeaderTimeout: grace}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", *listen, err)
	case <-ended.Done():
	}
	d.Run(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}
