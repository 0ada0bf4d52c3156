package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// patience is how long an address is held back at the most: kube-proxy takes up
	// what is new once a second, and may be busy.
	patience = 10 * time.Second
	// pause is between two rounds of asking; in a round, so many addresses may
	// turn out to be unknown still: each leaves an entry in the kernel's table of
	// connections for up to two minutes.
	pause       = 20 * time.Millisecond
	mostUnknown = 4
)

var (
	heldAddresses = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "porchlight_speaker_held_addresses", Help: "Addresses that this node does not announce yet, since its service proxy does not know them.",
	})
	overdueAddresses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "porchlight_speaker_overdue_addresses_total", Help: "Addresses that this node's service proxy, which knows others, did not take up in time.",
	})
)

func init() { prometheus.MustRegister(heldAddresses, overdueAddresses) }

// Gate holds addresses back that are new to this node until its service proxy
// knows them, for ten seconds at the most. A packet that came earlier would be sent
// back to the network, and the kernel would remember that for two minutes: the
// connection hangs, and so does the next one from the same port.
//
// A proxy that cannot be asked, or does not run yet, is not waited for: that is one
// that does not know the API server's Service.
//
// A Gate is a watch.Listener, and goes before those who ask Held.
type Gate struct {
	log *slog.Logger
	ask func(netip.Addr, watch.Port) Answer
	// Open has those who asked Held look at addresses again, and Overdue says
	// that the proxy did not take one up in time. Witness is the API server's
	// Service. They are set before Run.
	Open    func([]netip.Addr)
	Overdue func(netip.Addr)
	Witness netip.AddrPort
	settled chan struct{}
	begun   bool // settled is closed

	mu    sync.Mutex
	wake  chan struct{}
	known map[netip.Addr]*held // those that may be announced are nil
	queue []*held              // in the order in which they came
	next  int                  // of the queue to be asked about, after the first
	seen  bool                 // the proxy knows the witness
	swept bool                 // since then, all were asked about that were there
}

// held is an address that is held back.
type held struct {
	ip    netip.Addr
	port  watch.Port
	since time.Time
}

// NewGate returns a Gate that asks so what becomes of packets; with nil, it holds
// nothing back.
func NewGate(log *slog.Logger, ask func(netip.Addr, watch.Port) Answer) *Gate {
	return &Gate{
		log: log, ask: ask, settled: make(chan struct{}), wake: make(chan struct{}, 1), known: map[netip.Addr]*held{},
		Open: func([]netip.Addr) {}, Overdue: func(netip.Addr) {},
	}
}

// Changed implements watch.Listener.
func (g *Gate) Changed(state *watch.State, c watch.Change) {
	if g.ask == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ip := range c.Addresses {
		_, known := g.known[ip]
		users := state.Users(ip)
		switch {
		case len(users) == 0:
			g.drop(ip)
		case !known:
			g.hold(ip, state.Services[users[0]].Port)
		}
	}
}

func (g *Gate) hold(ip netip.Addr, port watch.Port) {
	if port.Number == 0 {
		g.known[ip] = nil
		return
	}
	h := &held{ip, port, time.Now()}
	g.known[ip] = h
	g.queue = append(g.queue, h)
	heldAddresses.Inc()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *Gate) drop(ip netip.Addr) {
	if h := g.known[ip]; h != nil {
		g.unqueue(func(q *held) bool { return q == h })
	}
	delete(g.known, ip)
}

func (g *Gate) unqueue(gone func(*held) bool) {
	g.queue = slices.DeleteFunc(g.queue, gone)
	heldAddresses.Set(float64(len(g.queue)))
}

// Held says whether an address is not to be announced yet.
func (g *Gate) Held(ip netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[ip] != nil
}

// Settled is closed once of the addresses that there were at the start only those
// are held back that the proxy does not know.
func (g *Gate) Settled() <-chan struct{} { return g.settled }

// Run asks until ctx ends. It starts when the addresses are known that are there
// from the beginning.
func (g *Gate) Run(ctx context.Context) {
	for {
		for g.round(time.Now()) {
			if !sleep(ctx, pause) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// round asks about addresses that are held back, and lets those go that need not
// be any more. It reports whether some are left.
func (g *Gate) round(now time.Time) (left bool) {
	open, overdue, left := g.judge(now)
	if len(open) > 0 {
		g.Open(open)
	}
	for _, ip := range overdue {
		overdueAddresses.Inc()
		g.log.Warn("announcing an address that the node's service proxy has not taken up", "address", ip, "waited", patience.String())
		g.Overdue(ip)
	}
	if !g.begun && (!left || g.swept) {
		g.begun = true
		close(g.settled)
	}
	return left
}

func (g *Gate) judge(now time.Time) (open, overdue []netip.Addr, left bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) > 0 && !g.seen {
		g.seen = g.Witness.IsValid() && g.ask(g.Witness.Addr(), watch.Port{Number: g.Witness.Port()}) != Untouched
	}
	gone := map[*held]bool{}
	switch {
	case !g.seen:
	case !g.swept:
		g.sweep(0, len(g.queue), gone)
		g.swept = true
	default:
		// A proxy takes things up in the order in which they came. What it never takes
		// up must not keep the rest from being asked about.
		first := g.sweep(0, mostUnknown/2, gone)
		if g.next = g.sweep(max(first, g.next), mostUnknown/2, gone); g.next == len(g.queue) {
			g.next = 0
		}
	}
	for _, h := range g.queue {
		switch {
		case gone[h] || !g.seen:
			gone[h] = true
		case now.Sub(h.since) >= patience:
			gone[h] = true
			overdue = append(overdue, h.ip)
		default:
			continue
		}
		g.known[h.ip] = nil
		open = append(open, h.ip)
	}
	g.unqueue(func(h *held) bool { return gone[h] })
	return open, overdue, len(g.queue) > 0
}

// sweep asks about those of the queue from a place on until some turn out to be
// unknown, and returns the place after that.
func (g *Gate) sweep(from, most int, gone map[*held]bool) int {
	unknown := 0
	for ; from < len(g.queue) && unknown < most; from++ {
		if h := g.queue[from]; g.ask(h.ip, h.port) != Untouched {
			gone[h] = true
		} else {
			unknown++
		}
	}
	return from
}
