package election

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// action is something that happens to a simulated cluster. It does nothing
// where it does not apply, so that any part of a course is a course.
type action struct {
	kind string
	node int
	n    uint64
	wait time.Duration // after it
}

func (a action) String() string {
	return fmt.Sprintf("%s n%d %d %s", a.kind, a.node+1, a.n, a.wait)
}

// The kinds of actions. Faults end with "heal"; planned ones may come at any
// time, and are judged most strictly in a cluster at rest.
var (
	faultKinds = strings.Fields(`crash restart start freeze freeze thaw stand-still cut-gossip cut-lan cut-both join-lan join-lan
		partition link flap leap back lose-api lose-api get-api delete`)
	plannedKinds = strings.Fields(`drain drain start exclude not-ready unavailable include include proxy
		endpoints endpoints no-endpoints share prefer interfaces everywhere select add remove`)
)

// course plans what happens in the cluster of a seed.
func course(seed uint64, rounds, nodes int) []action {
	rng := rand.New(rand.NewPCG(seed, 2))
	some := func(kinds []string, most int, wait time.Duration) (out []action) {
		for range 1 + rng.IntN(most) {
			out = append(out, action{kinds[rng.IntN(len(kinds))], rng.IntN(nodes), rng.Uint64(), time.Duration(rng.Int64N(int64(wait)))})
		}
		return out
	}
	out := []action{{kind: "rest"}}
	if rounds == 0 { // too large for more
		out = append(out, some(faultKinds, 3, 2*time.Second)...)
		return append(out, action{kind: "heal"}, action{kind: "rest"})
	}
	for range rounds {
		if rng.IntN(3) > 0 {
			out = append(out, some(plannedKinds, 5, 6*time.Second)...)
			out = append(out, action{kind: "rest"})
		}
		if rng.IntN(5) > 0 {
			out = append(out, some(faultKinds, 6, 4*time.Second)...)
			if rng.IntN(4) == 0 {
				out = append(out, some(plannedKinds, 3, 2*time.Second)...)
			}
			if rng.IntN(4) == 0 {
				out = append(out, action{kind: "parts"})
			}
			out = append(out, action{kind: "heal"}, action{kind: "rest"})
		}
		if rng.IntN(2) == 0 {
			out = append(out, action{kind: "return", wait: settleTime}, action{kind: "rest"})
		}
	}
	return out
}

func (c *cluster) do(a action) {
	h := c.nodes[a.node%len(c.nodes)]
	up := 0
	for _, o := range c.nodes {
		up += b2i(o.up && o.joined && !o.drains)
	}
	var ip netip.Addr
	if ips := c.sorted(); len(ips) > 0 {
		ip = ips[a.n%uint64(len(ips))]
	}
	c.trace("%s", a)
	switch a.kind {
	case "rest":
		c.rest()
	case "parts":
		c.runFor(partsTime)
		c.checkParts()
	case "heal":
		c.heal()
	case "return":
		for _, o := range c.nodes {
			if !o.up {
				c.start(o)
			}
		}
	case "crash":
		c.stop(h)
	case "restart":
		c.stop(h)
		for _, ip := range c.sorted() {
			if a.n%3 == 0 && !h.behind[ip] { // its node, too
				c.fallBehind(h, ip, time.Duration(a.n%uint64(5*time.Second)))
			}
		}
		c.start(h)
		c.disturb()
	case "start":
		if !h.up {
			c.start(h)
		}
	case "freeze":
		if h.up && !h.frozen {
			c.freeze(h)
		}
	case "thaw":
		if h.frozen {
			c.thaw(h)
		}
	case "stand-still": // a virtual machine that is stopped, and its clock with it
		if h.up && !h.frozen && !h.thawing {
			c.freeze(h)
			c.runFor(time.Duration(a.n % uint64(3*time.Second)))
			h.offset -= h.local(c.now) - h.stopped
			c.thaw(h)
		}
	case "cut-gossip":
		h.gossip = 10 + int(a.n%2)
		c.allMembership()
	case "cut-lan":
		h.lan = 10 + int(a.n%2)
		c.disturb()
	case "cut-both":
		h.gossip, h.lan = 10, 10
		c.allMembership()
	case "join-lan":
		for _, o := range c.nodes {
			o.lan = 0
		}
		c.disturb()
	case "partition":
		for i, o := range c.nodes {
			o.lan = int(a.n >> (i % 64) & 1)
			o.gossip = o.lan
		}
		c.allMembership()
	case "link":
		h.carrier = !h.carrier
		c.link(h)
	case "flap": // some take a node for dead that is not, and find it again
		c.flap(h, a.n)
	case "leap":
		h.offset += time.Duration(a.n % uint64(time.Hour))
		c.disturb()
	case "back":
		h.offset -= time.Duration(a.n % uint64(time.Hour))
		c.disturb()
	case "lose-api":
		h.away = h.up
		c.disturb()
	case "get-api":
		c.getAPI(h)
	case "delete":
		if ip.IsValid() {
			c.deleted = append(c.deleted, c.addresses[ip])
			c.deleteAddress(ip)
			c.disturb()
		}
	case "drain":
		if h.up && h.joined && !h.drains && !h.frozen && up > 1 {
			c.drain(h)
			c.runFor(6 * time.Second)
			if h.drains && h.up && !h.frozen {
				c.fail("%s did not stop", h.name)
			}
		}
	case "exclude":
		c.setNode(h.name, reason.NodeExcluded)
	case "not-ready":
		c.setNode(h.name, reason.NodeNotReady)
	case "unavailable":
		c.setNode(h.name, reason.NetworkUnavailable)
	case "include":
		c.setNode(h.name, "")
	case "proxy":
		h.noProxy = !h.noProxy
		if h.up {
			c.step(h, SetProxy{h.noProxy})
		}
		c.changedNode(h)
	default:
		c.change(a, ip)
	}
	c.runFor(a.wait)
}

// change changes an address.
func (c *cluster) change(a action, ip netip.Addr) {
	if !ip.IsValid() {
		return
	}
	in := c.addresses[ip]
	rng := rand.New(rand.NewPCG(a.n, 3))
	// endpoints are on about half of the nodes, or, seldom, nowhere.
	endpoints := func() map[string]bool {
		on := map[string]bool{}
		for _, h := range c.nodes {
			if rng.IntN(2) == 0 && a.n%16 != 0 {
				on[h.name] = true
			}
		}
		return on
	}
	v := c.everyNode()
	delete(c.sharing, ip)
	switch a.kind {
	case "endpoints":
		in.Local, in.NoEndpoints = endpoints(), false
	case "no-endpoints":
		in.NoEndpoints = !in.NoEndpoints
	case "share": // by two Services that both want their endpoints local
		x, y := endpoints(), endpoints()
		in.Local = map[string]bool{}
		for node := range x {
			if y[node] {
				in.Local[node] = true
			}
		}
		c.sharing[ip] = []map[string]bool{x, y}
	case "prefer":
		for range 1 + rng.IntN(2) {
			v.Nodes[c.nodes[rng.IntN(len(c.nodes))].name] += 1 + rng.IntN(3)
		}
		v.Failback = true
		in.Advertisements = []*Advertisement{v}
	case "interfaces":
		v.Interfaces = [][]string{{"eth0"}, {"eth1"}, {"eth*"}, {"none"}}[rng.IntN(4)]
		in.Advertisements = []*Advertisement{v}
	case "everywhere":
		in.Advertisements, in.Local, in.NoEndpoints = []*Advertisement{v}, nil, false
	case "select":
		for name := range endpoints() {
			delete(v.Nodes, name)
		}
		if in.Advertisements = []*Advertisement{v}; rng.IntN(8) == 0 {
			in.Advertisements = nil
		}
	case "add":
		in = Address{IP: netip.AddrFrom4([4]byte{10, 0, 200, byte(a.n)}), Advertisements: []*Advertisement{v}}
		if _, is := c.addresses[in.IP]; is {
			break // and its proxies know it
		}
		for _, o := range c.nodes {
			if rng.IntN(3) > 0 {
				c.fallBehind(o, in.IP, time.Duration(rng.Int64N(int64(3*time.Second))))
			}
		}
	case "remove":
		if len(c.addresses) > 1 {
			c.deleteAddress(ip)
		}
		return
	}
	c.setAddress(in)
}

func (c *cluster) link(h *host) {
	if h.up {
		c.sense(h)
	}
	c.membership(h)
	c.disturb()
}

// getAPI lets a speaker hear what it missed.
func (c *cluster) getAPI(h *host) {
	if !h.away {
		return
	}
	h.away = false
	for _, event := range h.unheard {
		c.tell(h, event)
	}
	h.unheard = nil
	c.disturb()
}

// flap lets some of the nodes believe for a second or two that one is dead.
func (c *cluster) flap(h *host, which uint64) {
	c.disturb()
	c.wrong = c.now + 2*time.Second
	for i, o := range c.nodes {
		if o == h || which>>(i%64)&1 == 0 || !o.up || o.frozen || o.thawing || !o.views[h.name] {
			continue
		}
		delete(o.views, h.name)
		c.step(o, MemberDown{h.name})
		c.after(time.Second, func() { c.look(o, h) })
	}
}

// heal ends all faults, but what crashed stays down.
func (c *cluster) heal() {
	for _, h := range c.nodes {
		h.gossip, h.lan = 0, 0
		if !h.carrier {
			h.carrier = true
			c.link(h)
		}
		if h.frozen {
			c.thaw(h)
		}
		c.getAPI(h)
	}
	for _, a := range c.deleted {
		c.setAddress(a)
	}
	c.deleted = nil
	if !slices.ContainsFunc(c.nodes, func(h *host) bool { return h.up }) {
		c.start(c.nodes[0])
	}
	c.allMembership()
}

// rest waits until the cluster settled, and then looks on for a while. While
// something is wrong that only "heal" ends, there is no rest.
func (c *cluster) rest() {
	c.runFor(settleTime + settleTime/4)
	if !c.atRest() {
		return
	}
	c.checkOwners()
	c.checkReasons()
	c.runFor(12 * time.Second)
	c.checkOwners()
	c.checkLoad()
	c.checkReasons()
}
