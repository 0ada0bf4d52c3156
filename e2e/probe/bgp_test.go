package probe

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// Messages are found in a stream that is cut up, sent in part again, and
// followed from its middle.
func TestFlows(t *testing.T) {
	update := func(prefix string) []byte {
		p := netip.MustParsePrefix(prefix)
		b, err := bgp.NewBGPUpdateMessage([]*bgp.IPAddrPrefix{bgp.NewIPAddrPrefix(uint8(p.Bits()), p.Addr().String())}, nil, nil).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	stream := slices.Concat([]byte("the end of another"), update("192.0.2.1/32"), update("192.0.2.2/32"))
	segment := func(from, to int) tcpSegment {
		return tcpSegment{sequence: 0xfffffff0 + uint32(from), payload: stream[from:to]} // it wraps
	}
	var got []netip.Prefix
	f := flows{}
	for _, s := range []tcpSegment{segment(0, 36), segment(20, 36), segment(25, 50), segment(50, len(stream)), segment(40, len(stream))} {
		messages, err := f.take(time.Unix(1, 0), s)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			got = append(got, m.Withdrawn...)
		}
	}
	if want := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")}; !slices.Equal(got, want) {
		t.Errorf("withdrawn: %v; want %v", got, want)
	}
	if _, err := f.take(time.Unix(1, 0), tcpSegment{sequence: 0xfffffff0 + uint32(len(stream)) + 1, payload: []byte{1}}); err == nil {
		t.Error("an octet that was not seen is not missed")
	}
}
