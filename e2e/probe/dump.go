package probe

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// dump is a tcpdump on a host's first interface.
type dump struct {
	cancel context.CancelFunc
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // of reading; set when ended is closed
}

// startDump returns when tcpdump listens. take is called, from one goroutine,
// with each frame that matches the filter.
func startDump(ctx context.Context, l *lab.Lab, hostName, filter string, take func(at time.Time, frame []byte)) (*dump, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &dump{cancel: cancel, ended: make(chan struct{})}
	fail := func(err error) (*dump, error) {
		cancel()
		return nil, fmt.Errorf("capture on %s: %w", hostName, err)
	}
	var err error
	d.cmd, err = l.Exec(ctx, hostName, "tcpdump", "-i", device, "-n", "-U", "--immediate-mode", "-w", "-", filter)
	if err != nil {
		return fail(err)
	}
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		return fail(err)
	}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		return fail(err)
	}
	if err := d.cmd.Start(); err != nil {
		return fail(err)
	}
	go d.read(stdout, take)
	said := bufio.NewReader(stderr)
	var words strings.Builder
	for {
		line, err := said.ReadString('\n')
		words.WriteString(line)
		if err != nil {
			_ = d.cmd.Wait() // what it said is the better error
			return fail(fmt.Errorf("tcpdump: %s", words.String()))
		}
		if strings.Contains(line, "listening on") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return d, nil
}

// read takes a capture file apart; see pcap-savefile(5).
func (d *dump) read(r io.Reader, take func(time.Time, []byte)) {
	defer close(d.ended)
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
		take(time.Unix(int64(seconds), int64(micros)*1000), frame)
	}
	d.err = err
}

// stop ends the capture; an error where it had ended before.
func (d *dump) stop() error {
	select {
	case <-d.ended:
		d.cancel()
		return fmt.Errorf("the capture ended by itself: %w", d.err)
	default:
	}
	d.cancel()
	<-d.ended
	var exit *exec.ExitError
	if err := d.cmd.Wait(); err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("ending the capture: %w", err)
	}
	return nil
}
