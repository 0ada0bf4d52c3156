// Package detector keeps the node's BFD sessions: it has the sockets, the clock
// and the goroutine around the decisions of package bfd. A session's end of an
// UDP port, the echo packets and the metrics are here; what follows from a
// session that goes down is its caller's.
//
// One goroutine does all of it. It waits for packets and for the next timer in
// one system call, and receives whatever has arrived before it looks at the
// timers, so that a process that was held up does not believe its peers gone.
package detector

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"golang.org/x/sys/unix"
)

// ErrStopped says that the Detector runs no more.
var ErrStopped = errors.New("BFD has stopped")

// retryAfter is the time between attempts to open the sockets of a session:
// its interface may come later, or its port be taken for now.
const retryAfter = time.Second

// Detector is the task. Its methods may be called from any goroutine; those
// that ask something wait until Run takes it up.
type Detector struct {
	log *slog.Logger
	// Changed hears of every change of state, in order. It is called by the
	// goroutine that keeps all sessions: it must not block, nor call the
	// Detector. Set before Run.
	Changed func(bfd.Change)
	// Until, where not nil, is closed when the sessions are needed no more: Run
	// keeps them as long. Set before Run.
	Until <-chan struct{}

	started, done chan struct{}
	wake          int // an eventfd

	mu    sync.Mutex
	queue []func()

	// What follows is Run's alone.
	start     time.Time
	table     *bfd.Table
	listeners map[port]*listener
	echoes    map[int]*echoPort
	ends      map[bfd.Path]*end
	dropped   map[bfd.Drop]uint64
	buffer    [2048]byte
	control   [256]byte
}

// end is this node's end of a session.
type end struct {
	path  bfd.Path
	cfg   bfd.Config
	fd    int // to send from; -1: there is none
	bound int // the index of the device that fd is bound to; 0: none
	to    unix.Sockaddr
	err   error
	retry time.Time // when to open again, where fd is -1
	seen  seen

	echoErr error
}

// seen is how control packets of a session arrive, which echo packets follow.
type seen struct {
	ifindex   int
	local     netip.Addr
	mac       [8]byte
	macLength int
	macAt     time.Time
	source    netip.Addr
}

// Status is what is to be told of a session.
type Status struct {
	bfd.Status
	// Since is when the state was reached.
	Since time.Time
	// Err is why packets cannot be sent or received; nil where they can.
	Err error
}

// New returns a Detector without sessions.
func New(log *slog.Logger) (*Detector, error) {
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making the event descriptor of BFD: %w", err)
	}
	var seed [16]byte
	_, _ = crand.Read(seed[:]) // never fails
	return &Detector{
		log: log, Changed: func(bfd.Change) {},
		started: make(chan struct{}), done: make(chan struct{}), wake: wake,
		start:     time.Now(),
		table:     bfd.New(rand.New(rand.NewPCG(binary.NativeEndian.Uint64(seed[:8]), binary.NativeEndian.Uint64(seed[8:])))),
		listeners: map[port]*listener{}, echoes: map[int]*echoPort{}, ends: map[bfd.Path]*end{}, dropped: map[bfd.Drop]uint64{},
	}, nil
}

// String implements program.Task.
func (d *Detector) String() string { return "bfd" }

// Ready is closed once sessions can be added.
func (d *Detector) Ready() <-chan struct{} { return d.started }

// Set adds a session, or changes the configuration of one, which does not
// disturb it. The error is a bfd.Refusal, or ErrStopped: that sockets cannot be
// opened is in the session's Status, and is tried again.
func (d *Detector) Set(path bfd.Path, cfg bfd.Config) error {
	var err error
	if !d.do(func() { err = d.set(path, cfg) }) {
		return ErrStopped
	}
	return err
}

// Remove ends a session: its peer is told that it is administratively down.
func (d *Detector) Remove(path bfd.Path) {
	d.do(func() {
		d.table.Remove(d.now(), path)
		d.perform()
	})
}

// Statuses are those of all sessions, in order. There are none before Run, and
// after it.
func (d *Detector) Statuses() []Status {
	var out []Status
	d.ask(func() {
		for _, s := range d.table.Statuses() {
			out = append(out, Status{Status: s, Since: d.start.Add(s.Since), Err: errors.Join(d.ends[s.Path].err, d.ends[s.Path].echoErr)})
		}
	})
	return out
}

// do runs f in Run's goroutine and waits for it. It reports false where Run
// ended before.
func (d *Detector) do(f func()) bool {
	ran := make(chan struct{})
	d.mu.Lock()
	d.queue = append(d.queue, func() { f(); close(ran) })
	d.mu.Unlock()
	d.rouse()
	select {
	case <-ran:
		return true
	case <-d.done:
		return false
	}
}

// ask is do for what there is nothing to tell of before Run.
func (d *Detector) ask(f func()) {
	select {
	case <-d.started:
		d.do(f)
	default:
	}
}

// rouse ends the wait of Run. A counter that is full says so already.
func (d *Detector) rouse() { _, _ = unix.Write(d.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (d *Detector) now() time.Duration { return time.Since(d.start) }

// Run keeps the sessions until ctx ends, and Until is closed, and then tells the
// peers that they are administratively down. It may be called once.
func (d *Detector) Run(ctx context.Context) error {
	if d.Until != nil {
		inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(ctx, func() { <-d.Until; cancel() })()
		ctx = inner
	}
	defer context.AfterFunc(ctx, d.rouse)()
	defer close(d.done)
	close(d.started)
	for ctx.Err() == nil {
		if err := d.wait(); err != nil {
			return fmt.Errorf("waiting for BFD packets: %w", err)
		}
		now := d.now()
		for _, r := range d.readers() {
			r.receive()
		}
		d.table.Advance(now)
		d.perform()
		d.work()
		d.reopen()
	}
	for path := range d.ends {
		d.table.Remove(d.now(), path)
	}
	d.perform()
	d.close()
	return nil
}

// reader is a socket that packets come from.
type reader interface {
	descriptor() int
	receive()
}

func (d *Detector) readers() []reader {
	out := make([]reader, 0, len(d.listeners)+len(d.echoes))
	for _, l := range d.listeners {
		out = append(out, l)
	}
	for _, e := range d.echoes {
		out = append(out, e)
	}
	return out
}

// wait returns when a packet is there, a timer is due, or somebody asks.
func (d *Detector) wait() error {
	fds := []unix.PollFd{{Fd: int32(d.wake), Events: unix.POLLIN}}
	for _, r := range d.readers() {
		fds = append(fds, unix.PollFd{Fd: int32(r.descriptor()), Events: unix.POLLIN})
	}
	wait := time.Hour
	if at, ok := d.table.Next(); ok {
		wait = at - d.now()
	}
	for _, e := range d.ends {
		if e.fd < 0 {
			wait = min(wait, time.Until(e.retry))
		}
	}
	timeout := unix.NsecToTimespec(max(wait, 0).Nanoseconds())
	_, err := unix.Ppoll(fds, &timeout, nil)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return err
}

func (d *Detector) work() {
	var count [8]byte
	_, _ = unix.Read(d.wake, count[:])
	d.mu.Lock()
	queue := d.queue
	d.queue = nil
	d.mu.Unlock()
	for _, f := range queue {
		f()
	}
}

func (d *Detector) set(path bfd.Path, cfg bfd.Config) error {
	err := d.table.Change(d.now(), path, cfg)
	if errors.Is(err, bfd.UnknownSession) {
		err = d.table.Add(d.now(), path, cfg)
	}
	if err != nil {
		return err
	}
	e := d.ends[path]
	if e == nil {
		e = &end{path: path, fd: -1}
		d.ends[path] = e
		d.open(e, cfg)
	}
	e.cfg = cfg
	d.closeUnused()
	d.perform()
	return nil
}

// perform does what the table asks for.
func (d *Detector) perform() {
	r := d.table.Ready()
	for _, t := range r.Send {
		if e := d.ends[t.Path]; e != nil && e.fd >= 0 {
			d.send(e, t.Packet.Marshal())
		}
	}
	for _, t := range r.Echo {
		if e := d.ends[t.Path]; e != nil {
			d.sendEcho(e, t.Payload)
		}
	}
	for _, c := range r.Changes {
		level := slog.LevelInfo
		if c.From == bfd.Up {
			level = slog.LevelWarn
		}
		d.log.Log(context.Background(), level, "BFD session changed", "peer", c.Path.String(), "from", c.From.String(), "to", c.To.String(),
			"diagnostic", c.Diag.String(), "remote", c.Remote.String())
		d.Changed(c)
	}
	for _, path := range r.Gone {
		if e := d.ends[path]; e != nil {
			e.closeSocket()
			delete(d.ends, path)
		}
	}
	if len(r.Gone) > 0 {
		d.closeUnused()
	}
}

// reopen tries again what could not be opened.
func (d *Detector) reopen() {
	for _, e := range d.ends {
		if e.fd < 0 && !time.Now().Before(e.retry) {
			d.open(e, e.cfg)
		}
	}
}

func (d *Detector) close() {
	for _, e := range d.ends {
		e.closeSocket()
	}
	for _, r := range d.readers() {
		_ = unix.Close(r.descriptor())
	}
	d.ends, d.listeners, d.echoes = nil, nil, nil
}
