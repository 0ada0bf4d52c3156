// Package agent runs the election of a node: one goroutine owns the core,
// takes events from everywhere, and has the segment, the gossip and the reports
// do what it says, in its order.
package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/election"
	"golang.org/x/sync/errgroup"
)

// tickEvery is the granularity of the election's times.
const tickEvery = 50 * time.Millisecond

// mostUnsent claims are gathered before they are sent.
const mostUnsent = 500

// stale is how old the election's last decision may be: election.Config.Freeze,
// after which it doubts itself.
const stale = time.Second

// Segment announces addresses on the node's interfaces. Its methods do not
// block; Answer has sent the first announcement when it returns.
type Segment interface {
	Answer(a []election.Answer, defend []election.Answer)
	Probe([]election.Answer)
	Withdraw([]election.Answer)
}

// Gossip reaches the other speakers. Its methods do not block.
type Gossip interface {
	Send(election.Message)
	// Exchange exchanges full state with a member, and calls done.
	Exchange(node string, done func())
	// Leave says goodbye, for the given time at most.
	Leave(time.Duration)
}

// Reporter hears what changed. Its method does not block.
type Reporter interface {
	Report(changed election.Ready, owned, members int)
}

// item is an event, or a function to run instead.
type item struct {
	event election.Event
	do    func()
}

// Agent is the task. Post and Do may be called from any goroutine.
type Agent struct {
	log      *slog.Logger
	election *election.Election
	start    time.Time
	ready    chan struct{}
	done     chan struct{}

	mu    sync.Mutex
	queue []item
	wake  chan struct{}

	// Drain is how long a stop may take.
	Drain    time.Duration
	Segment  Segment
	Reporter Reporter
	// Begin prepares what feeds the agent, and returns once the speaker may
	// take part, with the number of other speakers that there should be. What
	// it has served runs until the drain is over; where such a task fails, the
	// agent stops with its error.
	Begin func(ctx context.Context, serve func(task func(context.Context) error)) (others int, err error)

	gossip  Gossip
	unsent  election.Message
	members int          // last reported
	worked  atomic.Int64 // since start, in ns: when the election was last up to date
}

// New returns an agent for the node.
func New(log *slog.Logger, node string) *Agent {
	return &Agent{
		log: log, start: time.Now(), ready: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
		Drain:    5 * time.Second,
		election: election.New(election.Config{Node: node, Run: uint64(time.Now().UnixMilli())}, 0),
	}
}

// String implements program.Task.
func (a *Agent) String() string { return "speaker" }

// Ready is closed once the node takes part.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Post gives the election an event.
func (a *Agent) Post(ev election.Event) {
	a.enqueue(item{event: ev})
}

// Do runs f in the goroutine that owns the election, and waits for it. It
// reports false where the agent ended before.
func (a *Agent) Do(f func(*election.Election)) bool {
	done := make(chan struct{})
	a.enqueue(item{do: func() { f(a.election); close(done) }})
	select {
	case <-done:
		return true
	case <-a.done:
		return false
	}
}

func (a *Agent) enqueue(i item) {
	a.mu.Lock()
	a.queue = append(a.queue, i)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Connect gives the agent its way to the others.
func (a *Agent) Connect(g Gossip) { a.enqueue(item{do: func() { a.gossip = g }}) }

// State is the node's full state on the wire; empty once the agent ended.
func (a *Agent) State() []byte {
	var m election.Message
	a.Do(func(e *election.Election) { m = e.State() })
	return m.Marshal()
}

// Run takes part until ctx ends, and then hands over what it owns before it
// stops.
func (a *Agent) Run(ctx context.Context) error {
	// What feeds the agent outlives ctx: the drain needs it.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	tasks, inner := errgroup.WithContext(inner)
	defer func() {
		close(a.done)
		cancel()
		_ = tasks.Wait()
	}()
	tasks.Go(func() error {
		others, err := a.Begin(ctx, func(task func(context.Context) error) {
			tasks.Go(func() error { return task(inner) })
		})
		if err != nil {
			if ctx.Err() != nil {
				return nil // stopped before it began
			}
			return err
		}
		a.Post(election.Join{Others: others})
		close(a.ready)
		return nil
	})
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	stopping := ctx.Done()
	var deadline time.Time
	for {
		select {
		case <-stopping:
			stopping = nil
			deadline = time.Now().Add(a.Drain)
			a.log.Info("draining")
			a.Post(election.Drain{})
		case <-inner.Done():
			return context.Cause(inner)
		case <-a.wake:
			a.work()
		case <-tick.C:
			a.Post(election.Tick{})
			a.work()
		}
		if stopping == nil && (a.election.Drained() || time.Now().After(deadline)) {
			a.log.Info("drained", "left", a.election.Owned())
			if a.gossip != nil {
				a.gossip.Leave(500 * time.Millisecond)
			}
			return nil
		}
	}
}

// Fresh reports whether the election ran of late, and what it decided was done:
// not so where the process was frozen, from its thaw until the election knows.
// It may be called from any goroutine.
func (a *Agent) Fresh() bool {
	return time.Since(a.start)-time.Duration(a.worked.Load()) < stale
}

func (a *Agent) work() {
	began := time.Since(a.start)
	defer func() { a.worked.Store(int64(began)) }()
	a.mu.Lock()
	queue := a.queue
	a.queue = nil
	a.mu.Unlock()
	for _, i := range withoutFlaps(queue) {
		if i.do != nil {
			i.do()
		} else {
			a.election.Step(time.Since(a.start), i.event)
		}
		a.perform(a.election.Ready())
		if len(a.unsent.Claims) >= mostUnsent {
			a.send()
		}
	}
	a.send()
}

// send tells the others what work has gathered: thousands of addresses that
// change at once are some hundred packets then, which leave room in everybody's
// buffers for the probes that keep the members alive.
func (a *Agent) send() {
	m := a.unsent
	a.unsent = election.Message{}
	if a.gossip != nil && !m.Empty() {
		a.gossip.Send(m)
	}
}

// gather adds to what is to be sent; of a node's states the last one counts.
func gather(m, more election.Message) election.Message {
	m.Claims = append(m.Claims, more.Claims...)
	for _, s := range more.States {
		i := slices.IndexFunc(m.States, func(have election.NodeState) bool { return have.Node == s.Node })
		if i < 0 {
			m.States = append(m.States, s)
		} else {
			m.States[i] = s
		}
	}
	return m
}

// withoutFlaps leaves out that a member went, where the queue says further on
// that it is back: to act on what is over by now would move addresses for
// nothing. That it came is no news to the election then.
func withoutFlaps(queue []item) []item {
	back := map[string]bool{}
	for i := len(queue) - 1; i >= 0; i-- {
		switch ev := queue[i].event.(type) {
		case election.MemberUp:
			back[ev.Node] = true
		case election.MemberDown:
			if back[ev.Node] {
				queue[i] = item{event: election.Tick{}}
			}
		}
	}
	return queue
}

// perform keeps the order of election.Ready.
func (a *Agent) perform(r election.Ready) {
	if len(r.Answer)+len(r.Defend) > 0 {
		var defend []election.Answer
		for _, ip := range r.Defend {
			defend = append(defend, election.Answer{IP: ip, Interfaces: a.election.Answering(ip)})
		}
		a.Segment.Answer(r.Answer, defend)
	}
	if len(r.Probe) > 0 {
		a.Segment.Probe(r.Probe)
	}
	if len(r.Withdraw) > 0 {
		var gone []election.Answer
		for _, ip := range r.Withdraw {
			gone = append(gone, election.Answer{IP: ip})
		}
		a.Segment.Withdraw(gone)
	}
	a.unsent = gather(a.unsent, r.Send)
	for _, node := range r.Resync {
		a.gossip.Exchange(node, func() { a.Post(election.Resynced{}) })
	}
	members := a.election.Members()
	if len(r.Moves)+len(r.Changed)+len(r.Answer)+len(r.Withdraw) > 0 || members != a.members {
		a.members = members
		a.Reporter.Report(r, a.election.Owned(), members)
	}
}
