package ads

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// maxResponseBytes is the size from which a response is not filled further.
const maxResponseBytes = 1 << 20

// kind is what one stream knows about one type.
type kind struct {
	typ      resource.Type
	heard    bool                // the client has named the type
	wildcard bool                // it wants every resource of it
	greet    bool                // it waits for an answer even if that is empty
	unblock  bool                // it waits for one of those it says to have
	names    map[string]struct{} // it wants these
	// have is what the client acknowledged. The content is not known where it
	// brought the resource along from an earlier stream.
	have map[string]resource.Resource
	// asked names are to be answered whatever the client has.
	asked map[string]struct{}
	// awaited names will be subscribed to, because of what was acknowledged.
	awaited map[string]struct{}
	// unsure is the version of each resource that was in a refused response
	// with others: the client may have it in place of what have says.
	unsure map[string]string
	// rejected is the version of each resource that was refused.
	rejected map[string]string
	// dirty names may need something.
	dirty map[string]struct{}
	// suspects are the groups of names to send one group at a time, after a
	// refusal.
	suspects [][]string
	inflight *batch
	// late are the responses that count as accepted and were not answered yet,
	// by nonce.
	late map[string]*batch
}

func newKind(t resource.Type) *kind {
	return &kind{
		typ:      t,
		names:    map[string]struct{}{},
		have:     map[string]resource.Resource{},
		asked:    map[string]struct{}{},
		awaited:  map[string]struct{}{},
		unsure:   map[string]string{},
		rejected: map[string]string{},
		dirty:    map[string]struct{}{},
		late:     map[string]*batch{},
	}
}

// batch is a response that was not answered yet.
type batch struct {
	nonce  string
	update []resource.Resource
	remove []string
	asked  []string // those that were asked for
}

func (b *batch) names() []string {
	out := slices.Clone(b.remove)
	for _, r := range b.update {
		out = append(out, r.Name)
	}
	return out
}

func (b *batch) updates(name string) bool {
	return slices.ContainsFunc(b.update, func(r resource.Resource) bool { return r.Name == name })
}

func (k *kind) wants(name string) bool {
	_, ok := k.names[name]
	return ok || k.wildcard
}

// holds says that the client has the resource in some version, or may have it.
func (k *kind) holds(name string) bool {
	_, has := k.have[name]
	_, unsure := k.unsure[name]
	return has || unsure
}

// ask has the name answered whatever the client has.
func (k *kind) ask(name string) {
	k.asked[name] = struct{}{}
	k.dirty[name] = struct{}{}
}

// answered takes the response with the nonce off the list; nil: there is none,
// or it was answered. late says that it counts as accepted.
func (k *kind) answered(nonce string) (b *batch, late bool) {
	if b := k.inflight; b != nil && b.nonce == nonce {
		k.inflight = nil
		return b, false
	}
	b, late = k.late[nonce]
	delete(k.late, nonce)
	return b, late
}

// disown takes back what is said to be had because of a response.
func (k *kind) disown(b *batch) {
	for _, r := range b.update {
		if _, ok := k.have[r.Name]; ok {
			k.have[r.Name] = resource.Resource{Key: r.Key}
		}
	}
}

// subscribe applies the subscription part of a request.
func (k *kind) subscribe(req *discoveryv3.DeltaDiscoveryRequest, target map[string]resource.Resource) {
	first := !k.heard
	k.heard = true
	wildcard := false
	if first {
		for name, version := range req.GetInitialResourceVersions() {
			k.have[name] = resource.Resource{Key: resource.Key{Type: k.typ, Name: name}, Version: version}
			k.dirty[name] = struct{}{}
		}
		k.greet = k.typ == resource.Endpoint
		// The older form of the wildcard, which these types have.
		wildcard = len(req.GetResourceNamesSubscribe()) == 0 &&
			(k.typ == resource.Cluster || k.typ == resource.Listener || k.typ == resource.Scope)
	}
	for _, name := range req.GetResourceNamesSubscribe() {
		if name == "*" {
			wildcard = true
			continue
		}
		k.names[name] = struct{}{}
		delete(k.awaited, name)
		k.dirty[name] = struct{}{}
		// Endpoints are sent again to a client that comes back: a cluster of
		// it may wait for them, and it does not say.
		if _, brought := k.have[name]; !first || !brought || k.typ == resource.Endpoint {
			k.ask(name)
		}
	}
	if wildcard {
		k.wildcard, k.greet = true, true
		for name := range target {
			k.dirty[name] = struct{}{}
		}
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		if name == "*" {
			k.wildcard = false
			for had := range k.have {
				k.forget(had)
			}
			continue
		}
		delete(k.names, name)
		if k.wildcard {
			// The client cannot tell whether it still gets it unless told.
			k.ask(name)
		} else {
			k.forget(name)
		}
	}
}

// forget drops what the client has of a name that it no longer wants.
func (k *kind) forget(name string) {
	if k.wants(name) {
		return
	}
	k.gone(name)
	delete(k.asked, name)
}

// gone notes that the client does not have the resource in any version.
func (k *kind) gone(name string) {
	delete(k.have, name)
	delete(k.unsure, name)
	delete(k.rejected, name)
}

// doubt notes that the client may have the resource. It sharpens what is
// known, where settled says that it does not have it after all.
func (k *kind) doubt(r resource.Resource, settled bool) {
	if v, ok := k.unsure[r.Name]; ok && v != r.Version {
		k.have[r.Name] = resource.Resource{Key: r.Key}
	}
	k.unsure[r.Name] = r.Version
	if settled {
		delete(k.unsure, r.Name)
	}
}

// verdict is what a name needs.
type verdict int

const (
	nothing verdict = iota
	update          // send the resource
	absent          // say that there is none
	removal         // say that it is gone, in the stage of removals
)

// decide says what a name needs, and the resource to send.
func (k *kind) decide(name string, target map[string]resource.Resource) (resource.Resource, verdict) {
	if !k.wants(name) {
		return resource.Resource{}, nothing
	}
	want, wanted := target[name]
	got, has := k.have[name]
	_, unsure := k.unsure[name]
	_, asked := k.asked[name]
	switch {
	case wanted && asked:
		return want, update
	case wanted && has && !unsure && got.Version == want.Version:
		k.have[name] = want // with its content
		return want, nothing
	case wanted && k.rejected[name] == want.Version:
		return want, nothing
	case wanted:
		return want, update
	case asked && got.Known():
		// It leaves with what names it, and until then must work.
		return got, update
	case asked && (!has || k.unblock) && k.typ == resource.Endpoint:
		// A cluster would wait for ever if it were told that there are none.
		return noEndpoints(name), update
	case asked && !has && !unsure:
		return want, absent
	case has || unsure:
		return want, removal
	}
	return want, nothing
}

// noEndpoints is what a cluster gets that is about to be removed.
func noEndpoints(cluster string) resource.Resource {
	return resource.New(resource.Endpoint, cluster, &endpointv3.ClusterLoadAssignment{ClusterName: cluster})
}

// next returns the names to look at, and whether those are the last: a group
// of suspects, or all that may need something, sorted.
func (k *kind) next() (names []string, last bool) {
	if len(k.suspects) == 0 {
		return slices.Sorted(maps.Keys(k.dirty)), true
	}
	names = k.suspects[0]
	k.suspects = k.suspects[1:]
	return names, false
}

// references says whether a resource with the body may name the other. A name
// stands in the wire format behind its length, also within an Any; that form may
// be there by chance, so the answer may be yes where no would be right, never
// the other way round. A resource of unknown content may name everything.
func references(body *anypb.Any, name string) bool {
	if body == nil {
		return true
	}
	return bytes.Contains(body.GetValue(), append(binary.AppendUvarint(nil, uint64(len(name))), name...))
}
