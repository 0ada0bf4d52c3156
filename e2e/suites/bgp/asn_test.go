//go:build e2e

package bgp

import (
	"fmt"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// A router of another autonomous system than said, and one that expects us to
// be of another.
func TestWrongASN(t *testing.T) {
	for _, router := range routers {
		t.Run(router, func(t *testing.T) {
			f := scenario(t)
			if router == lab.HostBIRD {
				f.configureBIRD(t, "")
			}
			theirs, ours := "theirs-"+router, "ours-"+router
			f.Apply(t, cluster.System, peer(theirs, "myASN: 64600", "peerASN: 64999", fmt.Sprintf("peerAddress: %q", address[router][false]))+
				peer(ours, "myASN: 64601", fmt.Sprintf("peerASN: %d", asn[router]), fmt.Sprintf("peerAddress: %q", address[router][true])))
			for _, n := range f.names() {
				f.says(t, theirs, n, fmt.Sprintf("the peer's AS is %d, not 64999", asn[router]))
				f.says(t, ours, n, "bad peer as")
			}
		})
	}
}
