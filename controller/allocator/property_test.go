package allocator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"pgregory.net/rapid"
)

// blockTexts are few and small, so that pools overlap and run full.
var blockTexts = []string{
	"10.0.0.0-10.0.0.2", "10.0.0.2-10.0.0.4", "10.0.0.254-10.0.1.1", "10.0.1.1-10.0.1.3", "10.0.2.0/30",
	"fd00::-fd00::2", "fd00::2-fd00::3", "fd00::8/126", "10.0.0.9-10.0.0.1",
}

var requestable = []netip.Addr{
	netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.1.1"),
	netip.MustParseAddr("10.0.0.255"), netip.MustParseAddr("192.0.2.1"),
	netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::9"),
}

func some[T any](t *rapid.T, label string, from []T, most int) []T {
	n := rapid.IntRange(0, most).Draw(t, label)
	var drawn []T
	for range n {
		drawn = append(drawn, rapid.SampledFrom(from).Draw(t, label))
	}
	return drawn
}

func rarely(t *rapid.T, label string) bool { return rapid.IntRange(0, 5).Draw(t, label) == 0 }

func drawPool(t *rapid.T) Pool {
	p := Pool{
		Name:          rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "pool"),
		Created:       time.Unix(rapid.Int64Range(0, 2).Draw(t, "created"), 0),
		Addresses:     append(some(t, "block", blockTexts, 2), rapid.SampledFrom(blockTexts).Draw(t, "block")),
		AvoidBuggyIPs: rarely(t, "buggy"),
		AutoAssign:    !rarely(t, "manual"),
		Drain:         rarely(t, "drain"),
		Priority:      rapid.IntRange(0, 2).Draw(t, "priority"),
	}
	if rarely(t, "excludes") {
		p.Exclude = some(t, "exclude", blockTexts[:8], 1)
	}
	if rarely(t, "limited") {
		p.Namespaces = some(t, "namespaces", []string{"x", "y"}, 1)
		p.NamespaceSelectors = some(t, "selector", []Selector{{{Key: "team", Operator: Exists}}}, 1)
		p.ServiceSelectors = some(t, "services", []Selector{
			{{Key: "app", Operator: In, Values: []string{"a"}}}, {{Key: "app", Operator: "Resembles"}},
		}, 1)
	}
	return p
}

func drawKey(t *rapid.T) Key {
	return Key{
		rapid.SampledFrom([]string{"x", "y"}).Draw(t, "namespace"),
		rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name"),
	}
}

// fields draw each field of a Service that matters.
var fields = map[string]func(*rapid.T, *Service){
	"policy": func(t *rapid.T, s *Service) {
		s.Policy = rapid.SampledFrom([]Policy{SingleStack, PreferDualStack, RequireDualStack}).Draw(t, "policy")
	},
	"families": func(t *rapid.T, s *Service) {
		s.Families = rapid.SampledFrom([][]Family{{IPv4}, {IPv4}, {IPv6}, {IPv4, IPv6}, {IPv6, IPv4}}).Draw(t, "families")
	},
	"pool": func(t *rapid.T, s *Service) {
		if s.Pool = ""; rarely(t, "asks pool") {
			s.Pool = rapid.SampledFrom([]string{"a", "b", "nowhere"}).Draw(t, "asked pool")
		}
	},
	"addresses": func(t *rapid.T, s *Service) {
		if s.Addresses = nil; rarely(t, "asks") {
			s.Addresses = some(t, "asked", requestable, 2)
		}
	},
	"malformed": func(t *rapid.T, s *Service) {
		if s.Malformed = ""; rarely(t, "can be read") && rarely(t, "at all") {
			s.Malformed = "it cannot be read"
		}
	},
	"key": func(t *rapid.T, s *Service) {
		s.SharingKey = rapid.SampledFrom([]string{"", "", "k", "l"}).Draw(t, "key")
	},
	"ports": func(t *rapid.T, s *Service) {
		s.Ports = some(t, "port", []Port{{"TCP", 1}, {"TCP", 2}, {"UDP", 1}}, 2)
	},
	"selector": func(t *rapid.T, s *Service) {
		s.Selector = rapid.SampledFrom([]string{"", "app=a"}).Draw(t, "selector")
	},
	"traffic policy": func(t *rapid.T, s *Service) { s.Local = rarely(t, "local") },
	"labels": func(t *rapid.T, s *Service) {
		if s.Labels = nil; rarely(t, "labelled") {
			s.Labels = map[string]string{"app": "a"}
		}
	},
}

func drawService(t *rapid.T, k Key) Service {
	s := Service{Key: k, Created: time.Unix(rapid.Int64Range(0, 5).Draw(t, "created"), 0)}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fields[name](t, &s)
	}
	if rarely(t, "was recorded") {
		s.Recorded = some(t, "recorded", requestable, 2)
	}
	return s
}

// TestOracle runs random events through an Allocator and the oracle, and
// restarts both between events. They agree on every address and every reason:
// the oracle serves whoever can be served, the oldest first, after every event.
// No address has two holders that may not share it, and a restart changes
// nothing, down to the message.
func TestOracle(t *testing.T) { rapid.Check(t, againstOracle) }

func againstOracle(t *rapid.T) {
	a, o := New(), newOracle()
	decided := map[Key]Decision{}
	t.Repeat(map[string]func(*rapid.T){
		"pool": func(t *rapid.T) {
			p := drawPool(t)
			a.SetPool(p)
			if old, had := o.pools[p.Name]; !had || fmt.Sprint(old) != fmt.Sprint(p) {
				o.setPool(p.Name, &p)
			}
		},
		"delete pool": func(t *rapid.T) {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "pool")
			a.DeletePool(name)
			if _, had := o.pools[name]; had {
				o.setPool(name, nil)
			}
		},
		"service": func(t *rapid.T) { s := drawService(t, drawKey(t)); a.SetService(s); o.adopt(s) },
		"change a service": func(t *rapid.T) {
			s, known := o.services[drawKey(t)]
			if !known {
				return
			}
			name := rapid.SampledFrom(slices.Sorted(maps.Keys(fields))).Draw(t, "field")
			fields[name](t, &s)
			a.SetService(s)
			o.adopt(s)
		},
		"delete service": func(t *rapid.T) {
			k := drawKey(t)
			a.DeleteService(k)
			o.deleteService(k)
			delete(decided, k)
		},
		"namespace": func(t *rapid.T) {
			ns := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "namespace")
			labels := rapid.SampledFrom([]map[string]string{nil, {"team": "a"}}).Draw(t, "labels")
			a.SetNamespace(ns, labels)
			o.setNamespace(ns, labels)
		},
		"restart": func(t *rapid.T) {
			seed := rapid.Uint64().Draw(t, "order")
			a, o = restarted(o, decided, rand.New(rand.NewPCG(seed, 0)))
			for _, d := range a.Changes() {
				if was := decided[d.Service]; !d.equal(was) {
					t.Fatalf("restart: %+v, was %+v", d, was)
				}
			}
		},
		"": func(t *rapid.T) {
			for _, d := range a.Changes() {
				decided[d.Service] = d
			}
			compare(t, o, decided)
			legal(t, o, decided)
			consistent(t, a)
		},
	})
}

// TestOrderOfIndependentEvents has two halves of a cluster, each with pools and
// Services of its own: however their events mix, both end as they do alone.
func TestOrderOfIndependentEvents(t *testing.T) { rapid.Check(t, mixed) }

func mixed(t *rapid.T) {
	type event struct {
		half int
		do   func(*Allocator)
	}
	half := func(i int) []event {
		ns := []string{"x", "y"}[i]
		var es []event
		for range rapid.IntRange(0, 25).Draw(t, "events") {
			e := event{half: i}
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0, 1:
				p := drawPool(t)
				p.Name += ns
				p.Namespaces, p.NamespaceSelectors = []string{ns}, nil
				p.Addresses, p.Exclude = apart(i, p.Addresses), apart(i, p.Exclude)
				e.do = func(a *Allocator) { a.SetPool(p) }
			case 2:
				name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "pool") + ns
				e.do = func(a *Allocator) { a.DeletePool(name) }
			case 3:
				k := Key{ns, drawKey(t).Name}
				e.do = func(a *Allocator) { a.DeleteService(k) }
			default:
				s := drawService(t, Key{ns, drawKey(t).Name})
				if s.Pool != "" {
					s.Pool += ns
				}
				if s.SharingKey != "" {
					s.SharingKey += ns // a key is of the whole cluster
				}
				for j, addr := range s.Addresses {
					s.Addresses[j], _ = address.Parse(apart(i, []string{addr.String()})[0])
				}
				s.Recorded = nil
				e.do = func(a *Allocator) { a.SetService(s) }
			}
			es = append(es, e)
		}
		return es
	}
	halves := [][]event{half(0), half(1)}
	one := New()
	for _, e := range slices.Concat(halves...) {
		e.do(one)
	}
	two := New()
	for len(halves[0])+len(halves[1]) > 0 {
		i := rapid.IntRange(0, 1).Draw(t, "next")
		if len(halves[i]) == 0 {
			i = 1 - i
		}
		halves[i][0].do(two)
		halves[i] = halves[i][1:]
	}
	equal := slices.EqualFunc(one.Changes(), two.Changes(), Decision.equal)
	if equal = equal && slices.EqualFunc(one.PoolChanges(), two.PoolChanges(), PoolState.equal); !equal {
		one.each(func(s *service) { s.reported = nil; one.undecided[s] = struct{}{} })
		two.each(func(s *service) { s.reported = nil; two.undecided[s] = struct{}{} })
		t.Fatalf("one half after the other: %+v\nmixed: %+v", one.Changes(), two.Changes())
	}
}

// apart moves the addresses of the second half to where the first has none.
func apart(half int, texts []string) []string {
	moved := make([]string, len(texts))
	for i, text := range texts {
		if moved[i] = text; half == 1 {
			moved[i] = strings.ReplaceAll(strings.ReplaceAll(text, "10.0.", "10.8."), "fd00:", "fd08:")
		}
	}
	return moved
}

// restarted is an Allocator and an oracle that know nothing but the wishes and
// what was decided, told in a random order.
func restarted(old *oracle, decided map[Key]Decision, r *rand.Rand) (*Allocator, *oracle) {
	a, o := New(), newOracle()
	pools := slices.Sorted(maps.Keys(old.pools))
	r.Shuffle(len(pools), func(i, j int) { pools[i], pools[j] = pools[j], pools[i] })
	for _, name := range pools {
		p := old.pools[name]
		a.SetPool(p)
		o.setPool(name, &p)
	}
	for ns, labels := range old.namespaces {
		a.SetNamespace(ns, labels)
		o.setNamespace(ns, labels)
	}
	all := old.byAge()
	for i := range all {
		all[i].Recorded = decided[all[i].Key].Addresses
	}
	o.adopt(slices.Clone(all)...)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	a.Adopt(all)
	return a, o
}

func compare(t *rapid.T, o *oracle, decided map[Key]Decision) {
	if len(decided) != len(o.services) {
		t.Fatalf("%d Services are decided on, there are %d", len(decided), len(o.services))
	}
	for k := range o.services {
		d := decided[k]
		if want := inOrder(o.services[k], o.held[k]); !slices.Equal(d.Addresses, want) || d.Reason != o.why[k] {
			t.Fatalf("%s has %v, %s (%s); the oracle says %v, %s", k, d.Addresses, d.Reason, d.Message, want, o.why[k])
		}
	}
}

// legal checks that nobody has an address beside somebody with whom it may not
// be shared, or from a pool that is not for it.
func legal(t *rapid.T, o *oracle, decided map[Key]Decision) {
	holders := map[netip.Addr][]Service{}
	for k, d := range decided {
		s := o.services[k]
		for _, addr := range d.Addresses {
			if p, ok := o.poolOf(addr); !ok || o.refused(p, s) != "" {
				t.Fatalf("%s has %s, which is in no pool that is for it", k, addr)
			}
			for _, other := range holders[addr] {
				if why := mayShare(newService(s), newService(other), addr); why != nil {
					t.Fatalf("%s and %s have %s: %s", k, other.Key, addr, why.message)
				}
			}
			holders[addr] = append(holders[addr], s)
		}
	}
}

// consistent checks what must hold in an Allocator between events.
func consistent(t *rapid.T, a *Allocator) {
	for _, p := range a.pools {
		if !p.active() {
			continue
		}
		for f := range families {
			var free, used int64
			for _, addr := range gives(p.Pool) {
				if FamilyOf(addr) != f {
					continue
				}
				_, tenanted := p.tenants[addr]
				_, fresh := p.spaces[f].freshAt(addr)
				_, released := p.spaces[f].at[addr]
				if b2i(tenanted)+b2i(fresh)+b2i(released) != 1 {
					t.Fatalf("%s of pool %s: tenanted %t, fresh %t, released %t", addr, p.Name, tenanted, fresh, released)
				}
				used += int64(b2i(tenanted))
				free += int64(1 - b2i(tenanted))
			}
			u := p.state().Usage[f]
			if u.Assigned.Int64() != used || u.Available.Int64() != free {
				t.Fatalf("pool %s, %s: %v assigned and %v available; counted %d and %d",
					p.Name, f, u.Assigned, u.Available, used, free)
			}
			if p.spaces[f].empty() != (free == 0) {
				t.Fatalf("pool %s, %s: empty is %t with %d free", p.Name, f, free != 0, free)
			}
			if free > 0 && a.waiting[spaceOf(p.Name, f)] != nil {
				t.Fatalf("pool %s has free %s addresses, and somebody waits for one", p.Name, f)
			}
		}
	}
	a.each(func(s *service) {
		if s.unmet == nil != (s.decision().Reason == reason.Allocated) {
			t.Fatalf("%s: %+v", s.Key, s.decision())
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
