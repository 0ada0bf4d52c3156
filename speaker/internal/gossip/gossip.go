// Package gossip connects the speakers through memberlist: who lives, and what
// they tell each other.
//
// The timings, and what they were measured to do, are in
// docs/decisions/0006-membership.md. A node that is cut off from a LAN at rest is
// dead to the others after 600 to 900 ms: up to three intervals until one of two
// survivors probes it, one for the probe, five for the suspicion. Lifeguard's
// awareness stays on, and patience.go has more time for who is slow.
package gossip

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

const (
	probeInterval = 100 * time.Millisecond
	probeTimeout  = 50 * time.Millisecond
	suspicionMult = 5
	// suspicion is how long memberlist suspects a node before it is dead. One
	// that answered since is dead by hearsay: a node that was cut off tells, when
	// it is back, of the deaths of all others. It is believed hearsay later, as
	// the one that is said to be dead may object until then.
	suspicion = suspicionMult * probeInterval
	hearsay   = 500 * time.Millisecond
	// pushPullInterval bounds how long a lost delta stays lost.
	pushPullInterval = 10 * time.Second
	// rejoinInterval is how often absent speakers are called, and
	// rejoinTimeout how long a call takes: what was cut off is found within a
	// second of its return.
	rejoinInterval = 500 * time.Millisecond
	rejoinTimeout  = 400 * time.Millisecond
	// rejoinMost bounds how many are called at a time.
	rejoinMost = 8
	// mostPacket is what memberlist puts into a packet beside its headers, the
	// label and the encryption. Its queue would keep what is larger for ever.
	mostPacket = 1200
)

// Peer is a speaker that should be there.
type Peer struct {
	Node string
	IP   netip.Addr
}

// Config of the gossip.
type Config struct {
	Node string
	IP   netip.Addr
	Port int
	// Key is the shared secret: 16, 24 or 32 bytes.
	Key []byte
	// Post takes events for the election.
	Post func(election.Event)
	// State is this node's full state.
	State func() []byte
	// Peers lists the speakers that the API knows, this one too or not.
	Peers func() []Peer
	// Resolve finds the hardware address of a speaker that is to be called, and
	// tells it ours.
	Resolve func(other, this netip.Addr)
	Log     *slog.Logger
}

// Gossip is a member.
type Gossip struct {
	cfg   Config
	list  *memberlist.Memberlist
	queue *memberlist.TransmitLimitedQueue

	mu    sync.Mutex
	live  map[string]*memberlist.Node
	known map[string]netip.Addr // every member that was ever seen
	// doubted are nodes whose death is not believed yet.
	doubted  map[string]*time.Timer
	answered map[string]time.Time // when each answered a probe last
	patience patience

	absentees int // as Run told the election
}

// Start listens and makes this node a member of its own. Join makes it one of
// the others'.
func Start(cfg Config) (*Gossip, error) {
	g := &Gossip{
		cfg: cfg, live: map[string]*memberlist.Node{}, known: map[string]netip.Addr{},
		doubted: map[string]*time.Timer{}, answered: map[string]time.Time{},
	}
	g.queue = &memberlist.TransmitLimitedQueue{RetransmitMult: 3, NumNodes: g.members}
	c := memberlist.DefaultLANConfig()
	c.Name = cfg.Node
	c.BindAddr, c.BindPort = cfg.IP.String(), cfg.Port
	c.AdvertiseAddr, c.AdvertisePort = cfg.IP.String(), cfg.Port
	c.SecretKey = cfg.Key
	c.Label = label(cfg.Key)
	c.ProbeInterval, c.ProbeTimeout = probeInterval, probeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = suspicionMult, 1
	c.GossipInterval, c.GossipNodes = probeInterval, 3
	c.PushPullInterval = pushPullInterval
	c.TCPTimeout = rejoinTimeout
	c.RetransmitMult = 3
	c.EnableCompression = false
	c.HandoffQueueDepth = 8192
	c.Delegate, c.Events, c.Ping = (*delegate)(g), (*events)(g), (*pings)(g)
	c.Logger = log.New(&lines{cfg.Log}, "", 0)
	list, err := memberlist.Create(c)
	if err != nil {
		return nil, fmt.Errorf("listening for gossip on %s port %d: %w", cfg.IP, cfg.Port, err)
	}
	g.list = list
	return g, nil
}

// label keeps two installations on one LAN apart before they try each other's
// keys. It says nothing about the key.
func label(key []byte) string {
	sum := sha256.Sum256(append([]byte("porchlight gossip label "), key...))
	return "porchlight-" + hex.EncodeToString(sum[:8])
}

// Join calls the others until one answered, there are none to call, or the time
// is up. It returns how many there should be.
func (g *Gossip) Join(ctx context.Context, most time.Duration) int {
	deadline := time.Now().Add(most)
	for {
		absent := g.absent()
		others := len(absent) + g.members() - 1
		if others == 0 || g.call(ctx, absent[:min(len(absent), rejoinMost)]) > 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return others
		}
		select {
		case <-ctx.Done():
		case <-time.After(rejoinInterval):
		}
	}
}

// Run calls absent speakers, for ever.
func (g *Gossip) Run(ctx context.Context) {
	go g.watchLateness(ctx)
	tick := time.NewTicker(rejoinInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			absent := g.absent()
			if len(absent) != g.absentees {
				g.absentees = len(absent)
				g.cfg.Post(election.SetAbsent{Speakers: len(absent)})
			}
			g.call(ctx, absent[:min(len(absent), rejoinMost)])
		}
	}
}

// watchLateness measures how short of processor time this process is.
func (g *Gossip) watchLateness(ctx context.Context) {
	for ctx.Err() == nil {
		due := time.Now().Add(latenessEvery)
		time.Sleep(latenessEvery)
		now := time.Now()
		g.mu.Lock()
		g.patience.ran(now.Sub(due), now)
		_, news := g.patience.tell(now)
		g.mu.Unlock()
		if news {
			if err := g.list.UpdateNode(rejoinTimeout); err != nil {
				g.cfg.Log.Debug("telling how late this node is", "error", err)
			}
		}
	}
}

// absent are the speakers that should be there and are not, in any order: those
// that the API knows or, where it never was asked, those that were members.
func (g *Gossip) absent() []Peer {
	want := map[string]netip.Addr{}
	for _, p := range g.cfg.Peers() {
		want[p.Node] = p.IP
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(want) == 0 {
		maps.Copy(want, g.known)
	}
	var out []Peer
	for node, ip := range want {
		if _, live := g.live[node]; !live && node != g.cfg.Node && ip.IsValid() {
			out = append(out, Peer{node, ip})
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (g *Gossip) call(ctx context.Context, peers []Peer) int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	joined := 0
	for _, p := range peers {
		wg.Go(func() {
			if ctx.Err() != nil {
				return
			}
			g.cfg.Resolve(p.IP, g.cfg.IP)
			n, err := g.list.Join([]string{g.address(p)})
			if err != nil {
				g.cfg.Log.Debug("calling an absent speaker", "node", p.Node, "error", err)
			}
			mu.Lock()
			joined += n
			mu.Unlock()
		})
	}
	wg.Wait()
	return joined
}

func (g *Gossip) address(p Peer) string {
	return p.Node + "/" + net.JoinHostPort(p.IP.String(), strconv.Itoa(g.cfg.Port))
}

func (g *Gossip) members() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(1, len(g.live))
}

// Send implements agent.Gossip. Every live member gets the message at once; the
// queue repeats it, and push/pull mends what that does not. The state of a node
// with many interfaces is larger than a packet, and goes over connections.
func (g *Gossip) Send(m election.Message) {
	g.mu.Lock()
	to := make([]*memberlist.Node, 0, len(g.live))
	for name, n := range g.live {
		if name != g.cfg.Node {
			to = append(to, n)
		}
	}
	g.mu.Unlock()
	for _, piece := range m.Split() {
		if len(piece) > mostPacket {
			go g.sendReliably(to, piece)
			continue
		}
		for _, n := range to {
			if err := g.list.SendBestEffort(n, piece); err != nil {
				g.cfg.Log.Debug("sending to a speaker", "node", n.Name, "error", err)
			}
		}
		g.queue.QueueBroadcast(broadcast(piece))
	}
}

func (g *Gossip) sendReliably(to []*memberlist.Node, piece []byte) {
	room := make(chan struct{}, rejoinMost)
	for _, n := range to {
		room <- struct{}{}
		go func() {
			defer func() { <-room }()
			if err := g.list.SendReliable(n, piece); err != nil {
				g.cfg.Log.Debug("sending to a speaker", "node", n.Name, "bytes", len(piece), "error", err)
			}
		}()
	}
}

// Exchange implements agent.Gossip.
func (g *Gossip) Exchange(node string, done func()) {
	g.mu.Lock()
	ip, known := g.known[node]
	g.mu.Unlock()
	go func() {
		if known {
			g.call(context.Background(), []Peer{{node, ip}})
		}
		done()
	}()
}

// Leave implements agent.Gossip.
func (g *Gossip) Leave(most time.Duration) {
	if err := g.list.Leave(most); err != nil {
		g.cfg.Log.Debug("leaving", "error", err)
	}
	if err := g.list.Shutdown(); err != nil {
		g.cfg.Log.Debug("closing the gossip", "error", err)
	}
}

type broadcast []byte

func (b broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b broadcast) Message() []byte                       { return b }
func (b broadcast) Finished()                             {}
func (b broadcast) UniqueBroadcast()                      {}

// delegate is Gossip as memberlist sees it.
type delegate Gossip

// NodeMeta is how late the node is, in latenessUnit, where that is more than
// tolerable.
func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.patience.told == 0 {
		return nil
	}
	return []byte{d.patience.told}
}

func (d *delegate) NotifyMsg(b []byte) { d.receive(b) }

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.queue.GetBroadcasts(overhead, limit)
}

func (d *delegate) LocalState(bool) []byte { return d.cfg.State() }

func (d *delegate) MergeRemoteState(b []byte, _ bool) { d.receive(b) }

func (d *delegate) receive(b []byte) {
	m, err := election.Unmarshal(b)
	if err != nil {
		d.cfg.Log.Warn("a speaker said what this one does not understand", "error", err)
		return
	}
	if !m.Empty() {
		d.cfg.Post(election.Receive{Message: m})
	}
}

// events is Gossip as memberlist's membership sees it. memberlist holds a lock
// while it calls.
type events Gossip

func (e *events) NotifyJoin(n *memberlist.Node) {
	node := *n
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live[node.Name] = &node
	if ip, ok := netip.AddrFromSlice(node.Addr); ok {
		e.known[node.Name] = ip.Unmap()
	}
	if timer := e.doubted[node.Name]; timer != nil {
		timer.Stop()
		delete(e.doubted, node.Name)
		e.cfg.Log.Info("speaker was slow, not dead", "node", node.Name)
		return
	}
	e.cfg.Log.Info("speaker joined", "node", node.Name)
	e.cfg.Post(election.MemberUp{Node: node.Name})
}

func (e *events) NotifyLeave(n *memberlist.Node) {
	name := n.Name
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live, name)
	told := byte(0)
	if len(n.Meta) > 0 {
		told = n.Meta[0]
	}
	wait, ask := e.patience.wait(told, time.Now()), false
	switch fresh := time.Since(e.answered[name]) < suspicion; {
	case fresh:
		wait = max(wait, hearsay)
	case wait == 0 && time.Duration(len(e.live))*probeInterval > suspicion:
		// So many that this node may not have probed it since.
		wait, ask = 2*probeTimeout, true
	}
	delete(e.answered, name)
	if wait == 0 {
		e.left(name)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.doubted[name] == timer {
			delete(e.doubted, name)
			e.left(name)
		}
	})
	e.doubted[name] = timer
	if ask {
		go e.ask(name, &net.UDPAddr{IP: n.Addr, Port: int(n.Port)}, timer)
	}
}

// ask has the death of a node that answers be doubted for longer.
func (e *events) ask(name string, at net.Addr, timer *time.Timer) {
	if _, err := e.list.Ping(name, at); err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.doubted[name] == timer {
		timer.Reset(hearsay)
	}
}

func (e *events) left(node string) {
	e.cfg.Log.Info("speaker left", "node", node)
	e.cfg.Post(election.MemberDown{Node: node})
}

func (e *events) NotifyUpdate(n *memberlist.Node) {
	node := *n
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live[node.Name] = &node
}

// pings is Gossip as memberlist's probes see it.
type pings Gossip

func (*pings) AckPayload() []byte { return nil }

func (p *pings) NotifyPingComplete(other *memberlist.Node, _ time.Duration, _ []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, live := p.live[other.Name]; live {
		p.answered[other.Name] = time.Now()
	}
}

// lines sends memberlist's log lines to ours. Its levels are about its own
// probes: what matters is in the events.
type lines struct{ log *slog.Logger }

var _ io.Writer = (*lines)(nil)

func (l *lines) Write(b []byte) (int, error) {
	l.log.Debug("memberlist", "line", string(b))
	return len(b), nil
}
