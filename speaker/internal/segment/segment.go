// Package segment is the speaker's hold on the node's network interfaces: it
// follows them by netlink, keeps raw sockets on those where something is to be
// answered, answers ARP and NDP there, and announces. What to answer for is the
// election's decision, and how to answer a packet is layer2's.
package segment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/packet"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/layer2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// A take-over is announced announceTimes, announceGap apart: the gap is
	// above one second because some equipment ignores a second announcement
	// within one (Linux: net.ipv4.neigh.*.locktime).
	announceTimes = 4
	announceGap   = 1100 * time.Millisecond
	// resolution of the times above.
	resolution = 50 * time.Millisecond
)

var (
	answered = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_layer2_requests_answered_total", Help: "ARP requests and neighbour solicitations answered.",
	}, []string{"protocol"})
	dropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_layer2_packets_dropped_total", Help: "ARP and NDP packets not answered, by reason.",
	}, []string{"protocol", "reason"})
	announced = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_layer2_announcements_total", Help: "Addresses announced unasked: gratuitous ARP, unsolicited neighbour advertisements.",
	}, []string{"protocol"})
)

func init() {
	prometheus.MustRegister(answered, dropped, announced)
	for _, p := range []string{"arp", "ndp"} {
		answered.WithLabelValues(p)
		announced.WithLabelValues(p)
		for _, d := range layer2.Drops {
			dropped.WithLabelValues(p, string(d))
		}
	}
}

// Segment implements agent.Segment. Refresh, Post and Fresh are set before Run.
type Segment struct {
	log *slog.Logger
	// Refresh is the time between announcements of an address that stays.
	Refresh time.Duration
	// Post takes events for the election.
	Post func(election.Event)
	// Fresh says whether what is answered for was decided of late: nothing is
	// answered otherwise.
	Fresh func() bool

	mu        sync.RWMutex
	links     map[string]link
	ports     map[string]*port
	addresses map[netip.Addr]*owned
	probed    map[netip.Addr]time.Time // on which ports answers matter, until
}

// owned is an address that is answered for.
type owned struct {
	interfaces []string
	left       int // announcements of the take-over that are still to come
	next       time.Time
}

// New returns a Segment.
func New(log *slog.Logger) *Segment {
	return &Segment{
		log: log, Refresh: time.Minute,
		links: map[string]link{}, ports: map[string]*port{}, addresses: map[netip.Addr]*owned{}, probed: map[netip.Addr]time.Time{},
	}
}

// Run follows the interfaces and repeats announcements until ctx ends. It
// closes ready once the interfaces were read, and the first event posted.
func (s *Segment) Run(ctx context.Context, ready chan<- struct{}) error {
	if err := capable(); err != nil {
		return err
	}
	defer s.close()
	tick := time.NewTicker(resolution)
	defer tick.Stop()
	for {
		changes, err := follow(ctx)
		if err != nil {
			return err
		}
		// Whatever changed before the subscription is read here.
		changed := true
		for open := true; open; {
			if changed {
				// What changes all the time is looked at again with the next tick.
				switch err := s.sense(); {
				case errors.Is(err, unix.EINTR):
				case err != nil:
					return err
				default:
					changed = false
					if ready != nil {
						close(ready)
						ready = nil
					}
				}
			}
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				s.repeat(now)
			case _, open = <-changes:
				changed = changed || open
			}
		}
		s.log.Warn("lost track of the network interfaces, looking anew")
	}
}

// follow signals changes of interfaces and their addresses, several at once
// where they come fast. The channel is closed when events were lost, as when a
// buffer overflows, or ctx ended.
func follow(ctx context.Context) (<-chan struct{}, error) {
	done := make(chan struct{})
	links, addresses := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{}); err != nil {
		close(done)
		return nil, fmt.Errorf("following the network interfaces: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addresses, done, netlink.AddrSubscribeOptions{}); err != nil {
		close(done)
		return nil, fmt.Errorf("following the interfaces' addresses: %w", err)
	}
	changes := make(chan struct{}, 1)
	go func() {
		defer close(changes)
		defer func() {
			close(done)
			// The readers end, and must not hang on what they still have to say.
			go drain(links)
			go drain(addresses)
		}()
		for open := true; open; {
			select {
			case <-ctx.Done():
				return
			case _, open = <-links:
			case _, open = <-addresses:
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, nil
}

func drain[T any](c <-chan T) {
	for range c {
	}
}

// capable says early, and in words, that raw sockets are not allowed.
func capable() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a raw socket, which needs the capability NET_RAW: %w", err)
	}
	return unix.Close(fd)
}

// sense reads the interfaces, closes the ports of those that went or changed,
// and tells the election.
func (s *Segment) sense() error {
	now, err := links()
	if err != nil {
		return fmt.Errorf("reading the network interfaces: %w", err)
	}
	var interfaces []election.Interface
	s.mu.Lock()
	old := s.links
	s.links = map[string]link{}
	for _, l := range now {
		s.links[l.Name] = l
		interfaces = append(interfaces, l.Interface)
	}
	for name, p := range s.ports {
		if l, ok := s.links[name]; !ok || l.index != p.index || l.MAC != p.MAC {
			p.close()
			delete(s.ports, name)
		}
	}
	for name, l := range s.links {
		if before, ok := old[name]; ok && before.index == l.index && before.MAC == l.MAC {
			continue
		}
		s.reopen(name)
	}
	s.mu.Unlock()
	s.Post(election.SetInterfaces{Interfaces: interfaces})
	return nil
}

// reopen announces on an interface that is back, or has a new hardware
// address, what is answered for there.
func (s *Segment) reopen(name string) {
	for _, ip := range slices.SortedFunc(maps.Keys(s.addresses), netip.Addr.Compare) {
		if o := s.addresses[ip]; slices.Contains(o.interfaces, name) {
			if p := s.port(name); p != nil {
				s.join(p, ip)
				s.announce(ip, o, time.Now(), announceTimes)
			}
		}
	}
}

// port returns the open port of an interface, or nil where there is none to
// open. The caller holds mu.
func (s *Segment) port(name string) *port {
	if p := s.ports[name]; p != nil {
		return p
	}
	l, ok := s.links[name]
	if !ok {
		return nil
	}
	p, err := openPort(l)
	if err != nil {
		s.log.Error("cannot announce on an interface", "interface", name, "error", err)
		return nil
	}
	s.ports[name] = p
	go s.serve(p, p.arp, "arp", layer2.ARP)
	go s.serve(p, p.ndp, "ndp", layer2.NDP)
	return p
}

func (s *Segment) join(p *port, ip netip.Addr) {
	if err := p.groups.join(ip); err != nil {
		s.log.Error("cannot hear neighbour solicitations", "address", ip, "error", err)
	}
}

// Answer implements agent.Segment.
func (s *Segment) Answer(answers, defend []election.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, a := range answers {
		o := s.addresses[a.IP]
		if o == nil {
			o = &owned{}
			s.addresses[a.IP] = o
		}
		for _, name := range o.interfaces {
			if p := s.ports[name]; p != nil && !slices.Contains(a.Interfaces, name) {
				p.groups.leave(a.IP)
			}
		}
		for _, name := range a.Interfaces {
			if p := s.port(name); p != nil && !slices.Contains(o.interfaces, name) {
				s.join(p, a.IP)
			}
		}
		o.interfaces = a.Interfaces
		s.announce(a.IP, o, now, announceTimes)
	}
	for _, a := range defend {
		if o := s.addresses[a.IP]; o != nil {
			s.announce(a.IP, o, now, announceTimes)
		}
	}
}

// Withdraw implements agent.Segment.
func (s *Segment) Withdraw(gone []election.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range gone {
		if o := s.addresses[a.IP]; o != nil {
			for _, name := range o.interfaces {
				if p := s.ports[name]; p != nil {
					p.groups.leave(a.IP)
				}
			}
			delete(s.addresses, a.IP)
		}
	}
}

// Probe implements agent.Segment.
func (s *Segment) Probe(probes []election.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range probes {
		s.probed[a.IP] = time.Now().Add(announceGap)
		for _, name := range a.Interfaces {
			if p := s.port(name); p != nil {
				if err := p.send(a.IP, layer2.Probe(a.IP, p.mac())); err != nil {
					s.log.Debug("probing", "error", err)
				}
			}
		}
	}
}

// Resolve asks the segments of two hosts where the other one lives, in the name
// of this one. A kernel asks once a second, and so would find a host that is
// back a second late.
func (s *Segment) Resolve(other, this netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.links {
		if !slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Contains(other) && p.Contains(this) }) {
			continue
		}
		if p := s.port(name); p != nil {
			if err := p.send(other, layer2.Request(other, this, p.mac())); err != nil {
				s.log.Debug("resolving", "error", err)
			}
		}
	}
}

// announce sends the announcement of an address now and, of so many, plans the
// next. The caller holds mu.
func (s *Segment) announce(ip netip.Addr, o *owned, now time.Time, times int) {
	protocol := "arp"
	if ip.Is6() {
		protocol = "ndp"
	}
	for _, name := range o.interfaces {
		p := s.ports[name]
		if p == nil {
			continue
		}
		for _, frame := range layer2.Announce(ip, p.mac()) {
			if err := p.send(ip, frame); err != nil {
				s.log.Debug("announcing", "error", err)
			}
		}
		announced.WithLabelValues(protocol).Inc()
	}
	o.left, o.next = times-1, now.Add(announceGap)
	if o.left <= 0 {
		o.next = now.Add(s.Refresh)
	}
}

// repeat sends the announcements that are due.
func (s *Segment) repeat(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ip, o := range s.addresses {
		if !now.Before(o.next) {
			s.announce(ip, o, now, o.left)
		}
	}
	maps.DeleteFunc(s.probed, func(_ netip.Addr, until time.Time) bool { return now.After(until) })
}

func (s *Segment) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.ports {
		p.close()
		delete(s.ports, name)
	}
}

// owns says whether an address is answered for on an interface.
func (s *Segment) owns(name string) layer2.Owns {
	return func(ip netip.Addr) bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		o := s.addresses[ip]
		return o != nil && slices.Contains(o.interfaces, name)
	}
}

// cares says whether it matters that another host has an address.
func (s *Segment) cares(ip netip.Addr, from net.HardwareAddr) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.links {
		if l.MAC == election.MAC(from) {
			return false
		}
	}
	return s.addresses[ip] != nil || !s.probed[ip].IsZero()
}

// serve answers what comes in on a socket until it is closed.
func (s *Segment) serve(p *port, conn *packet.Conn, protocol string, decide func([]byte, net.HardwareAddr, layer2.Owns) layer2.Decision) {
	mac, owns := p.mac(), s.owns(p.Name)
	hits := answered.WithLabelValues(protocol)
	misses := map[layer2.Drop]prometheus.Counter{}
	for _, d := range layer2.Drops {
		misses[d] = dropped.WithLabelValues(protocol, string(d))
	}
	b := make([]byte, 512)
	for {
		n, _, err := conn.ReadFrom(b)
		switch {
		case err == nil:
		case errors.Is(err, unix.ENETDOWN):
			// The interface went down; netlink says what comes of it.
			continue
		default:
			if !errors.Is(err, net.ErrClosed) {
				s.log.Debug("a raw socket ended", "interface", p.Name, "error", err)
			}
			return
		}
		d := decide(b[:n], mac, owns)
		if d.Drop == "" && !s.Fresh() {
			d.Drop = layer2.Frozen
		}
		switch {
		case d.Drop == "":
			if err := p.send(d.IP, d.Reply); err != nil {
				s.log.Debug("answering", "error", err)
			}
			hits.Inc()
		case d.Drop == layer2.Announcement && len(d.From) == 6 && s.cares(d.IP, d.From):
			s.Post(election.SawAnnouncement{IP: d.IP, Mine: p.MAC, From: election.MAC(d.From)})
			fallthrough
		default:
			misses[d.Drop].Inc()
		}
	}
}
