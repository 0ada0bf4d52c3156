package ads

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// hosts are virtual hosts by domain; the content is a word.
type hosts map[string]string

// of returns the content that answers for a host, as Envoy chooses it.
func (h hosts) of(host string) string {
	if c, ok := h[host]; ok {
		return c
	}
	best := ""
	for domain := range h {
		if suffix, wild := strings.CutPrefix(domain, "*"); wild && strings.HasSuffix(host, suffix) && len(domain) > len(best) {
			best = domain
		}
	}
	return h[best]
}

// tables have the same virtual hosts, so that some responses are about both.
var tables = []string{"t", "u"}

// toRest is the content that leads to the rest of a table.
const toRest = "to rest"

// set returns a snapshot, in which each content is a cluster, too.
func (h hosts) set() resource.Set {
	part := func(domain, content string) *resource.Part {
		return resource.NewPart(domain, &routev3.VirtualHost{Name: content, Domains: []string{domain}})
	}
	var parts []*resource.Part
	for domain, content := range h {
		parts = append(parts, part(domain, content))
	}
	slices.SortFunc(parts, func(a, b *resource.Part) int { return strings.Compare(a.Name, b.Name) })
	set := resource.Set{}
	for _, content := range h {
		set.Put(made(resource.Cluster, content, "1"))
	}
	for _, table := range tables {
		for name, parts := range map[string][]*resource.Part{table: parts, resource.Rest(table): {part("*", toRest)}} {
			set.Put(resource.Compose(resource.Route, name, &routev3.RouteConfiguration{Name: name}, 2, parts))
		}
	}
	return set
}

// dividedClient is a client that serves each table in two route configurations.
type dividedClient struct {
	t       *testing.T
	random  *rand.Rand
	session *Session
	has     map[string]hosts
	// versions of what it has.
	versions map[resource.Type]map[string]string
	queue    []*discoveryv3.DeltaDiscoveryResponse
	sent     []string // the route configurations that it got
	fussy    bool     // it refuses some that have virtual hosts, for no reason
}

func newDividedClient(t *testing.T, seed uint64) *dividedClient {
	c := &dividedClient{t: t, random: rand.New(rand.NewPCG(seed, 0)), has: map[string]hosts{},
		versions: map[resource.Type]map[string]string{resource.Cluster: {}, resource.Route: {}}}
	c.connect()
	return c
}

func (c *dividedClient) say(req *discoveryv3.DeltaDiscoveryRequest) {
	out, err := c.session.Request(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.queue = append(c.queue, out.Responses...)
}

// receive takes the next response in, except route configurations that it
// refuses, as those with a bad virtual host, calls seen after each that it takes,
// and returns its answer.
func (c *dividedClient) receive(seen func()) (answer *discoveryv3.DeltaDiscoveryRequest) {
	resp := c.queue[0]
	c.queue = c.queue[1:]
	answer = &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
	versions := c.versions[resource.Type(resp.TypeUrl)]
	for _, name := range resp.RemovedResources {
		delete(versions, name)
	}
	c.random.Shuffle(len(resp.Resources), func(i, j int) {
		resp.Resources[i], resp.Resources[j] = resp.Resources[j], resp.Resources[i]
	})
	got := map[string]bool{}
	for _, r := range resp.Resources {
		if resp.TypeUrl != string(resource.Route) {
			versions[r.Name] = r.Version
			continue
		}
		table, _ := resource.RestOf(r.Name)
		if got[table] {
			c.t.Fatalf("both halves of %s at once: their order is the client's", table)
		}
		got[table] = true
		c.sent = append(c.sent, r.Name)
		rc := &routev3.RouteConfiguration{}
		if err := r.Resource.UnmarshalTo(rc); err != nil {
			c.t.Fatal(err)
		}
		h, bad := hosts{}, c.fussy && len(rc.VirtualHosts) > 1 && c.random.IntN(10) == 0
		for _, v := range rc.VirtualHosts {
			h[v.Domains[0]] = v.Name
			if v.Name == v.Domains[0] {
				h[v.Domains[0]] = "" // no routes
			}
			if strings.HasPrefix(v.Name, "bad") {
				bad = true
			}
		}
		if bad {
			answer.ErrorDetail = &statuspb.Status{Message: r.Name}
			continue
		}
		c.has[r.Name], versions[r.Name] = h, r.Version
		seen()
	}
	return answer
}

// settle has everything answered, and calls seen after each step.
func (c *dividedClient) settle(seen func()) {
	for len(c.queue) > 0 {
		c.say(c.receive(seen))
		seen()
	}
}

// publish has a snapshot sent.
func (c *dividedClient) publish(h hosts) {
	c.queue = append(c.queue, c.session.Publish(h.set()).Responses...)
}

// answer is what the client answers for a host of a table.
func (c *dividedClient) answer(table, host string) string {
	if content := c.has[table].of(host); content != toRest {
		return content
	}
	return c.has[resource.Rest(table)].of(host)
}

// connect begins a stream, on which the client names what it has.
func (c *dividedClient) connect() {
	c.session, c.queue = New(), nil
	c.session.limits = limits{whole: 6, changed: 4}
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(resource.Cluster), InitialResourceVersions: c.versions[resource.Cluster]})
	c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(resource.Listener)})
	routes := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(resource.Route), InitialResourceVersions: c.versions[resource.Route]}
	for _, table := range tables {
		routes.ResourceNamesSubscribe = append(routes.ResourceNamesSubscribe, table, resource.Rest(table))
	}
	c.say(routes)
}

// A client never answers for a host as it did before a change that it had
// taken in, nor as was never wanted, whatever it refuses and whichever streams
// are lost meanwhile. It has the cluster that it answers with, and comes to
// answer as is wanted.
func TestDivided(t *testing.T) {
	for seed := range uint64(500) {
		c := newDividedClient(t, seed)
		random := c.random
		c.fussy = random.IntN(2) == 0
		domain := func() string {
			switch n := random.IntN(14); n {
			case 0:
				if random.IntN(2) == 0 {
					return "*"
				}
				return "*.w"
			case 1, 2, 3:
				return fmt.Sprintf("h%d.w", n)
			default:
				return fmt.Sprintf("h%d", n)
			}
		}
		probed := []string{"h1.w", "h2.w", "h3.w", "x.w", "h4", "h5", "h6", "h7", "h8", "h9", "h10", "h11", "h12", "h13", "x", "m0"}
		wanted := hosts{}
		history := []hosts{{}}
		since := map[string]int{}
		check := func() {
			t.Helper()
			for _, table := range tables {
				for _, host := range probed {
					got := c.answer(table, host)
					if _, ok := c.versions[resource.Cluster][got]; got != "" && !ok {
						t.Fatalf("seed %d: %s of %s is answered by %q, a cluster that is not there", seed, host, table, got)
					}
					i := since[table+host]
					for i < len(history) && history[i].of(host) != got {
						i++
					}
					if i == len(history) {
						t.Fatalf("seed %d: %s of %s is answered by %q, after it was as in snapshot %d of %d", seed, host, table, got, since[table+host], len(history))
					}
					since[table+host] = i
				}
			}
		}
		publish := func() {
			history = append(history, maps.Clone(wanted))
			c.publish(wanted)
		}
		settle := func() {
			t.Helper()
			c.settle(check)
			for _, table := range tables {
				for _, host := range probed {
					if got, want := c.answer(table, host), wanted.of(host); got != want {
						t.Fatalf("seed %d: in the end %s of %s is answered by %q, want %q", seed, host, table, got, want)
					}
				}
			}
		}
		for i := range 80 {
			if len(c.queue) > 0 && (c.queue[0].TypeUrl != string(resource.Route) || random.IntN(2) == 0) {
				c.say(c.receive(check))
				check()
				continue
			}
			switch random.IntN(20) {
			case 0, 1:
				for m := range 6 {
					wanted[fmt.Sprintf("m%d", m)] = fmt.Sprintf("c%d", i)
				}
			case 2:
				for m := range 6 {
					delete(wanted, fmt.Sprintf("m%d", m))
				}
			case 3:
				if len(c.queue) > 0 && random.IntN(2) == 0 {
					c.receive(check) // the answer is lost
				}
				c.connect()
			}
			if d := domain(); random.IntN(4) == 0 {
				delete(wanted, d)
			} else {
				wanted[d] = fmt.Sprintf("c%d", i)
				if random.IntN(8) == 0 {
					wanted[d] = fmt.Sprintf("bad%d", i)
				}
			}
			publish()
		}
		for d, content := range wanted {
			wanted[d] = strings.TrimPrefix(content, "bad")
		}
		c.fussy, wanted["last"] = false, "last"
		publish()
		settle()

		// Of a small table nothing is left in the rest.
		clear(wanted)
		wanted["last"] = "least"
		publish()
		settle()
		if got := slices.Collect(maps.Keys(c.versions[resource.Cluster])); !slices.Equal(got, []string{"least"}) {
			t.Fatalf("seed %d: in the end there are clusters %v", seed, got)
		}
	}
}

// What is sent of a large table is a matter of the hosts that have changed. The
// change that is one too many goes out as any other, before the rest does.
func TestWhatIsSentOfATable(t *testing.T) {
	c := newDividedClient(t, 0)
	table, rest := tables[0], resource.Rest(tables[0])
	wanted := hosts{}
	for i := range c.session.limits.whole {
		wanted[fmt.Sprintf("h%d", i)] = "few"
	}
	change := func(host, content string) {
		if wanted[host] = content; content == "" {
			delete(wanted, host)
		}
		c.publish(wanted)
	}
	// next takes in what is there until it is about routes, and says what of them.
	next := func(want ...string) {
		t.Helper()
		for c.sent = nil; len(c.queue) > 0 && len(c.sent) == 0; {
			c.say(c.receive(func() {}))
		}
		var sent []string
		for _, name := range c.sent {
			if strings.HasPrefix(name, table) {
				sent = append(sent, name)
			}
		}
		if !slices.Equal(sent, want) {
			t.Fatalf("sent %v, want %v", sent, want)
		}
		for host, content := range wanted {
			if got := c.answer(table, host); got != content {
				t.Fatalf("%s is answered by %q, want %q", host, got, content)
			}
		}
	}
	before := func(want int) {
		t.Helper()
		if got := len(c.has[table]) - 1; got != want {
			t.Fatalf("%d hosts are looked at before the rest, want %d", got, want)
		}
	}
	c.publish(wanted)
	for len(c.queue) > 0 {
		c.say(c.receive(func() {}))
	}
	if first, rest := c.has[table], c.has[rest]; len(first) != len(wanted) || len(rest) != 1 {
		t.Fatalf("for %d hosts, the first has %d and the rest %d; want all, and what leads to the rest", len(wanted), len(first), len(rest))
	}

	// It becomes large.
	change("*.v", "some")
	c.sent = nil
	c.settle(func() {})
	before(0)
	for _, host := range []string{"h0", "h1", "n", "x.v"} {
		change(host, "new")
		next(table)
		next()
	}
	before(4)

	// One change too many, and one while the rest is on its way.
	change("o", "new")
	next(table)
	before(5)
	if len(c.queue) != 1 {
		t.Fatalf("%d responses on their way, want the rest", len(c.queue))
	}
	wanted["h0"] = "newer"
	c.publish(wanted)
	wanted["h0"] = "new" // as yet
	next(rest)
	wanted["h0"] = "newer"
	next(table)
	before(1)
	next()

	// A wildcard cannot be looked at before the rest.
	change("*.v", "other")
	c.sent = nil
	c.settle(func() {})
	before(0)
}

// A client that refuses the rest of a table keeps what it looks at before that,
// so it keeps the clusters that this names.
func TestClustersOfAnOldHalfStay(t *testing.T) {
	c := newDividedClient(t, 0)
	publish := func(h hosts) {
		c.publish(h)
		c.settle(func() {})
	}
	has := func(cluster string) bool {
		_, ok := c.versions[resource.Cluster][cluster]
		return ok
	}
	wanted := hosts{"a": "one", "b": "one", "c": "one", "d": "one", "e": "one", "f": "one", "g": "one"}
	publish(wanted)
	wanted["a"] = "two"
	publish(wanted)
	wanted["a"], wanted["*"] = "one", "bad"
	publish(wanted)
	if got := c.answer(tables[0], "a"); got != "two" || !has("two") {
		t.Errorf("a is answered by %q, and that cluster is there: %v", got, has("two"))
	}
	delete(wanted, "*")
	publish(wanted)
	if got := c.answer(tables[0], "a"); got != "one" || has("two") {
		t.Errorf("at last a is answered by %q, and the cluster of before is there: %v", got, has("two"))
	}
}
