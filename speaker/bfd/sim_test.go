package bfd

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run the simulation of this seed alone")
	runsFlag  = flag.Int("runs", 300, "seeds that the simulation runs")
	traceFlag = flag.Bool("narrate", false, "print what the sides of the simulation do")
)

// pair is two nodes with one session between them, and the link.
type pair struct {
	rng   *rand.Rand
	now   time.Duration
	sides [2]*side
	queue []flight

	loss, dup  float64
	delay      time.Duration // the longest
	fixedDelay bool
	ordered    bool // packets do not overtake each other
	newest     [2]time.Duration
	cut        [2]bool // nothing that this side sends arrives
	noEcho     bool    // nobody forwards echo packets back
	trace      func(string, ...any)
	packets    bool // trace packets too
	failure    string
	mayFlap    bool
	changed    func(*side, Change)
}

type side struct {
	name   string
	i      int
	table  *Table
	path   Path
	cfg    Config
	frozen bool
	up     bool // the process runs
	inbox  []flight
	state  State
	flaps  int
	lastRx time.Duration
	// limit is within what time a cut must be seen; exact, that it is a
	// control packet's detection time, to the point.
	limit time.Duration
	exact bool
	// heard is the state that the other said in the last packet received.
	heard State
}

type flight struct {
	at      time.Duration
	to      int
	payload []byte
	echo    bool
	ttl     int
}

func newPair(seed uint64, a, b Config) *pair {
	p := &pair{rng: rand.New(rand.NewPCG(seed, 0)), trace: func(string, ...any) {}}
	addrs := [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	for i, cfg := range []Config{a, b} {
		p.sides[i] = &side{name: string(rune('a' + i)), i: i, cfg: cfg, path: Path{Remote: addrs[1-i], Local: addrs[i], Interface: "eth0"}}
	}
	for _, s := range p.sides {
		p.start(s)
	}
	return p
}

func (p *pair) fail(format string, args ...any) {
	if p.failure == "" {
		p.failure = fmt.Sprintf("%s: ", p.now) + fmt.Sprintf(format, args...)
		p.trace("FAILED %s", p.failure)
	}
}

func (p *pair) start(s *side) {
	s.table, s.up, s.state, s.inbox, s.heard = New(rand.New(rand.NewPCG(p.rng.Uint64(), 1))), true, Down, nil, Down
	if err := s.table.Add(p.now, s.path, s.cfg); err != nil {
		panic(err)
	}
	p.perform(s)
}

func (p *pair) stop(s *side) { s.table, s.up, s.inbox = nil, false, nil }

func (p *pair) change(s *side, cfg Config) {
	s.cfg = cfg
	if err := s.table.Change(p.now, s.path, cfg); err != nil {
		panic(err)
	}
	p.perform(s)
}

// perform does what a side's table asks for.
func (p *pair) perform(s *side) {
	r := s.table.Ready()
	for _, c := range r.Changes {
		p.trace("%s %s -> %s %s", s.name, c.From, c.To, c.Diag)
		if c.From != s.state {
			p.fail("%s was %s, and says that it was %s", s.name, s.state, c.From)
		}
		if c.To == Up && s.heard != Init && s.heard != Up {
			p.fail("%s is Up, and heard %s last", s.name, s.heard)
		}
		if c.From == Up {
			s.flaps++
			if !p.mayFlap {
				p.fail("%s went %s, %s", s.name, c.To, c.Diag)
			}
		}
		s.state = c.To
		if p.changed != nil {
			p.changed(s, c)
		}
	}
	if len(r.Gone) > 0 {
		p.trace("%s is rid of the session", s.name)
		s.state = Down
	}
	for _, t := range r.Send {
		if p.packets {
			p.trace("%s sends %s", s.name, describe(t.Packet))
		}
		if t.Packet.Poll && t.Packet.Final {
			p.fail("%s sends Poll and Final in one packet", s.name)
		}
		if t.Packet.State != Up && t.Packet.DesiredMinTx < slow {
			p.fail("%s says that it sends every %s while it is %s", s.name, t.Packet.DesiredMinTx, t.Packet.State)
		}
		p.fly(s, flight{to: 1 - s.i, payload: t.Packet.Marshal(), ttl: TTL})
	}
	for _, e := range r.Echo {
		if s.state != Up {
			p.fail("%s sends an echo packet while it is %s", s.name, s.state)
		}
		if other := p.sides[1-s.i]; !p.noEcho && !p.cut[other.i] {
			p.fly(s, flight{to: s.i, payload: e.Payload, echo: true})
		}
	}
}

func (p *pair) fly(from *side, f flight) {
	if p.cut[from.i] {
		return
	}
	for copies := 1 + b2i(p.rng.Float64() < p.dup); copies > 0; copies-- {
		if p.rng.Float64() < p.loss {
			continue
		}
		f.at = p.now + p.delay
		if !p.fixedDelay {
			f.at = p.now + p.random(p.delay)
		}
		if p.ordered {
			f.at = max(f.at, p.newest[f.to])
		}
		p.newest[f.to] = max(p.newest[f.to], f.at)
		p.queue = append(p.queue, f)
	}
}

func (p *pair) random(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(p.rng.Int64N(int64(most)))
}

// run lets time pass.
func (p *pair) run(d time.Duration) {
	for until := p.now + d; p.failure == ""; {
		next, what := until, -1
		for i, f := range p.queue {
			if f.at < next {
				next, what = f.at, i // those of one time in the order sent
			}
		}
		var who *side
		for _, s := range p.sides {
			if !s.up || s.frozen {
				continue
			}
			if at, ok := s.table.Next(); ok && max(at, p.now) < next {
				next, who = max(at, p.now), s
			}
		}
		p.now = next
		switch {
		case who != nil:
			before, _ := who.table.Next()
			who.table.Advance(p.now)
			if after, ok := who.table.Next(); ok && after <= p.now && after <= before {
				p.fail("%s makes no progress", who.name)
			}
			p.perform(who)
		case what >= 0:
			f := p.queue[what]
			p.queue = slices.Delete(p.queue, what, what+1)
			if s := p.sides[f.to]; s.up {
				if s.frozen {
					s.inbox = append(s.inbox, f)
				} else {
					p.deliver(s, f)
				}
			}
		default:
			return
		}
	}
}

func (p *pair) deliver(s *side, f flight) {
	if f.echo {
		s.table.ReceiveEcho(p.now, f.payload)
	} else {
		pkt, _ := Unmarshal(f.payload)
		from := Arrival{Remote: s.path.Remote, Local: s.path.Local, Interface: "eth0", TTL: f.ttl}
		before := s.heard
		s.heard = pkt.State
		if _, drop := s.table.Receive(p.now, from, f.payload); drop != "" {
			s.heard = before
		} else {
			s.lastRx = p.now
		}
	}
	p.perform(s)
}

func (p *pair) freeze(s *side) { s.frozen = true }

// thaw has the process go on: the kernel kept its packets, and they are
// received before time goes on for it.
func (p *pair) thaw(s *side) {
	s.frozen = false
	inbox := s.inbox
	s.inbox = nil
	for _, f := range inbox {
		p.deliver(s, f)
	}
}

func (p *pair) bothUp() bool { return p.sides[0].state == Up && p.sides[1].state == Up }

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func describe(p Packet) string {
	s := p.State.String()
	for _, f := range []struct {
		on   bool
		name string
	}{{p.Poll, " Poll"}, {p.Final, " Final"}, {p.YourDiscriminator == 0, " to nobody"}} {
		if f.on {
			s += f.name
		}
	}
	s += fmt.Sprintf(" tx %s rx %s", p.DesiredMinTx, p.RequiredMinRx)
	if p.RequiredMinEchoRx > 0 {
		s += fmt.Sprintf(" echo %s", p.RequiredMinEchoRx)
	}
	return fmt.Sprintf("%s x%d", s, p.DetectMult)
}

func (p *pair) randomConfig() Config {
	intervals := []time.Duration{10, 20, 50, 100, 300, 1000, 2000}
	pick := func() time.Duration { return intervals[p.rng.IntN(len(intervals))] * time.Millisecond }
	return Config{
		TransmitInterval: pick(), ReceiveInterval: pick(), EchoInterval: pick(), Echo: p.rng.IntN(3) == 0,
		DetectMultiplier: []uint8{2, 3, 5, 10}[p.rng.IntN(4)], MinimumTTL: 254,
	}
}

// TestSimulation runs two sessions against each other over a link that loses,
// delays, repeats and reorders, with cuts, freezes, restarts and changes of
// every parameter. A violation prints the seed, and the command that repeats
// it alone.
func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(*runsFlag)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last; seed++ {
		if failure := simulate(seed, t); failure != "" {
			t.Fatalf("%s\nrepeat with: go test ./speaker/bfd -run TestSimulation -seed=%d -narrate", failure, seed)
		}
	}
}

func simulate(seed uint64, t *testing.T) string {
	p := newPair(seed, DefaultConfig(), DefaultConfig())
	if *traceFlag {
		p.packets = true
		p.trace = func(format string, args ...any) { t.Logf("%9.3f "+format, append([]any{p.now.Seconds()}, args...)...) }
	}
	p.delay = p.random(4 * time.Millisecond)
	p.dup = 0.2 * p.rng.Float64()
	for range 8 {
		if p.failure != "" {
			break
		}
		p.settle()
		switch p.rng.IntN(5) {
		case 0, 1:
			p.changeAll()
		case 2:
			p.cutLink()
		case 3:
			p.restart()
		case 4:
			p.chaos()
		}
	}
	return p.failure
}

// settle: with both sides there and the link sound, both are Up within the
// time that slow packets and a session that has to time out first take.
func (p *pair) settle() {
	p.cut = [2]bool{}
	p.loss = 0
	p.mayFlap = true
	p.run(30*time.Second + p.longest())
	p.mayFlap = false
	if !p.bothUp() {
		p.fail("sides are %s and %s on a sound link", p.sides[0].state, p.sides[1].state)
	}
	p.run(5 * time.Second)
}

// longest is the longest detection time of the two.
func (p *pair) longest() time.Duration {
	var d time.Duration
	for _, s := range p.sides {
		for _, st := range s.table.Statuses() {
			d = max(d, st.Detection)
		}
	}
	return d
}

// changeAll: no flap on a change of parameters, whatever is changed, on both
// sides at once, one change on the heels of the other. The link keeps the order
// of packets meanwhile: they have no sequence number, and one from before a
// change that arrives after it says what is not so any more.
func (p *pair) changeAll() {
	p.ordered = true
	defer func() { p.ordered = false }()
	for range 1 + p.rng.IntN(4) {
		for _, s := range p.sides {
			if p.rng.IntN(3) > 0 {
				cfg := p.randomConfig()
				p.trace("%s changes to %+v", s.name, cfg)
				p.change(s, cfg)
			}
		}
		p.run(p.random(3 * time.Second))
	}
	p.run(2*p.longest() + 10*time.Second)
	if p.failure != "" {
		return
	}
	// When all is said, both go by what is configured.
	for _, s := range p.sides {
		o := p.sides[1-s.i]
		st := s.table.Statuses()[0]
		rx := o.cfg.ReceiveInterval
		if o.table.Statuses()[0].EchoDetection > 0 {
			rx = max(rx, slow)
		}
		if want := max(s.cfg.TransmitInterval, rx); st.Transmit != want {
			p.fail("%s sends every %s, want %s", s.name, st.Transmit, want)
		}
		if want := time.Duration(s.cfg.DetectMultiplier) * st.Transmit; o.table.Statuses()[0].Detection != want {
			p.fail("%s detects after %s, want %s", o.name, o.table.Statuses()[0].Detection, want)
		}
		if want := s.cfg.Echo && o.cfg.Echo; (st.EchoDetection > 0) != want {
			p.fail("%s has echo %v, want %v", s.name, !want, want)
		}
	}
}

// cutLink: both are Down within the detection time of the last packet, and not
// before it.
func (p *pair) cutLink() {
	p.run(2*p.longest() + 5*time.Second)
	if p.failure != "" {
		return
	}
	var worst time.Duration
	for _, s := range p.sides {
		st := s.table.Statuses()[0]
		s.exact, s.limit = st.EchoDetection == 0, st.Detection
		if !s.exact {
			s.limit = min(s.limit, st.EchoDetection+p.delay)
		}
		worst = max(worst, s.limit+p.delay)
	}
	p.trace("cut")
	p.mayFlap = true
	p.cut = [2]bool{true, true}
	p.changed = func(s *side, c Change) {
		if silent := p.now - s.lastRx; c.From == Up && s.exact && (silent != s.limit || c.Diag != ControlDetectionTimeExpired) {
			p.fail("%s went Down %s after the last packet, detection time %s, %s", s.name, silent, s.limit, c.Diag)
		}
	}
	p.run(worst + time.Nanosecond)
	p.changed = nil
	for _, s := range p.sides {
		if s.state == Up {
			p.fail("%s is Up %s after the cut, detection time %s", s.name, worst, s.limit)
		}
	}
	p.run(p.random(10 * time.Second))
}

// restart: a side that lost all it knew comes Up again.
func (p *pair) restart() {
	s := p.sides[p.rng.IntN(2)]
	p.trace("%s restarts", s.name)
	p.mayFlap = true
	p.stop(s)
	p.run(p.random(5 * time.Second))
	p.start(s)
}

// chaos: a bad link and frozen processes; whatever happens, the rules of
// perform hold.
func (p *pair) chaos() {
	p.mayFlap = true
	for range 5 {
		p.loss = 0.6 * p.rng.Float64()
		s := p.sides[p.rng.IntN(2)]
		switch p.rng.IntN(4) {
		case 0:
			p.trace("%s freezes", s.name)
			p.freeze(s)
			p.run(p.random(3 * time.Second))
			p.trace("%s thaws", s.name)
			p.thaw(s)
		case 1:
			p.cut[s.i] = !p.cut[s.i]
		case 2:
			p.change(s, p.randomConfig())
		case 3:
			p.noEcho = !p.noEcho
		}
		p.run(p.random(3 * time.Second))
	}
	p.noEcho = false
}

// TestFreezeShorterThanDetection: a process that was held up does not take its
// own delay for its peer's silence.
func TestFreezeShorterThanDetection(t *testing.T) {
	for _, withEcho := range []bool{false, true} {
		slowOne := DefaultConfig()
		slowOne.DetectMultiplier = 50 // the other is patient
		quick := DefaultConfig()
		quick.Echo, slowOne.Echo = withEcho, withEcho
		p := newPair(1, slowOne, quick)
		p.mayFlap = true
		p.run(10 * time.Second)
		p.mayFlap = false
		if !p.bothUp() || withEcho != (p.sides[0].table.Statuses()[0].EchoDetection > 0) {
			t.Fatal("not up, or echo does not lead")
		}
		p.freeze(p.sides[0])
		p.run(8 * time.Second)
		p.thaw(p.sides[0])
		p.run(10 * time.Second)
		if p.failure != "" {
			t.Errorf("echo %v: %s", withEcho, p.failure)
		}
	}
}

// TestDeterminism runs one seed twice.
func TestDeterminism(t *testing.T) {
	course := func() []string {
		var out []string
		p := newPair(7, DefaultConfig(), DefaultConfig())
		p.packets = true
		p.trace = func(format string, args ...any) { out = append(out, p.now.String()+fmt.Sprintf(format, args...)) }
		p.loss, p.delay, p.mayFlap = 0.1, 5*time.Millisecond, true
		p.run(20 * time.Second)
		p.chaos()
		return out
	}
	if !slices.Equal(course(), course()) {
		t.Fatal("the same seed gave another course")
	}
}
