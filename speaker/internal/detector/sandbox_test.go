//go:build !e2e

package detector

import (
	"testing"

	"github.com/porchlight-lb/porchlight/speaker/internal/sandbox"
)

// The ports of BFD are opened where nobody else has them.
func TestMain(m *testing.M) { sandbox.Main(m) }
