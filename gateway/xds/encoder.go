package xds

import (
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// Encoder turns one fleet after another into Envoy resources, and makes anew
// only what follows from units that are others than before: the virtual hosts,
// tables, listeners and clusters whose pointers differ. It is not safe for
// concurrent use.
type Encoder struct {
	last   *ir.Fleet
	tables map[string]encodedTable
	// versions of the listeners: most changes of one are of its routes.
	versions map[string]string
}

// encodedTable is a table with its virtual hosts, encoded, in its order.
type encodedTable struct {
	table *ir.RouteTable
	parts []*resource.Part
}

// NewEncoder returns an encoder that has made nothing yet.
func NewEncoder() *Encoder {
	return &Encoder{last: &ir.Fleet{}, tables: map[string]encodedTable{}, versions: map[string]string{}}
}

// Encode returns the listeners, route configurations and clusters that are new
// or have changed since the last call, and the keys of those that are no more.
// Endpoints and secrets come from Endpoints, Secret and AuthoritiesSecret, for
// each of f.Clusters, f.Certificates and f.Authorities.
func (e *Encoder) Encode(f *ir.Fleet) (changed []resource.Resource, removed []resource.Key) {
	Walk(e.last.Clusters, f.Clusters, ir.CompareClusters, func(was, is *ir.Cluster) {
		if is == nil {
			removed = append(removed, resource.Key{Type: resource.Cluster, Name: was.Name()})
			return
		}
		changed = append(changed, Cluster(is))
	})
	Walk(e.last.Listeners, f.Listeners, ir.CompareListeners, func(was, is *ir.Listener) {
		gone := map[string]bool{}
		if was != nil {
			for i := range was.Chains {
				gone[was.Chains[i].Name] = was.Chains[i].Table != nil
			}
		}
		if is == nil {
			delete(e.versions, was.Name())
			removed = append(removed, resource.Key{Type: resource.Listener, Name: was.Name()})
		} else {
			if r := Listener(is); e.versions[r.Name] != r.Version {
				e.versions[r.Name] = r.Version
				changed = append(changed, r)
			}
			for i := range is.Chains {
				c := &is.Chains[i]
				if c.Table == nil {
					continue
				}
				gone[c.Name] = false
				if e.tables[c.Name].table == nil {
					changed = append(changed, scopes(c.Name)...)
				}
				if e.tables[c.Name].table != c.Table {
					changed = append(changed, e.routeConfiguration(c))
				}
			}
		}
		if was != nil {
			for i := range was.Chains {
				if name := was.Chains[i].Name; gone[name] {
					delete(e.tables, name)
					for _, t := range []resource.Type{resource.Scope, resource.Route} {
						removed = append(removed, resource.Key{Type: t, Name: name}, resource.Key{Type: t, Name: resource.Rest(name)})
					}
				}
			}
		}
	})
	e.last = f
	return changed, removed
}

// routeConfiguration encodes the table of a chain, whose virtual hosts are in
// part those of before.
func (e *Encoder) routeConfiguration(c *ir.Chain) resource.Resource {
	before := e.tables[c.Name]
	now := encodedTable{table: c.Table, parts: make([]*resource.Part, len(c.Table.Hosts))}
	n := 0
	for i, h := range c.Table.Hosts {
		if before.table != nil {
			for n < len(before.table.Hosts) && before.table.Hosts[n] != h && ir.CompareHosts(before.table.Hosts[n], h) < 0 {
				n++
			}
			if n < len(before.table.Hosts) && before.table.Hosts[n] == h {
				now.parts[i] = before.parts[n]
				n++
				continue
			}
		}
		now.parts[i] = resource.NewPart(h.Domain, virtualHost(h))
	}
	e.tables[c.Name] = now
	return resource.Compose(resource.Route, c.Name, routeHead(c.Name), virtualHosts, now.parts)
}

// Walk calls f for what differs between two sorted lists of pointers: with nil
// for what is in one of them only.
func Walk[T any](was, is []*T, compare func(a, b *T) int, f func(was, is *T)) {
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(was) > 0 && len(is) > 0 && was[0] == is[0]:
			was, is = was[1:], is[1:]
			continue
		case len(is) == 0 || len(was) > 0 && compare(was[0], is[0]) < 0:
			f(was[0], nil)
			was = was[1:]
			continue
		case len(was) == 0 || compare(was[0], is[0]) > 0:
			f(nil, is[0])
			is = is[1:]
			continue
		}
		f(was[0], is[0])
		was, is = was[1:], is[1:]
	}
}
