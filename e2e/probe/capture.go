package probe

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// Capture is what tcpdump sees of ARP and NDP on a host's first interface.
type Capture struct {
	*dump

	mu     sync.Mutex
	frames []Frame
}

// StartCapture returns when tcpdump listens. Stop ends it.
func StartCapture(ctx context.Context, l *lab.Lab, hostName string) (*Capture, error) {
	c := &Capture{}
	var err error
	c.dump, err = startDump(ctx, l, hostName, "arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136))", func(at time.Time, frame []byte) {
		if f, ok := decode(frame); ok {
			f.At = at
			c.mu.Lock()
			c.frames = append(c.frames, f)
			c.mu.Unlock()
		}
	})
	return c, err
}

// Frames are those seen up to now, by time.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// Stop ends the capture, and returns all that it saw; an error where it had
// ended before.
func (c *Capture) Stop() ([]Frame, error) {
	if err := c.stop(); err != nil {
		return nil, err
	}
	return c.Frames(), nil
}

// Contest is how an address was said, by more than one host, to live with it.
type Contest struct {
	IP netip.Addr
	// Final is the hardware address of the host that said it last, Others those
	// of the others.
	Final  string
	Others []string
	// Lasted is the time from when a second one said it until all but the final
	// one were silent; 0 where only one ever did.
	Lasted time.Duration
}

// Contests judges the frames, which are in the order of time, by address.
func Contests(frames []Frame) []Contest {
	claims := map[netip.Addr][]Frame{}
	for _, f := range frames {
		if f.Kind != Question {
			claims[f.IP] = append(claims[f.IP], f)
		}
	}
	var all []Contest
	for ip, said := range claims {
		c := Contest{IP: ip, Final: said[len(said)-1].From}
		var second, silent time.Time
		for _, f := range said {
			if f.From != said[0].From && second.IsZero() {
				second = f.At
			}
			if f.From != c.Final {
				silent = f.At
				if !slices.Contains(c.Others, f.From) {
					c.Others = append(c.Others, f.From)
				}
			}
		}
		if !second.IsZero() {
			c.Lasted = max(0, silent.Sub(second))
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b Contest) int { return a.IP.Compare(b.IP) })
	return all
}
