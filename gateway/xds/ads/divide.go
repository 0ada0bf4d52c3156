package ads

import (
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// mostChanged is how many virtual hosts are sent beside the table that they are
// of, before the table is sent anew. What the client spends on them is then a
// few milliseconds at the most; what it spends on the table comes up once in as
// many changes.
const mostChanged = 128

// divided returns the snapshot with its tables divided. What is told of a table
// twice stays as it was.
func (s *Session) divided(set resource.Set) resource.Set {
	full := set[resource.Route]
	routes := make(map[string]resource.Resource, len(full))
	for name, want := range full {
		before, ok := full[resource.Changed(name)]
		if !ok {
			if _, put := routes[name]; !put {
				routes[name] = want
			}
			continue
		}
		if was, told := s.whole[name]; told && was.Version == want.Version {
			routes[name], routes[before.Name] = s.target[resource.Route][name], s.target[resource.Route][before.Name]
			continue
		}
		base := s.target[resource.Route][name]
		if k := s.kinds[resource.Route]; k.rejected[name] == base.Version {
			base = k.have[name]
		}
		routes[name], routes[before.Name] = divide(base, want, before)
	}
	s.whole = full
	set = maps.Clone(set)
	set[resource.Route] = routes
	return set
}

// divideAnew divides a table again whose base was refused: something else was
// wanted since that was sent.
func (s *Session) divideAnew(name string) {
	k, routes := s.kinds[resource.Route], s.target[resource.Route]
	want, ok := s.whole[name]
	before, divisible := s.whole[resource.Changed(name)]
	if !ok || !divisible || routes[name].Version != k.rejected[name] || want.Version == k.rejected[name] {
		return
	}
	routes[name], routes[before.Name] = divide(k.have[name], want, before)
	k.dirty[name], k.dirty[before.Name] = struct{}{}, struct{}{}
}

// divide returns what a client is to have so that it serves a table: the table
// itself, where it has another one than base; and what stands before it, with
// the virtual hosts that base has not or otherwise.
//
// Only domains without a wildcard go before: one with a wildcard would come
// before less general ones in the table, too.
func divide(base, want, before resource.Resource) (table, changed resource.Resource) {
	if base.Version == want.Version || !resource.Alike(base, want) {
		return want, before
	}
	var parts []*resource.Part
	had, has := base.Parts(), want.Parts()
	for len(had) > 0 || len(has) > 0 {
		var p *resource.Part
		switch {
		case len(has) == 0 || len(had) > 0 && had[0].Name < has[0].Name:
			// A wildcard's routes would have to be its own.
			if covered(want.Parts(), had[0].Name) {
				return want, before
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
		if parts = append(parts, p); strings.HasPrefix(p.Name, "*") || len(parts) > mostChanged {
			return want, before
		}
	}
	return base, before.With(slices.Concat(parts, before.Parts()))
}

// covered says that one of the virtual hosts has a wildcard that covers the
// domain.
func covered(hosts []*resource.Part, domain string) bool {
	return slices.ContainsFunc(hosts, func(p *resource.Part) bool {
		suffix, wild := strings.CutPrefix(p.Name, "*")
		return wild && strings.HasSuffix(domain, suffix)
	})
}

// early says that a route configuration must not be sent yet: it stands before
// a table that the client is to get first.
func (s *Session) early(k *kind, name string) bool {
	of, ok := resource.Unchanged(name)
	if !ok || k.typ != resource.Route || !k.wants(of) {
		return false
	}
	table, ok := s.target[resource.Route][of]
	if !ok {
		return false
	}
	have, has := k.have[of]
	_, unsure := k.unsure[of]
	if !has && !unsure {
		return k.rejected[of] != table.Version // it serves nothing, and waits for both
	}
	return unsure || have.Version != table.Version
}
