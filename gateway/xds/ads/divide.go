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
	// whole is up to how many virtual hosts a table is sent as it is: the client
	// spends a few milliseconds on that many for a change, and its requests find
	// their routes at once.
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
		rest, ok := full[resource.Rest(name)]
		if !ok {
			if _, put := routes[name]; !put {
				routes[name] = want
			}
			continue
		}
		if was, told := s.whole[name]; told && was.Version == want.Version {
			routes[name], routes[rest.Name] = s.target[resource.Route][name], s.target[resource.Route][rest.Name]
			continue
		}
		base := s.target[resource.Route][rest.Name]
		if k := s.kinds[resource.Route]; k.rejected[rest.Name] == base.Version {
			base = k.have[rest.Name]
		}
		routes[name], routes[rest.Name] = s.limits.divide(base, want, rest)
	}
	s.whole = full
	set = maps.Clone(set)
	set[resource.Route] = routes
	return set
}

// divideAnew divides a table again whose rest was refused: something else was
// wanted since that was sent.
func (s *Session) divideAnew(rest string) {
	name, ok := resource.RestOf(rest)
	if !ok {
		return
	}
	k, routes := s.kinds[resource.Route], s.target[resource.Route]
	want, ok := s.whole[name]
	empty, divisible := s.whole[rest]
	if !ok || !divisible || routes[rest].Version != k.rejected[rest] || empty.With(want.Parts()).Version == k.rejected[rest] {
		return
	}
	routes[name], routes[rest] = s.limits.divide(k.have[rest], want, empty)
	k.dirty[name], k.dirty[rest] = struct{}{}, struct{}{}
}

// divide returns what a client is to have so that it serves a table: what it
// looks at first, and the rest. Small tables have none: empty is then there in
// its place, whose virtual host otherwise ends what is looked at first, and
// leads to the rest. The rest stays as it is, base, as long as it can, and what
// base has not or otherwise is looked at before it.
//
// Only domains without a wildcard go before: one with a wildcard would come
// before less general ones of the rest, too.
func (l limits) divide(base, want, empty resource.Resource) (first, rest resource.Resource) {
	if len(want.Parts()) <= l.whole {
		return want, empty
	}
	anew := func() (first, rest resource.Resource) {
		return want.With(empty.Parts()), empty.With(want.Parts())
	}
	if !resource.Alike(base, empty) {
		return anew()
	}
	var parts []*resource.Part
	had, has := base.Parts(), want.Parts()
	for len(had) > 0 || len(has) > 0 {
		var p *resource.Part
		switch {
		case len(has) == 0 || len(had) > 0 && had[0].Name < has[0].Name:
			// A wildcard's routes would have to be its own.
			if covered(want.Parts(), had[0].Name) {
				return anew()
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
		if parts = append(parts, p); strings.HasPrefix(p.Name, "*") || len(parts) > l.changed {
			return anew()
		}
	}
	return want.With(slices.Concat(parts, empty.Parts())), base
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
// the rest goes that it replaces, and a rest before what leads to it.
func (s *Session) early(k *kind, name string) bool {
	of, isRest := resource.RestOf(name)
	if !isRest {
		of = name
	}
	first, ok := s.target[resource.Route][of]
	rest, divisible := s.target[resource.Route][resource.Rest(of)]
	if k.typ != resource.Route || !ok || !divisible {
		return false
	}
	before := rest
	if first.Version == s.whole[of].Version {
		before = first
	}
	if name == before.Name || !k.wants(before.Name) {
		return false
	}
	if !k.holds(before.Name) && !k.holds(name) {
		// It serves nothing, and waits for both.
		return k.rejected[before.Name] != before.Version
	}
	_, unsure := k.unsure[before.Name]
	return unsure || k.have[before.Name].Version != before.Version
}
