package peering

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// restartTime is how long routers are asked to keep forwarding while the
// speaker restarts: long enough for an image to be pulled.
const restartTime = 2 * time.Minute

// rest is how long a router is left alone after a session with it ended. FRR
// 8.4 forgets a neighbor that it made of a range, and its BFD, only when it is
// done with the routes of that neighbor: 60 ms later with few, 230 ms with
// 10,000. Where the next session came up before, it forgets the BFD of that
// one, too, and for good.
const rest = 500 * time.Millisecond

// patience is how long a session goes on though what its peer names is not
// there. Objects of each kind come by a watch of their own: a BFDProfile or a
// Secret may come moments after the peer that names it, or be made anew.
const patience = 2 * time.Second

// Peering is the task. Post and Do may be called from any goroutine.
type Peering struct {
	log  *slog.Logger
	node string
	plan *bgp.Planner

	// RouterID of sessions whose peer sets none.
	RouterID netip.Addr
	// Drain is how long peers have to turn to other paths before those of this
	// node are withdrawn at a stop.
	Drain time.Duration
	// Changed hears of a session that changed, and of one that ended for good
	// (removed). It must not block.
	Changed func(s State, removed bool)
	// Touched hears of addresses whose verdict may have changed, and without
	// any where it may be another of an object. It must not block.
	Touched func([]netip.Addr)
	// BFD watches peers; nil: none does.
	BFD BFD

	mu    sync.Mutex
	queue []func()
	rests map[netip.Addr]time.Time // until when a router is left alone
	wake  chan struct{}
	done  chan struct{}
	ready chan struct{}

	begun     bool // all objects were seen
	first     bool // sessions that begin now are those of a restart
	neighbors map[string]*neighbor
	leaving   map[string]*neighbor // those that were removed, until they are over
	missing   map[string]time.Time // since when what a peer names is not there, while its session goes on
	running   sync.WaitGroup
}

// New returns the task for a node.
func New(log *slog.Logger, node string) *Peering {
	return &Peering{
		log: log, node: node, plan: bgp.New(node), Drain: 3 * time.Second,
		Changed: func(State, bool) {}, Touched: func([]netip.Addr) {},
		wake: make(chan struct{}, 1), done: make(chan struct{}), ready: make(chan struct{}),
		first: true, neighbors: map[string]*neighbor{}, leaving: map[string]*neighbor{}, missing: map[string]time.Time{}, rests: map[netip.Addr]time.Time{},
	}
}

// String implements program.Task.
func (p *Peering) String() string { return "bgp" }

// Ready implements program.Task: it is closed at Begin.
func (p *Peering) Ready() <-chan struct{} { return p.ready }

// Done is closed when all sessions have ended.
func (p *Peering) Done() <-chan struct{} { return p.done }

// Post gives the plan an event.
func (p *Peering) Post(ev bgp.Event) { p.enqueue(func() { p.plan.Step(ev) }) }

// Begin says that everything there is was posted: sessions may begin. Before,
// a peer could be told of a part as if it were all.
func (p *Peering) Begin() {
	p.enqueue(func() {
		p.begun = true
		close(p.ready)
	})
}

// Do runs f in the goroutine that owns the plan, and waits for it. It reports
// false where the task ended before.
func (p *Peering) Do(f func(*bgp.Planner)) bool {
	done := make(chan struct{})
	p.enqueue(func() { f(p.plan); close(done) })
	select {
	case <-done:
		return true
	case <-p.done:
		return false
	}
}

func (p *Peering) enqueue(f func()) {
	p.mu.Lock()
	p.queue = append(p.queue, f)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run keeps the sessions until ctx ends. Peers that keep forwarding while this
// speaker restarts then see their connection end, and nothing else. The others
// are first asked to prefer other paths (RFC 8326).
func (p *Peering) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		cancel()
		p.running.Wait()
		close(p.done)
	}()
	for {
		select {
		case <-ctx.Done():
			p.drain(inner)
			return nil
		case <-p.wake:
			p.work(inner)
		}
	}
}

func (p *Peering) work(ctx context.Context) {
	p.mu.Lock()
	queue := p.queue
	p.queue = nil
	p.mu.Unlock()
	for _, f := range queue {
		f()
	}
	p.perform(ctx)
}

// perform does what the plan says.
func (p *Peering) perform(ctx context.Context) {
	if touched, judged := p.plan.Touched(), p.plan.Judged(); judged || len(touched) > 0 {
		p.Touched(touched)
	}
	changes := p.plan.Changes()
	if !p.begun {
		return
	}
	wanted := map[string]bool{}
	for _, state := range p.plan.States() {
		wanted[state.Name] = true
		n := p.neighbors[state.Name]
		if n != nil && p.waits(n, state) {
			continue
		}
		_, waited := p.missing[state.Name]
		delete(p.missing, state.Name)
		if n != nil && n.same(state) {
			n.configure(state, waited)
			continue
		}
		if n != nil {
			n.stop(reconfigured)
		} else {
			n = p.leaving[state.Name]
		}
		p.neighbors[state.Name] = p.start(ctx, state, n)
	}
	for name, n := range p.neighbors {
		if !wanted[name] {
			n.stop(deconfigured)
			delete(p.neighbors, name)
			delete(p.missing, name)
			p.leaving[name] = n
		}
	}
	maps.DeleteFunc(p.leaving, func(_ string, n *neighbor) bool {
		select {
		case <-n.over:
			return true
		default:
			return false
		}
	})
	p.first = false
	for from := 0; from < len(changes); {
		to := from
		for to < len(changes) && changes[to].Peer == changes[from].Peer {
			to++
		}
		p.neighbors[changes[from].Peer].announce(changes[from:to])
		from = to
	}
}

// waits says whether a session shall go on for now, because what its peer names
// may come.
func (p *Peering) waits(n *neighbor, now bgp.PeerState) bool {
	named := now.Refused.Reason == reason.BFDProfileNotFound || now.Refused.Reason == reason.SecretNotFound
	if !named || n.peer.Refused.Reason != "" {
		return false
	}
	since, waits := p.missing[now.Name]
	if !waits {
		since = time.Now()
		p.missing[now.Name] = since
		time.AfterFunc(patience, func() { p.enqueue(func() {}) })
	}
	return time.Since(since) < patience
}

// ended notes that a session ends or has ended, if it was up.
func (p *Peering) ended(e ends) {
	if !e.remote.IsValid() {
		return
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.rests, func(_ netip.Addr, until time.Time) bool { return now.After(until) })
	p.rests[e.remote] = now.Add(rest)
}

// rested waits until a router was left alone for long enough.
func (p *Peering) rested(ctx context.Context, router netip.Addr) error {
	p.mu.Lock()
	until := p.rests[router]
	p.mu.Unlock()
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// drain ends all sessions.
func (p *Peering) drain(ctx context.Context) {
	p.work(ctx)
	told := false
	for _, n := range p.neighbors {
		if n.restartable() {
			n.stop(restarting)
		} else if n.up() {
			told = true
		}
	}
	if told {
		p.log.Info("asking peers to prefer other paths", "for", p.Drain)
		p.enqueue(func() { p.plan.Step(bgp.Drain{}) })
		p.work(ctx)
		select {
		case <-time.After(p.Drain):
		case <-ctx.Done():
		}
		p.enqueue(func() { p.plan.Step(bgp.Withdraw{}) })
		p.work(ctx)
	}
	for _, n := range p.neighbors {
		n.stop(shutdown)
	}
}
