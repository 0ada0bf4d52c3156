package ads

import (
	"fmt"
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

const table = "t"

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
	for name, parts := range map[string][]*resource.Part{table: parts, resource.Changed(table): {part("*", "")}} {
		set.Put(resource.Compose(resource.Route, name, &routev3.RouteConfiguration{Name: name}, 2, parts))
	}
	return set
}

// dividedClient is a client that serves a table in two route configurations.
type dividedClient struct {
	t       *testing.T
	session *Session
	has     map[string]hosts
	queue   []*discoveryv3.DeltaDiscoveryResponse
	tables  int // how often it got the table
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
		if c.has[r.Name] = h; r.Name == table {
			c.tables++
		}
	}
	c.say(answer)
}

// answer is what the client answers for a host.
func (c *dividedClient) answer(host string) string {
	if content, ok := c.has[resource.Changed(table)][host]; ok {
		return content
	}
	return c.has[table].of(host)
}

// A client never answers for a host as it did before a change that it had
// taken in, whatever it refuses meanwhile, and comes to answer as is wanted.
func TestDivided(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 0))
		c := &dividedClient{t: t, session: New(), has: map[string]hosts{}}
		many := mostChanged + 40
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
		for _, typ := range []resource.Type{resource.Cluster, resource.Listener} {
			c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ)})
		}
		c.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(resource.Route), ResourceNamesSubscribe: []string{table, resource.Changed(table)}})
		publish := func() {
			copied := hosts{}
			for k, v := range wanted {
				copied[k] = v
			}
			history = append(history, copied)
			c.queue = append(c.queue, c.session.Publish(wanted.set()).Responses...)
		}
		change := func(i int) {
			if d := domain(); random.IntN(4) == 0 {
				delete(wanted, d)
			} else {
				wanted[d] = fmt.Sprintf("c%d", i)
				if random.IntN(8) == 0 {
					wanted[d] = fmt.Sprintf("bad%d", i)
				}
			}
		}
		for i := range 60 {
			if len(c.queue) > 0 && (c.queue[0].TypeUrl != string(resource.Route) || random.IntN(2) == 0) {
				c.receive()
				check()
				continue
			}
			if random.IntN(10) == 0 {
				for m := range many {
					wanted[fmt.Sprintf("m%d", m)] = fmt.Sprintf("c%d", i)
				}
			}
			change(i)
			publish()
		}
		for d, content := range wanted {
			wanted[d] = strings.TrimPrefix(content, "bad")
		}
		publish()
		for len(c.queue) > 0 {
			c.receive()
			check()
		}
		for _, host := range probed {
			if got, want := c.answer(host), wanted.of(host); got != want {
				t.Fatalf("seed %d: in the end %s is answered by %q, want %q", seed, host, got, want)
			}
		}
		if seed > 0 {
			continue
		}
		// Once nothing stands before the table, new hosts are a matter of theirs.
		wanted["*"] = "last"
		publish()
		for len(c.queue) > 0 {
			c.receive()
		}
		tables := c.tables
		for i := range mostChanged {
			wanted[fmt.Sprintf("n%d", i)] = "new"
			publish()
			for len(c.queue) > 0 {
				c.receive()
			}
		}
		if c.tables != tables {
			t.Fatalf("seed %d: the table was sent %d times for %d new hosts", seed, c.tables-tables, mostChanged)
		}
		wanted["n"] = "new"
		publish()
		for len(c.queue) > 0 {
			c.receive()
		}
		if c.tables != tables+1 || len(c.has[resource.Changed(table)]) != 1 {
			t.Fatalf("seed %d: the table was sent %d times, and %d hosts stand before it; want once, and none", seed, c.tables-tables, len(c.has[resource.Changed(table)])-1)
		}
	}
}
