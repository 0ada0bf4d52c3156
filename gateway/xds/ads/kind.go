package ads

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

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
	names    map[string]struct{} // it wants these
	// have is what the client acknowledged. Body is nil where it brought the
	// resource along from an earlier stream.
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

func (k *kind) wants(name string) bool {
	_, ok := k.names[name]
	return ok || k.wildcard
}

// ask has the name answered whatever the client has.
func (k *kind) ask(name string) {
	k.asked[name] = struct{}{}
	k.dirty[name] = struct{}{}
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
		// The older form of the wildcard, which these two types have.
		wildcard = len(req.GetResourceNamesSubscribe()) == 0 &&
			(k.typ == resource.Cluster || k.typ == resource.Listener)
	}
	for _, name := range req.GetResourceNamesSubscribe() {
		if name == "*" {
			wildcard = true
			continue
		}
		k.names[name] = struct{}{}
		delete(k.awaited, name)
		k.dirty[name] = struct{}{}
		if _, brought := k.have[name]; !first || !brought {
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
		k.have[name] = want // with its body
		return want, nothing
	case wanted && k.rejected[name] == want.Version:
		return want, nothing
	case wanted:
		return want, update
	case asked && got.Body != nil:
		// It leaves with what names it, and until then must work.
		return got, update
	case asked && !unsure:
		return want, absent
	case has || unsure:
		return want, removal
	}
	return want, nothing
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

// references says whether the resource may name the other. A name stands in
// the wire format behind its length, also within an Any; that form may be
// there by chance, so the answer may be yes where no would be right, never the
// other way round. A resource of unknown content may name everything.
func references(r resource.Resource, name string) bool {
	if r.Body == nil {
		return true
	}
	return bytes.Contains(r.Body.GetValue(), append(binary.AppendUvarint(nil, uint64(len(name))), name...))
}
