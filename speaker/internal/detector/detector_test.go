package detector

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/prometheus/client_golang/prometheus"
)

// TestRefused: the decisions of the core come through, and a Detector that has
// stopped says so.
func TestRefused(t *testing.T) {
	d, err := New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if d.Statuses() != nil {
		t.Error("sessions before Run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	if err := d.Set(bfd.Path{Remote: netip.MustParseAddr("fe80::1")}, bfd.DefaultConfig()); !errors.Is(err, bfd.InvalidPath) {
		t.Errorf("a link-local address without interface: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := d.Set(bfd.Path{Remote: netip.MustParseAddr("127.0.0.1")}, bfd.DefaultConfig()); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

// TestUntil: sessions are kept for as long as they are needed.
func TestUntil(t *testing.T) {
	d, err := New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	until := make(chan struct{})
	d.Until = until
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	cancel()
	if err := d.Set(bfd.Path{Remote: netip.MustParseAddr("127.0.0.1")}, bfd.DefaultConfig()); err != nil {
		t.Errorf("while it is needed: %v", err)
	}
	close(until)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestMetrics gathers them once, as a registry does.
func TestMetrics(t *testing.T) {
	d, err := New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(d)
	for _, multihop := range []bool{false, true} {
		if err := d.Set(bfd.Path{Remote: netip.MustParseAddr("127.0.0.1"), Multihop: multihop}, bfd.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		got[f.GetName()] = len(f.GetMetric())
	}
	for name, want := range map[string]int{"porchlight_bfd_session_up": 2, "porchlight_bfd_packets_sent_total": 4, "porchlight_bfd_packets_dropped_total": len(bfd.Drops)} {
		if got[name] != want {
			t.Errorf("%s: %d time series, want %d", name, got[name], want)
		}
	}
}

// FuzzEchoPayload: no packet that comes by makes the reader stumble.
func FuzzEchoPayload(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(datagram(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1"), []byte("payload")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, payload, ok := echoPayload(b); ok && len(payload) > len(b)-ipv4Header-udpHeader {
			t.Fatalf("%d octets of payload in %d", len(payload), len(b))
		}
	})
}
