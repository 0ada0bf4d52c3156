//go:build e2e

package bgp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// configureBIRD has BIRD use its configuration with more below it; as it was,
// when the test ends. Either time it begins without the neighbors that it made
// of ranges: such a one would stand in the way of one that is named, and one
// that was told off refuses connections for minutes.
func (f *fabric) configureBIRD(t *testing.T, more string) {
	t.Helper()
	load := func(ctx context.Context, more string) error {
		text, err := os.ReadFile(f.birdConfig())
		if err != nil {
			return err
		}
		if err := f.loadBIRD(ctx, birdSessions.ReplaceAllString(string(text), "")); err != nil {
			return err
		}
		if err := cluster.Poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
			out, err := f.On(ctx, lab.HostBIRD, "birdc", "show", "protocols")
			if err == nil && strings.Contains(out, "BGP") {
				err = errors.New(out)
			}
			return err
		}); err != nil {
			return err
		}
		return f.loadBIRD(ctx, string(text)+more)
	}
	t.Cleanup(func() {
		if err := load(context.Background(), ""); err != nil {
			t.Errorf("BIRD: undoing what the test configured: %v", err)
		}
	})
	if err := load(t.Context(), more); err != nil {
		t.Fatalf("BIRD: %v", err)
	}
}

var birdSessions = regexp.MustCompile(`(?s)protocol bgp .*`)

// reconfigureBIRD changes what configureBIRD put below the configuration.
func (f *fabric) reconfigureBIRD(t *testing.T, more string) {
	t.Helper()
	text, err := os.ReadFile(f.birdConfig())
	if err == nil {
		err = f.loadBIRD(t.Context(), string(text)+more)
	}
	if err != nil {
		t.Fatalf("BIRD: %v", err)
	}
}

// birdConfig is the file that the lab gave BIRD.
func (f *fabric) birdConfig() string { return filepath.Join(f.Lab.Dir, "bird.conf") }

func (f *fabric) loadBIRD(ctx context.Context, text string) error {
	file := f.birdConfig() + ".test"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	out, err := f.On(ctx, lab.HostBIRD, "birdc", "configure", fmt.Sprintf("%q", file))
	if err == nil && !strings.Contains(out, "Reconfigur") {
		err = errors.New(out)
	}
	return err
}
