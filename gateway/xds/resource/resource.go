// Package resource holds what a fleet of Envoys is given: named, versioned
// xDS resources, and sets of them. It is the contract between translation,
// which makes resources, and the xDS server, which sends them.
package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Type is the type URL of a resource.
type Type string

// The types that are served.
const (
	Cluster  Type = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	Endpoint Type = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	Listener Type = "type.googleapis.com/envoy.config.listener.v3.Listener"
	Route    Type = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	Scope    Type = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	Secret   Type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Types are all of them in the order in which a new Envoy needs them: what is
// named before what names it.
var Types = [...]Type{Secret, Cluster, Endpoint, Listener, Scope, Route}

// Key identifies a resource within a fleet.
type Key struct {
	Type Type
	Name string
}

// Compare orders keys by type, in the order of Types, then by name.
func (k Key) Compare(o Key) int {
	if k.Type != o.Type {
		return slices.Index(Types[:], k.Type) - slices.Index(Types[:], o.Type)
	}
	return strings.Compare(k.Name, o.Name)
}

// Resource is one resource in one version. It is immutable.
type Resource struct {
	Key
	// Version is a hash of the body, or of the hashes of its parts, in hex: equal
	// content has an equal version, whoever made it and whenever.
	Version string

	// One of both; neither where the content is not known.
	body *anypb.Any
	made *composition
}

// Known says that the content is known, and not the version alone.
func (r Resource) Known() bool { return r.body != nil || r.made != nil }

// Body returns the marshalled message, put together for each call where the
// resource is of parts; nil where it is not known.
func (r Resource) Body() *anypb.Any {
	if r.made == nil {
		return r.body
	}
	c := r.made
	b := append(make([]byte, 0, r.Size()), c.head.bytes...)
	for _, p := range c.parts {
		b = protowire.AppendTag(b, c.field, protowire.BytesType)
		b = protowire.AppendBytes(b, p.bytes)
	}
	return &anypb.Any{TypeUrl: string(r.Type), Value: b}
}

// Size is that of the marshalled message, in bytes.
func (r Resource) Size() int {
	if r.made == nil {
		return len(r.body.GetValue())
	}
	size := len(r.made.head.bytes)
	for _, p := range r.made.parts {
		size += protowire.SizeTag(r.made.field) + protowire.SizeBytes(len(p.bytes))
	}
	return size
}

// composition is what a resource was put together from.
type composition struct {
	head  *Part
	field protowire.Number
	parts []*Part
}

// Marshalled returns a resource whose body and version are given.
func Marshalled(k Key, version string, body *anypb.Any) Resource {
	return Resource{Key: k, Version: version, body: body}
}

// New wraps a message. Map fields are marshalled in a fixed order.
//
// It panics where m cannot be marshalled, which only a string that is not
// UTF-8 can bring about; translation takes none from outside, since the API
// server stores none.
func New(t Type, name string, m proto.Message) Resource {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("marshal %s %q: %v", t, name, err))
	}
	sum := sha256.Sum256(b)
	return Resource{
		Key:     Key{Type: t, Name: name},
		Version: hex.EncodeToString(sum[:sumSize]),
		body:    &anypb.Any{TypeUrl: string(t), Value: b},
	}
}

// Part is an element of a repeated field of a resource, marshalled once for all
// the versions of the resource that it is in. It is immutable.
type Part struct {
	// Name is unique within the resource.
	Name  string
	bytes []byte
	sum   [sumSize]byte
}

// Equal says that two parts have one content.
func (p *Part) Equal(o *Part) bool { return p == o || p.sum == o.sum }

// sumSize is how much of a hash is kept, in bytes.
const sumSize = 12

// NewPart marshals an element; see New for the panic.
func NewPart(name string, m proto.Message) *Part {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("marshal %T: %v", m, err))
	}
	sum := sha256.Sum256(b)
	p := &Part{Name: name, bytes: b}
	copy(p.sum[:], sum[:])
	return p
}

// Compose makes a resource from its head, the message without one repeated
// field of messages, and the elements of that field. The version is a hash of
// the head and of the parts' hashes: it says the same as one of the body, and
// costs a fraction of it where a resource is large and little of it changes.
func Compose(t Type, name string, head proto.Message, field protowire.Number, parts []*Part) Resource {
	return compose(Key{Type: t, Name: name}, &composition{NewPart("", head), field, parts})
}

func compose(k Key, c *composition) Resource {
	sums := make([]byte, 0, (len(c.parts)+1)*sumSize)
	sums = append(sums, c.head.sum[:]...)
	for _, p := range c.parts {
		sums = append(sums, p.sum[:]...)
	}
	sum := sha256.Sum256(sums)
	return Resource{Key: k, Version: hex.EncodeToString(sum[:sumSize]), made: c}
}

// Parts returns the parts that the resource was put together from, in order,
// which the caller must not change; nil where it was not.
func (r Resource) Parts() []*Part {
	if r.made == nil {
		return nil
	}
	return r.made.parts
}

// With returns the resource, which Compose made, with other parts.
func (r Resource) With(parts []*Part) Resource {
	return compose(r.Key, &composition{r.made.head, r.made.field, parts})
}

// Alike says that two resources were put together and differ in their parts at
// the most.
func Alike(a, b Resource) bool {
	return a.made != nil && b.made != nil && a.Key == b.Key && a.made.field == b.made.field && a.made.head.Equal(b.made.head)
}

// Rest returns the name of the route configuration with the rest of a table:
// what the one of the table's name has no virtual host for.
func Rest(table string) string { return table + restSuffix }

// restSuffix is in no other name: the API allows it in none.
const restSuffix = "#rest"

// RestOf returns the name of the table that the named route configuration has
// the rest of, and false where it is not one with a rest.
func RestOf(route string) (string, bool) { return strings.CutSuffix(route, restSuffix) }

// Set is the resources of one fleet, by type, then by name.
type Set map[Type]map[string]Resource

// Put adds r, or replaces the resource with its key.
func (s Set) Put(r Resource) {
	m := s[r.Type]
	if m == nil {
		m = map[string]Resource{}
		s[r.Type] = m
	}
	m[r.Name] = r
}

// Get returns the resource with the key, and whether there is one.
func (s Set) Get(k Key) (Resource, bool) {
	r, ok := s[k.Type][k.Name]
	return r, ok
}

// Sorted returns the resources of a type by name.
func (s Set) Sorted(t Type) []Resource {
	out := make([]Resource, 0, len(s[t]))
	for _, r := range s[t] {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Resource) int { return a.Compare(b.Key) })
	return out
}

// All returns every resource in the order of Key.Compare.
func (s Set) All() []Resource {
	var out []Resource
	for _, t := range Types {
		out = append(out, s.Sorted(t)...)
	}
	return out
}

// Diff returns what to send to one that has the old set and should have the
// new one: resources that are new or have another version, and the keys of
// those that are no more. Both in the order of Key.Compare.
func Diff(old, new Set) (changed []Resource, removed []Key) {
	for _, r := range new.All() {
		if o, ok := old.Get(r.Key); !ok || o.Version != r.Version {
			changed = append(changed, r)
		}
	}
	for _, r := range old.All() {
		if _, ok := new.Get(r.Key); !ok {
			removed = append(removed, r.Key)
		}
	}
	return changed, removed
}
