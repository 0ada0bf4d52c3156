package election

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// This file states the properties of the package as invariants of a simulated
// cluster. They are judged by what the hosts do, and by what the API, the
// network and the processes really are; never by what an Election believes,
// but for what it explains.
//
// Words: a cluster is whole while gossip and segments are, nothing is frozen, no
// membership is wrong and every speaker has the API; it is at rest when it
// was whole, and none of that changed, for the settle time. What stays down
// does no harm to either, nor do planned changes: drains, returning nodes,
// exclusion, readiness, advertisements, endpoints.
//
//  1. (checkOwners) At rest, and the settle time after the last planned change: an
//     address that some node may announce is answered for by exactly one, which
//     may, on exactly the interfaces that it may. An address that no node may
//     announce is answered for by one at most, and that for a soft reason. In a
//     cluster that is cut for long, the first holds for each part of the segment
//     (checkParts).
//  2. (checkStep) At no step two hosts answer that hear each other, and have
//     done so for resolveTime since the later of its begin and the last change
//     of the network or of a process; gossip or none. Where announcements are lost,
//     the time begins with the first one that is heard after the last that was
//     lost. (checkThawed) A process that was
//     frozen for longer than Config.Freeze, by its own clock, and has gossip
//     with those who took over, stops within thawTime. (checkBare) On one segment,
//     of two that meet one goes on, or is back after a second.
//  3. (took) In a cluster at rest, a host that begins to answer for an address
//     that another answered for last, and still may, does so within the settle time of a planned
//     change of that other, or of the address, or of one who answered before
//     and left it within that time; or for the sake of load from one
//     above the bound of placing, 9.5 s after the last such move, or because
//     the advertisement fails back to it. With or without faults, and whatever
//     nodes believe of each other: between two events of the world no address
//     begins to be answered for more than mostMoves times.
//  4. (checkLoad) At rest, while a node is above Bound and one of its addresses
//     could go to a node below the bound of placing that is preferred no less,
//     the excess of all nodes shrinks every 22 s.
//  5. (checkBare) In a cluster at rest, the last host that answers for an address
//     stops only where no other that was settled may announce it. (checkSend)
//     At any time: a claim that says that its sender answers is sent only by one
//     that does already, or whose proxy does not know the address.
//  6. (checkOwners) Services that share an address are one Address with one
//     claim. Its owner has endpoints of each of them that wants them local.
//  7. (checkReasons) At rest, every speaker names the owner that is, the same
//     writer, all other nodes, and for each the reason that truth has; and for
//     the address the reason that follows from those.
//  8. (perform) A host never answers for an address that its proxy does not know.
const (
	// settleTime: the detector of the simulation takes 700 ms, three candidates
	// may be staggered, and a lost delta waits for a push/pull.
	settleTime = 8 * time.Second
	// partsTime is the settle time of a cluster that stays cut: one that
	// deferred to another that left waits for it, twice.
	partsTime = 16 * time.Second
	// resolveTime is 2 s by the slowest clock.
	resolveTime = 2*time.Second + 100*time.Millisecond
	// thawTime is one exchange, and the ticks around it.
	thawTime  = 300 * time.Millisecond
	mostMoves = 16
)

// truth is what is so in a cluster, whoever believes it.
type truth struct {
	disturbed time.Duration // last change of the network or of a process
	unplanned time.Duration // last fault
	planned   time.Duration // last planned change
	wrong     time.Duration // until when somebody's membership is wrong
	// doubles are the addresses that two hosts of one segment answer for,
	// since when; seen is when one was heard by the other.
	doubles, seen map[netip.Addr]time.Duration
	answerers     map[netip.Addr][]*host
	last          map[netip.Addr]*host // who began to answer last
	nodeChanged   map[*host]time.Duration
	ipChanged     map[netip.Addr]time.Duration
	cause         map[netip.Addr]time.Duration // of its moves: the last planned change
	movesOf       map[netip.Addr]int           // since the last event of the world
	rebalanced    time.Duration
	checked       time.Duration // for doubles
}

func newTruth() truth {
	return truth{
		doubles: map[netip.Addr]time.Duration{}, seen: map[netip.Addr]time.Duration{},
		answerers: map[netip.Addr][]*host{}, last: map[netip.Addr]*host{},
		nodeChanged: map[*host]time.Duration{}, ipChanged: map[netip.Addr]time.Duration{}, movesOf: map[netip.Addr]int{},
		cause:      map[netip.Addr]time.Duration{},
		rebalanced: -time.Hour,
	}
}

// disturb notes a fault, or the end of one.
func (c *cluster) disturb() {
	c.disturbed, c.unplanned = c.now, c.now
	clear(c.movesOf)
	for ip := range c.answerers {
		c.answersChanged(ip)
	}
}

// changedNode notes a planned change of what a node may do.
func (c *cluster) changedNode(h *host) {
	c.nodeChanged[h], c.planned = c.now, c.now
	clear(c.movesOf)
}

func (c *cluster) changedAddress(ip netip.Addr) {
	c.ipChanged[ip], c.planned = c.now, c.now
	delete(c.movesOf, ip)
}

func (c *cluster) whole() bool {
	return c.now >= c.wrong && !slices.ContainsFunc(c.nodes, func(h *host) bool {
		return h.up && (h.frozen || h.thawing || h.gossip != 0 || h.lan != 0 || !h.carrier || h.away)
	})
}

func (c *cluster) atRest() bool {
	return c.now-max(c.unplanned, c.wrong) > settleTime && c.whole()
}

// why says why a host may not announce an address; it is empty where it may.
func (c *cluster) why(a *Address, h *host) reason.Reason {
	selected := false
	for _, v := range a.Advertisements {
		if _, ok := v.Nodes[h.name]; ok {
			selected = true
		}
	}
	switch r := c.api[h.name]; {
	case a.NoEndpoints:
		return reason.NoEndpoints
	case !selected:
		return reason.SelectorMismatch
	case r == reason.NodeExcluded:
		return r
	case !h.up || !h.joined:
		return reason.SpeakerDown
	case r != "":
		return r
	case h.drains:
		return reason.NodeDraining
	case h.noProxy:
		return reason.ProxyUnhealthy
	case len(c.on(a, h)) == 0:
		return reason.NoSubnet
	case a.Local != nil && !a.Local[h.name]:
		return reason.NoLocalEndpoint
	}
	return ""
}

// on lists the interfaces that a host may announce an address on.
func (c *cluster) on(a *Address, h *host) (names []string) {
	if !h.carrier {
		return nil
	}
	for _, nic := range h.nics {
		may := false
		for _, v := range a.Advertisements {
			if _, ok := v.Nodes[h.name]; !ok {
				continue
			}
			if len(v.Interfaces) == 0 {
				may = may || nic.Prefixes[0].Contains(a.IP)
			}
			for _, glob := range v.Interfaces {
				may = may || glob == nic.Name || strings.HasSuffix(glob, "*") && strings.HasPrefix(nic.Name, strings.TrimSuffix(glob, "*"))
			}
		}
		if may {
			names = append(names, nic.Name)
		}
	}
	return names
}

// answersChanged keeps answerers and doubles.
func (c *cluster) answersChanged(ip netip.Addr) {
	owners := c.owners(ip)
	double := false
	for i, a := range owners {
		double = double || slices.ContainsFunc(owners[i+1:], func(b *host) bool { return c.meet(a, b, ip) })
	}
	if _, was := c.doubles[ip]; double && !was {
		c.doubles[ip] = c.now
	} else if !double {
		delete(c.doubles, ip)
	}
}

// meet says whether two hosts answer on one segment, and hear each other.
func (c *cluster) meet(a, b *host, ip netip.Addr) bool {
	return c.hear(a, b) && slices.ContainsFunc(a.answers[ip], func(name string) bool { return slices.Contains(b.answers[ip], name) })
}

// setAnswer notes that a host answers, or that it stops: names is empty.
func (c *cluster) setAnswer(h *host, ip netip.Addr, names []string) {
	hosts := c.answerers[ip]
	i := slices.Index(hosts, h)
	switch {
	case len(names) == 0:
		delete(h.answers, ip)
		if i >= 0 {
			c.answerers[ip] = slices.Delete(hosts, i, i+1)
		}
	default:
		h.answers[ip] = names
		if i < 0 {
			c.answerers[ip] = append(hosts, h)
		}
	}
	c.answersChanged(ip)
}

// owners lists who answers for an address, of the hosts that run.
func (c *cluster) owners(ip netip.Addr) []*host {
	var out []*host
	for _, h := range c.answerers[ip] {
		if h.up && !h.frozen {
			out = append(out, h)
		}
	}
	return out
}

// checkStep is what must hold after every step, beside what is checked where
// it happens: property 2.
func (c *cluster) checkStep() {
	if c.now-c.checked < 10*time.Millisecond {
		return // not each of thousands of steps within that, of thousands of addresses
	}
	c.checked = c.now
	for ip, since := range c.doubles {
		begin := max(since, c.disturbed)
		if c.now-begin <= resolveTime {
			continue
		}
		if c.lanLoss > 0 {
			seen, ok := c.seen[ip]
			if !ok || seen < since {
				continue
			}
			begin = max(begin, seen)
		}
		if c.now-begin > resolveTime {
			c.fail("property 2: %s answer for %s since %s", names(c.owners(ip)), ip, begin)
		}
	}
}

// checkThawed comes with the end of a freeze: property 2.
func (c *cluster) checkThawed(h *host) {
	if h.local(c.now)-h.stopped < 1500*time.Millisecond {
		return // too short, or its clock stood still, too
	}
	thawed, run := c.now, h.run
	others := map[netip.Addr]*host{}
	for ip := range h.answers {
		for _, o := range c.owners(ip) {
			if o != h && c.meet(h, o, ip) && c.talk(h, o) && h.views[o.name] && o.views[h.name] {
				others[ip] = o
			}
		}
	}
	c.after(thawTime, func() {
		for ip, o := range others {
			if c.disturbed == thawed && h.run == run && len(h.answers[ip]) > 0 && len(o.answers[ip]) > 0 {
				c.fail("property 2: %s thawed and answers for %s beside %s", h.name, ip, o.name)
			}
		}
	})
}

// took judges that a host begins to answer: property 3.
func (c *cluster) took(h *host, ip netip.Addr, moves []Move) {
	if c.movesOf[ip]++; c.movesOf[ip] > mostMoves {
		c.fail("property 3: %s moved %d times and nothing had happened", ip, c.movesOf[ip])
	}
	was := c.last[ip]
	for _, o := range c.owners(ip) {
		if o != h {
			was = o
		}
	}
	c.last[ip] = h
	i := slices.IndexFunc(moves, func(m Move) bool { return m.IP == ip && m.To == h.name })
	if was == nil || was == h || i < 0 {
		return
	}
	a, cause := c.addresses[ip], moves[i].Cause
	if cause == CauseRebalance {
		if c.now-c.rebalanced < 9500*time.Millisecond && c.atRest() {
			c.fail("property 3: moves for the sake of load at %s and %s", c.rebalanced, c.now)
		}
		c.rebalanced = c.now
	}
	c.cause[ip] = max(c.cause[ip], c.nodeChanged[was], c.ipChanged[ip])
	switch {
	case !c.atRest() || c.now-c.cause[ip] < settleTime:
		return
	case c.why(&a, was) != "":
		return // nobody could follow before
	case cause == CauseRebalance && c.now-c.planned < settleTime:
		return // the mean that it is held against may not be known to it yet
	case cause == CauseRebalance && len(was.answers) > placeBound(len(c.addresses), len(c.able())):
		return
	case cause == CauseFailback && a.failback() && a.preference(h.name) >= a.preference(was.name):
		return
	}
	c.fail("property 3: %s moved from %s to %s: %s", ip, was.name, h.name, cause)
}

// able are the hosts that may announce anything.
func (c *cluster) able() []*host {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(h *host) bool {
		return !h.up || !h.joined || c.api[h.name] != "" || h.drains || h.noProxy
	})
}

// checkBare judges that a running host stops to answer: properties 2 and 5.
func (c *cluster) checkBare(h *host, ip netip.Addr) {
	if a := h.e.addresses[ip]; a != nil && a.claim.Phase == Deferred && len(c.owners(ip)) == 1 && c.owners(ip)[0] == h &&
		c.now-c.disturbed > 100*time.Millisecond && !slices.ContainsFunc(c.nodes, func(o *host) bool { return len(o.nics) > 1 }) {
		disturbed, run, changed := c.disturbed, h.run, c.planned
		c.after(1100*time.Millisecond, func() {
			if c.disturbed == disturbed && h.run == run && c.planned == changed && len(c.owners(ip)) == 0 {
				c.fail("property 2: %s yielded %s, and nobody answers", h.name, ip)
			}
		})
	}
	a, wanted := c.addresses[ip]
	if !wanted || !c.atRest() || slices.ContainsFunc(c.owners(ip), func(o *host) bool { return o != h }) {
		return
	}
	for _, o := range c.nodes {
		if o != h && c.why(&a, o) == "" && c.now-c.nodeChanged[o] > settleTime {
			c.fail("property 5: %s stops, %s may announce %s, and nobody answers", h.name, o.name, ip)
		}
	}
}

// checkSend judges what a host tells: property 5.
func (c *cluster) checkSend(h *host, m Message) {
	for _, claim := range m.Claims {
		a, wanted := c.addresses[claim.Address]
		if claim.Node == h.name && claim.Phase >= Offered && len(h.answers[claim.Address]) == 0 &&
			wanted && h.e.suspended == 0 && claim.Run == h.e.states[h.name].Run && !h.behind[claim.Address] && len(c.on(&a, h)) > 0 && h.e.addresses[claim.Address] != nil {
			c.fail("property 5: %s tells that it answers for %s and does not", h.name, claim.Address)
		}
	}
}

// checkOwners: properties 1 and 6.
func (c *cluster) checkOwners() {
	for _, ip := range c.sorted() {
		a, owners := c.addresses[ip], c.owners(ip)
		may := slices.ContainsFunc(c.nodes, func(h *host) bool { return c.why(&a, h) == "" })
		switch {
		case len(owners) > 1 || may && len(owners) == 0:
			c.fail("property 1: %d owners of %s: %s", len(owners), ip, names(owners))
		case len(owners) == 0:
		case may && c.why(&a, owners[0]) != "", !may && !soft(c.why(&a, owners[0])):
			c.fail("property 1: %s answers for %s: %s", owners[0].name, ip, c.why(&a, owners[0]))
		case !slices.Equal(owners[0].answers[ip], c.on(&a, owners[0])):
			c.fail("property 1: %s answers for %s on %s, not %s", owners[0].name, ip, owners[0].answers[ip], c.on(&a, owners[0]))
		}
		if len(owners) == 1 {
			for _, endpoints := range c.sharing[ip] {
				if !endpoints[owners[0].name] && may {
					c.fail("property 6: %s answers for %s and has no endpoint of a Service that shares it", owners[0].name, ip)
				}
			}
		}
	}
}

// checkParts: property 1 in a cluster that stays cut. Parts of the segment
// whose speakers talk across the cut have one owner together.
func (c *cluster) checkParts() {
	parts := map[int][]*host{}
	for _, h := range c.nodes {
		parts[h.lan] = append(parts[h.lan], h)
	}
	for _, part := range parts {
		apart := !slices.ContainsFunc(part, func(h *host) bool {
			return slices.ContainsFunc(c.nodes, func(o *host) bool { return o.lan != h.lan && o.gossip == h.gossip })
		})
		for _, ip := range c.sorted() {
			a, may := c.addresses[ip], false
			var owners []*host
			for _, h := range part {
				may = may || !h.frozen && !h.away && c.why(&a, h) == ""
				if h.up && !h.frozen && len(h.answers[ip]) > 0 {
					owners = append(owners, h)
				}
			}
			if slices.ContainsFunc(owners, func(x *host) bool {
				return slices.ContainsFunc(owners, func(y *host) bool { return x != y && c.meet(x, y, ip) })
			}) {
				c.fail("property 1: %s answer for %s in one part", names(owners), ip)
			}
			if apart && may && len(owners) == 0 {
				c.fail("property 1: nobody answers for %s in the part of %s", ip, names(part))
			}
		}
	}
}

// movable counts what nodes have above the bound, of that which could go.
func (c *cluster) movable() int {
	able := c.able()
	bound, room := Bound(len(c.addresses), len(able)), placeBound(len(c.addresses), len(able))
	n := 0
	for _, h := range able {
		could := 0
		for ip := range h.answers {
			a := c.addresses[ip]
			if len(h.answers) > bound && slices.ContainsFunc(able, func(o *host) bool {
				return o != h && c.why(&a, o) == "" && len(o.answers) < room && a.preference(o.name) >= a.preference(h.name)
			}) {
				could++
			}
		}
		n += max(0, min(could, len(h.answers)-bound))
	}
	return n
}

// checkLoad: property 4. It lets the rebalancing finish, or do its first steps
// where there are many.
func (c *cluster) checkLoad() {
	for before, tries := c.movable(), 40/len(c.nodes); before > 0 && tries >= 0 && c.failure == ""; tries-- {
		c.runFor(22 * time.Second) // an offer may be lost, and wait for a push/pull
		after := c.movable()
		if after >= before {
			c.fail("property 4: %d addresses too many on some nodes, and nothing moves", after)
		}
		before = after
	}
}

// checkReasons: property 7, by a few speakers on a few addresses where there
// are many.
func (c *cluster) checkReasons() {
	if n := len(c.moves); n > 0 && c.now-c.moves[n-1].at < time.Second {
		c.runFor(time.Second) // a move for the sake of load is still being told
	}
	every := 1 + len(c.nodes)*len(c.nodes)*len(c.addresses)/100_000
	k := 0
	writer := ""
	for _, h := range c.nodes {
		if !h.up || !h.joined {
			continue
		}
		if w := h.e.Writer(); writer == "" {
			writer = w
		} else if w != writer {
			c.fail("property 7: %s has %s write, another %s", h.name, w, writer)
		}
		for _, ip := range c.sorted() {
			if k++; k%every == 0 {
				c.checkVerdict(h, ip)
			}
		}
	}
}

func (c *cluster) checkVerdict(h *host, ip netip.Addr) {
	v, known := h.e.Explain(ip)
	owner := ""
	if owners := c.owners(ip); len(owners) == 1 {
		owner = owners[0].name
	}
	if !known || v.Owner != owner || owner != "" && v.Writer != owner {
		c.fail("property 7: %q answers for %s, %s believes %q, and %s writes", owner, ip, h.name, v.Owner, v.Writer)
		return
	}
	a := c.addresses[ip]
	reasons := map[string]reason.Reason{}
	for _, n := range v.Nodes {
		reasons[n.Node] = n.Reason
	}
	common, differ := reason.Reason(""), false
	for _, o := range c.nodes {
		want := c.why(&a, o)
		if want != reason.SelectorMismatch && want != reason.SpeakerDown {
			differ = differ || common != "" && common != want
			common = want
		}
		if o.name == owner {
			continue
		}
		if want == "" {
			want = reason.NotOwner
		}
		if reasons[o.name] != want {
			c.fail("property 7: %s says of %s on %s: %q, want %s", h.name, ip, o.name, reasons[o.name], want)
		}
	}
	if _, too := reasons[owner]; too || len(reasons) != len(c.nodes)-b2i(owner != "") {
		c.fail("property 7: %s says of %s: %+v", h.name, ip, v)
	}
	want := reason.NoEligibleNode
	switch {
	case owner != "":
		want = reason.Announced
	case len(a.Advertisements) == 0:
		want = reason.NoAdvertisement
	case a.NoEndpoints:
		want = reason.NoEndpoints
	case a.Local != nil && len(a.Local) == 0:
		want = reason.NoLocalEndpoint
	case differ:
	case common == reason.NodeExcluded:
		want = reason.AllNodesExcluded
	case common == reason.NoLocalEndpoint, common == reason.NoSubnet:
		want = common
	}
	if v.Reason != want {
		c.fail("property 7: %s says of %s %s, want %s", h.name, ip, v.Reason, want)
	}
}

func names(hosts []*host) string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.name)
	}
	return fmt.Sprint(out)
}
