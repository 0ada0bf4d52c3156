package watch

import (
	"maps"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/ir"
	"github.com/porchlight-lb/porchlight/gateway/xds"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// snapshot is the resources of one fleet. What was published is not changed: a
// type of which something changes gets a new map.
type snapshot struct {
	encoder *xds.Encoder
	fleet   *ir.Fleet
	set     resource.Set
	// clusters by the Services that they reach, then by name.
	clusters map[types.NamespacedName]map[string]*ir.Cluster
	// fresh are the types whose map is not published yet.
	fresh map[resource.Type]bool
}

func newSnapshot() *snapshot {
	return &snapshot{
		encoder: xds.NewEncoder(), fleet: &ir.Fleet{}, set: resource.Set{},
		clusters: map[types.NamespacedName]map[string]*ir.Cluster{}, fresh: map[resource.Type]bool{},
	}
}

// writable returns the map of a type, which may be changed until the next
// publish.
func (s *snapshot) writable(t resource.Type) map[string]resource.Resource {
	if len(s.fresh) == 0 {
		s.set = maps.Clone(s.set)
	}
	if !s.fresh[t] {
		s.fresh[t] = true
		if m := s.set[t]; m != nil {
			s.set[t] = maps.Clone(m)
		} else {
			s.set[t] = map[string]resource.Resource{}
		}
	}
	return s.set[t]
}

// put adds a resource unless it is there in this version, and says whether it
// did.
func (s *snapshot) put(r resource.Resource) bool {
	if old, ok := s.set.Get(r.Key); ok && old.Version == r.Version {
		return false
	}
	s.writable(r.Type)[r.Name] = r
	return true
}

func (s *snapshot) remove(k resource.Key) {
	if _, ok := s.set.Get(k); ok {
		delete(s.writable(k.Type), k.Name)
	}
}

// follow makes the resources of what the fleet serves now.
func (s *snapshot) follow(w *world, f *ir.Fleet) {
	changed, removed := s.encoder.Encode(f)
	for _, r := range changed {
		s.put(r)
	}
	for _, k := range removed {
		s.remove(k)
		if k.Type == resource.Cluster {
			s.remove(resource.Key{Type: resource.Endpoint, Name: k.Name})
		}
	}
	var added, gone []*ir.Cluster
	xds.Walk(s.fleet.Clusters, f.Clusters, ir.CompareClusters, func(was, is *ir.Cluster) {
		if was != nil {
			gone = append(gone, was)
		}
		if is != nil {
			added = append(added, is)
		}
	})
	for _, c := range gone {
		for _, n := range c.Services() {
			delete(s.clusters[n], c.Name())
			if len(s.clusters[n]) == 0 {
				delete(s.clusters, n)
			}
		}
	}
	for _, c := range added {
		for _, n := range c.Services() {
			if s.clusters[n] == nil {
				s.clusters[n] = map[string]*ir.Cluster{}
			}
			s.clusters[n][c.Name()] = c
		}
		s.put(w.endpoints(c))
	}
	s.fleet = f
	s.secrets(w)
}

// secrets puts in what the fleet names of certificates and authorities, and
// takes out what it does not name any more.
func (s *snapshot) secrets(w *world) {
	named := map[string]bool{}
	for _, n := range s.fleet.Certificates {
		named[xds.SecretName(n)] = true
		s.putCertificate(w, n)
	}
	for _, a := range s.fleet.Authorities {
		named[a.Name()] = true
		s.put(xds.AuthoritiesSecret(a, w.translator.Authorities(a)))
	}
	for name := range s.set[resource.Secret] {
		if !named[name] {
			s.remove(resource.Key{Type: resource.Secret, Name: name})
		}
	}
}

func (s *snapshot) putCertificate(w *world, n types.NamespacedName) bool {
	c, ok := w.translator.Certificate(n)
	return ok && s.put(xds.Secret(c))
}

// refreshEndpoints makes the endpoints of the Services anew, and says whether
// any are others.
func (s *snapshot) refreshEndpoints(w *world, services map[types.NamespacedName]struct{}) bool {
	changed := false
	for n := range services {
		for _, c := range s.clusters[n] {
			changed = s.put(w.endpoints(c)) || changed
		}
	}
	return changed
}

// refreshSecrets makes those of the Secrets and ConfigMaps anew that the fleet
// uses, and says whether any are others.
func (s *snapshot) refreshSecrets(w *world, objects map[types.NamespacedName]struct{}) bool {
	if len(objects) == 0 {
		return false
	}
	changed := false
	for _, n := range s.fleet.Certificates {
		if _, ok := objects[n]; ok {
			changed = s.putCertificate(w, n) || changed
		}
	}
	for _, a := range s.fleet.Authorities {
		for _, n := range a {
			if _, ok := objects[n]; ok {
				changed = s.put(xds.AuthoritiesSecret(a, w.translator.Authorities(a))) || changed
			}
		}
	}
	return changed
}

// endpoints of a cluster.
func (w *world) endpoints(c *ir.Cluster) resource.Resource {
	var list []*discoveryv1.EndpointSlice
	for _, n := range c.Services() {
		for _, s := range w.slices[n] {
			list = append(list, s)
		}
	}
	return xds.Endpoints(ingest.Endpoints(c, list))
}
