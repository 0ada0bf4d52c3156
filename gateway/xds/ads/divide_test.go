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

const (
	table = "t"
	// toRest is the content that leads to the rest of a table.
	toRest = "to rest"
)

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
	for name, parts := range map[string][]*resource.Part{table: parts, resource.Rest(table): {part("*", toRest)}} {
		set.Put(resource.Compose(resource.Route, name, &routev3.RouteConfiguration{Name: name}, 2, parts))
	}
	return set
}

// dividedClient is a client that serves a table in two route configurations.
type dividedClient struct {
	t       *testing.T
	session *Session
	has     map[string]hosts
	// versions of what it has.
	versions map[string]string
	queue    []*discoveryv3.DeltaDiscoveryResponse
	rests    int // how often it got the rest of the table
	removed  []string
}

func (c *dividedClient) say(req *discoveryv3.DeltaDiscoveryRequest) {
	out, err := c.session.Request(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.queue = append(c.queue, out.Responses...)
}

// receive takes the next response in, or refuses it for a bad virtual host, and
// answers.
func (c *dividedClient) receive() {
	resp := c.queue[0]
	c.queue = c.queue[1:]
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
	c.removed = append(c.removed, resp.RemovedResources...)
	if resp.TypeUrl != string(resource.Route) {
		c.say(answer)
		return
	}
	if len(resp.Resources) > 1 {
		c.t.Fatalf("%d route configurations at once: their order is the client's", len(resp.Resources))
	}
	for _, r := range resp.Resources {
		rc := &routev3.RouteConfiguration{}
		if err := r.Resource.UnmarshalTo(rc); err != nil {
			c.t.Fatal(err)
		}
		h := hosts{}
		for _, v := range rc.VirtualHosts {
			h[v.Domains[0]] = v.Name
			if v.Name == v.Domains[0] {
				h[v.Domains[0]] = "" // no routes
			}
			if strings.HasPrefix(v.Name, "bad") {
				answer.ErrorDetail = &statuspb.Status{Message: v.Name}
			}
		}
		if answer.ErrorDetail != nil {
			continue
		}
		c.versions[r.Name] = r.Version
		if c.has[r.Name] = h; r.Name == resource.Rest(table) {
			c.rests++
		}
	}
	c.say(answer)
}

// answer is what the client answers for a host.
func (c *dividedClient) answer(host string) string {
	if content := c.has[table].of(host); content != toRest {
		return content
	}
	return c.has[resource.Rest(table)].of(host)
}

// connect begins a stream, on which the client names what it has.
func (c *dividedClient) connect() {
	c.session, c.queue = New(), nil
	c.session.limits = limits{whole: 6, changed: 4}
	for _, typ := range []resource.Type{resource.Cluster, resource.Listener} {
		c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ)})
	}
	c.say(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(resource.Route), ResourceNamesSubscribe: []string{table, resource.Rest(table)}, InitialResourceVersions: c.versions,
	})
}

// A client never answers for a host as it did before a change that it had
// taken in, whatever it refuses meanwhile, and comes to answer as is wanted.
func TestDivided(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		c := &dividedClient{t: t, has: map[string]hosts{}, versions: map[string]string{}}
		domain := func() string {
			switch n := random.IntN(12); n {
			case 0:
				return "*"
			case 1:
				return "*.w"
			case 2, 3:
				return fmt.Sprintf("h%d.w", n)
			default:
				return fmt.Sprintf("h%d", n)
			}
		}
		probed := []string{"h2.w", "h3.w", "x.w", "h4", "h5", "h6", "h7", "h8", "h9", "h10", "h11", "x", "m0"}
		wanted := hosts{}
		history := []hosts{{}}
		since := map[string]int{}
		check := func() {
			t.Helper()
			for _, host := range probed {
				got := c.answer(host)
				i := since[host]
				for i < len(history) && history[i].of(host) != got {
					i++
				}
				if i == len(history) {
					t.Fatalf("seed %d: %s is answered by %q, after it was as in snapshot %d of %d", seed, host, got, since[host], len(history))
				}
				since[host] = i
			}
		}
		publish := func() {
			history = append(history, maps.Clone(wanted))
			c.queue = append(c.queue, c.session.Publish(wanted.set()).Responses...)
		}
		settle := func() {
			t.Helper()
			for len(c.queue) > 0 {
				c.receive()
				check()
			}
			for _, host := range probed {
				if got, want := c.answer(host), wanted.of(host); got != want {
					t.Fatalf("seed %d: in the end %s is answered by %q, want %q", seed, host, got, want)
				}
			}
		}
		c.connect()
		for i := range 60 {
			if len(c.queue) > 0 && (c.queue[0].TypeUrl != string(resource.Route) || random.IntN(2) == 0) {
				c.receive()
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
		publish()
		settle()

		// A small table is in one piece.
		clear(wanted)
		for i := range c.session.limits.whole {
			wanted[fmt.Sprintf("h%d", i)] = "few"
		}
		publish()
		settle()
		if first, rest := c.has[table], c.has[resource.Rest(table)]; len(first) != len(wanted) || len(rest) != 1 {
			t.Fatalf("seed %d: for %d hosts, the first has %d and the rest %d; want all, and what leads to the rest", seed, len(wanted), len(first), len(rest))
		}
		// Of a large one, changes of some hosts are a matter of those.
		wanted["*.v"], wanted["a"], wanted["b"] = "some", "some", "some"
		publish()
		settle()
		rests := c.rests
		for _, change := range []func(){
			func() { delete(wanted, "h0") },
			func() { wanted["h1"] = "new" },
			func() { wanted["n"] = "new" },
			func() { wanted["x.v"] = "new" },
		} {
			change()
			publish()
			settle()
		}
		if c.rests != rests {
			t.Fatalf("seed %d: the rest was sent %d times for %d changed hosts", seed, c.rests-rests, c.session.limits.changed)
		}
		wanted["o"] = "new"
		publish()
		settle()
		if c.rests != rests+1 || len(c.has[table]) != 1 {
			t.Fatalf("seed %d: the rest was sent %d times, and %d hosts are looked at before it; want once, and none", seed, c.rests-rests, len(c.has[table])-1)
		}
	}
}

// A client that refuses the rest of a table keeps what it looks at before that,
// so it keeps the clusters that this names.
func TestClustersOfAnOldHalfStay(t *testing.T) {
	c := &dividedClient{t: t, has: map[string]hosts{}, versions: map[string]string{}}
	c.connect()
	publish := func(h hosts, clusters ...string) {
		set := h.set()
		for _, name := range clusters {
			set.Put(made(resource.Cluster, name, "1"))
		}
		c.queue = append(c.queue, c.session.Publish(set).Responses...)
		for len(c.queue) > 0 {
			c.receive()
		}
	}
	wanted := hosts{"a": "one", "b": "one", "c": "one", "d": "one", "e": "one", "f": "one", "g": "one"}
	publish(wanted, "one", "two")
	wanted["a"] = "two"
	publish(wanted, "one", "two")
	wanted["a"], wanted["*"] = "one", "bad"
	publish(wanted, "one")
	if got := c.answer("a"); got != "two" || slices.Contains(c.removed, "two") {
		t.Errorf("a is answered by %q, and these clusters are removed: %v", got, c.removed)
	}
	delete(wanted, "*")
	publish(wanted, "one")
	if got := c.answer("a"); got != "one" || !slices.Contains(c.removed, "two") {
		t.Errorf("at last a is answered by %q, and these clusters are removed: %v", got, c.removed)
	}
}
