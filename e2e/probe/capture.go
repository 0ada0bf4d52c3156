package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// Capture is what tcpdump sees of ARP and NDP on a host's first interface.
type Capture struct {
	cancel context.CancelFunc
	cmd    *exec.Cmd
	ended  chan struct{}

	mu     sync.Mutex
	frames []Frame
	err    error
}

// StartCapture returns when tcpdump listens. Stop ends it.
func StartCapture(ctx context.Context, l *lab.Lab, hostName string) (*Capture, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Capture{cancel: cancel, ended: make(chan struct{})}
	fail := func(err error) (*Capture, error) {
		cancel()
		return nil, fmt.Errorf("capture on %s: %w", hostName, err)
	}
	var err error
	c.cmd, err = l.Exec(ctx, hostName, "tcpdump", "-i", device, "-n", "-U", "--immediate-mode", "-w", "-",
		"arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136))")
	if err != nil {
		return fail(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return fail(err)
	}
	if err := c.cmd.Start(); err != nil {
		return fail(err)
	}
	go c.read(stdout)
	said := bufio.NewReader(stderr)
	var words strings.Builder
	for {
		line, err := said.ReadString('\n')
		words.WriteString(line)
		if err != nil {
			_ = c.cmd.Wait() // what it said is the better error
			return fail(fmt.Errorf("tcpdump: %s", words.String()))
		}
		if strings.Contains(line, "listening on") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return c, nil
}

// read takes a capture file apart; see pcap-savefile(5).
func (c *Capture) read(r io.Reader) {
	defer close(c.ended)
	header := make([]byte, 24)
	_, err := io.ReadFull(r, header)
	for err == nil {
		record := make([]byte, 16)
		if _, err = io.ReadFull(r, record); err != nil {
			break
		}
		// The machine's byte order is that of the file: it was written here.
		seconds, micros := binary.NativeEndian.Uint32(record), binary.NativeEndian.Uint32(record[4:])
		frame := make([]byte, binary.NativeEndian.Uint32(record[8:]))
		if _, err = io.ReadFull(r, frame); err != nil {
			break
		}
		if f, ok := decode(frame); ok {
			f.At = time.Unix(int64(seconds), int64(micros)*1000)
			c.mu.Lock()
			c.frames = append(c.frames, f)
			c.mu.Unlock()
		}
	}
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
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
	select {
	case <-c.ended:
		c.cancel()
		return nil, fmt.Errorf("the capture ended by itself: %w", c.err)
	default:
	}
	c.cancel()
	<-c.ended
	var exit *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("ending the capture: %w", err)
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
