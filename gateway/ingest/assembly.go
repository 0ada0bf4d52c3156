package ingest

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// assembly collects what a fleet serves. What was published is never changed.
type assembly struct {
	published *ir.Fleet
	next      ir.Fleet
	dirty     bool
	// held are the clusters that placements hold, by name.
	held map[string]*holding
	// touched are the names whose holding has changed since the last publishing.
	touched map[string]struct{}
}

type holding struct {
	cluster *ir.Cluster
	holders int
	// published is the cluster as it was published; nil: it is not.
	published *ir.Cluster
}

func newAssembly() *assembly {
	return &assembly{published: &ir.Fleet{}, held: map[string]*holding{}, touched: map[string]struct{}{}}
}

// hold takes a cluster in, and returns its name.
func (f *assembly) hold(c *ir.Cluster) string {
	name := c.Name()
	h := f.held[name]
	if h == nil {
		h = &holding{}
		f.held[name] = h
	}
	// Under one name only that of a Service's port may differ; all who hold the
	// cluster are placed anew when it changes.
	if h.holders == 0 {
		h.cluster = c
	}
	h.holders++
	f.touched[name] = struct{}{}
	return name
}

// release drops what hold took in.
func (f *assembly) release(name string) {
	f.held[name].holders--
	f.touched[name] = struct{}{}
}

// serve puts a listener in, in place of what it was before.
func (f *assembly) serve(l *ir.Listener) {
	f.next.Listeners = replaced(f.next.Listeners, l, ir.CompareListeners)
	f.dirty = true
}

// drop takes a listener out.
func (f *assembly) drop(l *ir.Listener) {
	f.next.Listeners = removed(f.next.Listeners, l, ir.CompareListeners)
	f.dirty = true
}

// publish returns the fleet, and whether it is another than before.
func (f *assembly) publish() (*ir.Fleet, bool) {
	var added []*ir.Cluster
	for name := range f.touched {
		h := f.held[name]
		switch {
		case h.holders == 0:
			if h.published != nil {
				f.next.Clusters = removed(f.next.Clusters, h.published, ir.CompareClusters)
				f.dirty = true
			}
			delete(f.held, name)
		case h.published == nil:
			added = append(added, h.cluster)
			h.published = h.cluster
		case !reflect.DeepEqual(h.published, h.cluster):
			f.next.Clusters = replaced(f.next.Clusters, h.cluster, ir.CompareClusters)
			h.published = h.cluster
			f.dirty = true
		}
	}
	clear(f.touched)
	f.add(added)
	if !f.dirty {
		return f.published, false
	}
	f.dirty = false
	f.collectSecrets()
	out := f.next
	f.published = &out
	return f.published, true
}

// add puts new clusters in: few of them one by one, many by sorting.
func (f *assembly) add(clusters []*ir.Cluster) {
	if len(clusters) == 0 {
		return
	}
	f.dirty = true
	if len(clusters) == 1 {
		f.next.Clusters = replaced(f.next.Clusters, clusters[0], ir.CompareClusters)
		return
	}
	all := slices.Concat(f.next.Clusters, clusters)
	slices.SortFunc(all, ir.CompareClusters)
	f.next.Clusters = all
}

// collectSecrets collects the certificates and authorities that listeners and
// clusters name.
func (f *assembly) collectSecrets() {
	var certificates []types.NamespacedName
	var authorities []ir.Authorities
	for _, l := range f.next.Listeners {
		for i := range l.Chains {
			certificates = append(certificates, l.Chains[i].Certificates...)
			if c := l.Chains[i].Clients; c != nil {
				authorities = append(authorities, c.Authorities)
			}
		}
	}
	for _, c := range f.next.Clusters {
		if c.TLS == nil {
			continue
		}
		authorities = append(authorities, c.TLS.Authorities)
		if n := c.TLS.Certificate; n != nil {
			certificates = append(certificates, *n)
		}
	}
	slices.SortFunc(certificates, ir.CompareNames)
	slices.SortFunc(authorities, ir.CompareAuthorities)
	f.next.Certificates = slices.Compact(certificates)
	f.next.Authorities = slices.CompactFunc(authorities, slices.Equal)
}
