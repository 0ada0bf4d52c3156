package allocator

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

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
		p.ServiceSelectors = some(t, "services", []Selector{{{Key: "app", Operator: In, Values: []string{"a"}}}}, 1)
	}
	return p
}

func drawKey(t *rapid.T) Key {
	return Key{
		rapid.SampledFrom([]string{"x", "y"}).Draw(t, "namespace"),
		rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name"),
	}
}

func drawService(t *rapid.T) Service {
	s := Service{
		Key:      drawKey(t),
		Created:  time.Unix(rapid.Int64Range(0, 5).Draw(t, "created"), 0),
		Policy:   rapid.SampledFrom([]Policy{SingleStack, PreferDualStack, RequireDualStack}).Draw(t, "policy"),
		Families: rapid.SampledFrom([][]Family{{IPv4}, {IPv4}, {IPv6}, {IPv4, IPv6}, {IPv6, IPv4}}).Draw(t, "families"),
	}
	if rarely(t, "asks pool") {
		s.Pool = rapid.SampledFrom([]string{"a", "b", "nowhere"}).Draw(t, "asked pool")
	}
	if rarely(t, "asks") {
		s.Addresses = some(t, "asked", requestable, 2)
	}
	if rapid.Bool().Draw(t, "shares") {
		s.SharingKey = rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key")
		s.Ports = some(t, "port", []Port{{"TCP", 1}, {"TCP", 2}, {"UDP", 1}}, 2)
		s.Selector = rapid.SampledFrom([]string{"", "app=a"}).Draw(t, "selector")
		s.Local = rarely(t, "local")
	}
	if rarely(t, "labelled") {
		s.Labels = map[string]string{"app": "a"}
	}
	if rarely(t, "was recorded") {
		s.Recorded = some(t, "recorded", requestable, 2)
	}
	return s
}

// TestOracle runs random events through an Allocator and the oracle, and
// restarts both between events: they agree on every address and every reason,
// and a restart changes neither.
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
		"service":  func(t *rapid.T) { s := drawService(t); a.SetService(s); o.adopt(s) },
		"service2": func(t *rapid.T) { s := drawService(t); a.SetService(s); o.adopt(s) },
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
				if was := decided[d.Service]; d.Reason != was.Reason || !slices.Equal(d.Addresses, was.Addresses) {
					t.Fatalf("restart: %+v, was %+v", d, decided[d.Service])
				}
			}
		},
		"": func(t *rapid.T) {
			for _, d := range a.Changes() {
				decided[d.Service] = d
			}
			compare(t, o, decided)
			consistent(t, a)
		},
	})
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
		got, want := slices.Clone(d.Addresses), slices.Clone(o.held[k])
		slices.SortFunc(got, netip.Addr.Compare)
		slices.SortFunc(want, netip.Addr.Compare)
		if !slices.Equal(got, want) || d.Reason != o.why[k] {
			t.Fatalf("%s has %v, %s (%s); the oracle says %v, %s", k, got, d.Reason, d.Message, want, o.why[k])
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
