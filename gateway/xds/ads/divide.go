package ads

import (
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// limits say when a table is divided.
type limits struct {
	// whole is up to how many virtual hosts a table is sent as it is, and up to how
	// many of them go before the rest of a large one: the client spends a few
	// milliseconds on that many for a change, and its requests find their routes at
	// once.
	whole int
	// changed is how many virtual hosts are sent before the rest of a table,
	// before that is sent anew. What the client spends on them is then a few
	// milliseconds at the most; what it spends on the rest comes up once in as
	// many changes.
	changed int
}

var usual = limits{whole: 256, changed: 128}

// divided returns the snapshot with its large tables divided. What is told of a
// table twice stays as it was.
func (s *Session) divided(set resource.Set) resource.Set {
	full := set[resource.Route]
	routes := make(map[string]resource.Resource, len(full))
	for name, want := range full {
		empty, ok := full[resource.Rest(name)]
		if !ok {
			if _, put := routes[name]; !put {
				routes[name] = want
			}
			continue
		}
		if was, told := s.whole[name]; told && was.Version == want.Version {
			routes[name], routes[empty.Name] = s.target[resource.Route][name], s.target[resource.Route][empty.Name]
			continue
		}
		routes[name], routes[empty.Name] = s.divide(want, empty)
	}
	s.whole = full
	set = maps.Clone(set)
	set[resource.Route] = routes
	return set
}

// divideAnew divides a table again, now that the client has answered its rest.
func (s *Session) divideAnew(rest string) {
	name, ok := resource.RestOf(rest)
	want, told := s.whole[name]
	empty, divisible := s.whole[rest]
	if !ok || !told || !divisible {
		return
	}
	k, routes := s.kinds[resource.Route], s.target[resource.Route]
	routes[name], routes[rest] = s.divide(want, empty)
	k.dirty[name], k.dirty[rest] = struct{}{}, struct{}{}
}

// divide divides a table, given the rest that the client has, if that is sure.
func (s *Session) divide(want, empty resource.Resource) (first, rest resource.Resource) {
	k := s.kinds[resource.Route]
	has := k.have[empty.Name]
	if _, unsure := k.unsure[empty.Name]; unsure {
		has = resource.Resource{}
	}
	return s.limits.divide(has, want, empty)
}

// divide returns what a client is to have so that it serves a table: what it
// looks at first, and the rest. Small tables have none: empty is then there in
// its place, whose virtual host otherwise ends what is looked at first, and
// leads to the rest. The rest stays the one that the client has as long as it can,
// and what that has not or otherwise is looked at before it.
//
// Where the rest is another one, the table is served with either, if anything is
// looked at before it. So the client gets that first half first, and another one
// when it has the rest. What cannot be looked at before waits for the rest.
func (l limits) divide(has, want, empty resource.Resource) (first, rest resource.Resource) {
	if len(want.Parts()) <= l.whole {
		return want, empty
	}
	parts, ok := differing(has, want, empty, l.whole)
	if rest = has; !ok || len(parts) > l.changed {
		rest = empty.With(want.Parts())
	}
	return want.With(slices.Concat(parts, empty.Parts())), rest
}

// differing returns the virtual hosts to look at before a rest so that a table
// is served, and false where those are more than most or cannot be before it.
//
// Only domains without a wildcard go before: one with a wildcard would come
// before less general ones of the rest, too.
func differing(rest, want, empty resource.Resource, most int) ([]*resource.Part, bool) {
	if !resource.Alike(rest, empty) {
		return nil, false
	}
	var parts []*resource.Part
	had, has := rest.Parts(), want.Parts()
	for len(had) > 0 || len(has) > 0 {
		var p *resource.Part
		switch {
		case len(has) == 0 || len(had) > 0 && had[0].Name < has[0].Name:
			// A wildcard's routes would have to be its own.
			if covered(want.Parts(), had[0].Name) {
				return nil, false
			}
			p = resource.NewPart(had[0].Name, &routev3.VirtualHost{Name: had[0].Name, Domains: []string{had[0].Name}})
			had = had[1:]
		case len(had) == 0 || has[0].Name < had[0].Name:
			p, has = has[0], has[1:]
		default:
			if !has[0].Equal(had[0]) {
				p = has[0]
			}
			had, has = had[1:], has[1:]
		}
		if p == nil {
			continue
		}
		if parts = append(parts, p); strings.HasPrefix(p.Name, "*") || len(parts) > most {
			return nil, false
		}
	}
	return parts, true
}

// covered says that one of the virtual hosts has a wildcard that covers the
// domain.
func covered(hosts []*resource.Part, domain string) bool {
	return slices.ContainsFunc(hosts, func(p *resource.Part) bool {
		suffix, wild := strings.CutPrefix(p.Name, "*")
		return wild && strings.HasSuffix(domain, suffix)
	})
}

// early says that a route configuration must not be sent yet, because the client
// is to get the other half of the table before: a table that is whole before
// the rest goes that it replaces, and a rest before what does nothing but lead to
// it. What has virtual hosts of its own goes with the rest that the client has,
// too, and before another one, so that no change waits for a rest.
func (s *Session) early(k *kind, name string) bool {
	of, isRest := resource.RestOf(name)
	if !isRest {
		of = name
	}
	routes := s.target[resource.Route]
	first, ok := routes[of]
	rest, divisible := routes[resource.Rest(of)]
	if k.typ != resource.Route || !ok || !divisible {
		return false
	}
	whole := first.Version == s.whole[of].Version
	if isRest && !whole {
		_, v := k.decide(of, routes)
		return v == update && !s.early(k, of)
	}
	before := rest
	if whole {
		before = first
	}
	if name == before.Name || !k.wants(before.Name) {
		return false
	}
	if !k.holds(before.Name) && !k.holds(name) {
		// It serves nothing, and waits for both.
		return k.rejected[before.Name] != before.Version
	}
	has := k.have[before.Name]
	if _, unsure := k.unsure[before.Name]; unsure || has.Version == before.Version {
		return unsure
	}
	leads := len(first.Parts()) == len(s.whole[rest.Name].Parts())
	return whole || leads || !has.Known()
}
