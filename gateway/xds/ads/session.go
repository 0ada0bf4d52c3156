package ads

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// stages is the order in which new and changed resources are sent; removals
// go in the order of removals.
var (
	stages = [...][]resource.Type{
		{resource.Cluster, resource.Endpoint, resource.Secret},
		{resource.Scope, resource.Route},
		{resource.Listener, resource.Scope, resource.Route},
	}
	removals = [...]resource.Type{resource.Listener, resource.Scope, resource.Route, resource.Secret, resource.Endpoint, resource.Cluster}
)

// Refusal is a resource that the client refuses in this version.
type Refusal struct {
	resource.Key
	Version string
	// Detail is the client's error message.
	Detail string
}

// Ack is a response that the client has answered.
type Ack struct {
	Type  resource.Type
	Nonce string
	// Refused says that the answer was an error.
	Refused bool
}

// Output is what follows from one input.
type Output struct {
	// Responses to send, in order.
	Responses []*discoveryv3.DeltaDiscoveryResponse
	// Refusals that became known, each once for each version.
	Refusals []Refusal
	// Acks are the responses that the input answered.
	Acks []Ack
}

// UnknownTypeError is a request for a type that is not served.
type UnknownTypeError struct{ TypeURL string }

func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("discovery request for type %q, which is not served", e.TypeURL)
}

// Session is the state of one stream. It is not safe for concurrent use.
type Session struct {
	target resource.Set // nil until the first snapshot
	// whole are the route configurations of the snapshot, as they came.
	whole  map[string]resource.Resource
	limits limits
	kinds  map[resource.Type]*kind
	nonce  uint64
	live   []string
	out    Output
}

// New returns the session of a stream on which nothing was said yet.
func New() *Session {
	s := &Session{limits: usual, kinds: map[resource.Type]*kind{}}
	for _, t := range removals {
		s.kinds[t] = newKind(t)
	}
	return s
}

// Live returns the names of the listeners that the client serves, sorted: it
// accepted them with everything that they name. The caller must not change
// the slice.
func (s *Session) Live() []string { return s.live }

// Publish makes set, which the caller must not change any more, what the
// client should have. Nothing is sent before the first call.
func (s *Session) Publish(set resource.Set) Output {
	old := s.target
	if old == nil || !sameMap(s.whole, set[resource.Route]) {
		set = s.divided(set)
	} else {
		set = maps.Clone(set)
		set[resource.Route] = old[resource.Route]
	}
	s.target = set
	for _, t := range removals {
		k := s.kinds[t]
		if old != nil && sameMap(old[t], set[t]) {
			continue
		}
		for name, r := range set[t] {
			if o, ok := old[t][name]; !ok || o.Version != r.Version {
				k.dirty[name] = struct{}{}
			}
		}
		for name, r := range old[t] {
			if _, ok := set[t][name]; !ok {
				k.dirty[name] = struct{}{}
				delete(k.rejected, name)
				if t == resource.Scope {
					s.awaitNoRoutes(r)
				}
			}
		}
		if old == nil {
			for name := range k.have {
				k.dirty[name] = struct{}{}
			}
			for name := range k.asked {
				k.dirty[name] = struct{}{}
			}
		}
	}
	return s.flush()
}

// sameMap says that two maps, neither of which is changed any more, are one: a
// snapshot shares with the one before what it has in common with it.
func sameMap(a, b map[string]resource.Resource) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// Request takes a message of the client. The error is an *UnknownTypeError,
// and concerns that message alone.
func (s *Session) Request(req *discoveryv3.DeltaDiscoveryRequest) (Output, error) {
	k := s.kinds[resource.Type(req.GetTypeUrl())]
	if k == nil {
		return Output{}, &UnknownTypeError{TypeURL: req.GetTypeUrl()}
	}
	if b, late := k.answered(req.GetResponseNonce()); b != nil {
		s.out.Acks = append(s.out.Acks, Ack{Type: k.typ, Nonce: b.nonce, Refused: req.GetErrorDetail() != nil})
		switch e := req.GetErrorDetail(); {
		case e != nil:
			if late {
				k.disown(b)
			}
			s.refused(k, b, e.GetMessage())
		case !late:
			s.accepted(k, b)
		}
		if k.typ == resource.Route {
			for _, r := range b.update {
				s.divideAnew(r.Name)
			}
		}
		// What it named at first came before this answer. Where its clusters
		// were not among it, one of them warms.
		k.unblock = k.typ == resource.Endpoint && !s.kinds[resource.Cluster].heard
	}
	k.subscribe(req, s.target[k.typ])
	if b := s.kinds[resource.Cluster].inflight; b != nil && k.typ == resource.Endpoint {
		// The client lets go of the endpoints of a cluster that it removed, and
		// comes back to them when it gets the cluster that is on its way.
		for _, name := range req.GetResourceNamesUnsubscribe() {
			if b.updates(name) && !k.wants(name) {
				k.awaited[name] = struct{}{}
			}
		}
	}
	return s.flush(), nil
}

func (s *Session) flush() Output {
	if s.target != nil {
		s.advance()
	}
	out := s.out
	s.out = Output{}
	return out
}

// advance sends what the stages allow.
func (s *Session) advance() {
	for s.send(stages[0]) {
		if !s.pass() {
			return
		}
	}
	// Nothing is known of what a client's routes may name before it has named
	// its clusters.
	if !s.kinds[resource.Cluster].heard {
		return
	}
	for _, stage := range stages[1:] {
		if s.send(stage) {
			return
		}
	}
	s.settle()
	for _, t := range removals {
		// What its routes need is known once it has named its routes.
		if t != resource.Listener && !s.heard() {
			return
		}
		if s.sendRemovals(s.kinds[t]) {
			return
		}
	}
}

// send sends what the types of a stage need, and says whether anything of them
// is not acknowledged.
func (s *Session) send(stage []resource.Type) bool {
	busy := false
	for _, t := range stage {
		k := s.kinds[t]
		if k.inflight != nil || s.sendUpdates(k) || len(k.awaited) > 0 {
			busy = true
		}
	}
	return busy
}

// pass takes a response about clusters for accepted where its answer is all
// that is missing: their endpoints and secrets were acknowledged, and were sent
// later. The answer may never come, if another cluster never gets warm.
func (s *Session) pass() bool {
	k, endpoints, secrets := s.kinds[resource.Cluster], s.kinds[resource.Endpoint], s.kinds[resource.Secret]
	b := k.inflight
	if b == nil || len(b.update) > 0 && (endpoints.inflight != nil || secrets.inflight != nil || len(endpoints.awaited) > 0) {
		return false
	}
	for _, r := range b.update {
		_, wanted := s.target[resource.Cluster][r.Name]
		if _, served := s.target[resource.Endpoint][r.Name]; wanted && !served {
			return false // nothing but its answer tells
		}
	}
	k.inflight = nil
	k.late[b.nonce] = b
	s.accepted(k, b)
	return true
}

// heard says that the client has told everything it has.
func (s *Session) heard() bool {
	return s.kinds[resource.Cluster].heard && s.kinds[resource.Listener].heard &&
		(s.kinds[resource.Scope].heard || len(s.target[resource.Scope]) == 0) &&
		(s.kinds[resource.Route].heard || len(s.target[resource.Route]) == 0)
}

// settle notes which listeners are served, now that everything is
// acknowledged.
func (s *Session) settle() {
	if !s.heard() {
		return
	}
	s.live = make([]string, 0, len(s.kinds[resource.Listener].have))
	for name := range s.kinds[resource.Listener].have {
		s.live = append(s.live, name)
	}
	slices.Sort(s.live)
}

// accepted notes what the client has now, and what it will ask for because of
// it.
func (s *Session) accepted(k *kind, b *batch) {
	for _, r := range b.update {
		k.dirty[r.Name] = struct{}{}
		if !k.wants(r.Name) {
			continue
		}
		k.gone(r.Name)
		k.have[r.Name] = r
		if k.typ == resource.Listener || k.typ == resource.Scope {
			s.awaitRoutes(r)
		}
	}
	for _, name := range b.remove {
		k.dirty[name] = struct{}{}
		k.gone(name)
	}
}

// awaitRoutes waits for the subscriptions to the route configurations that an
// accepted listener or scope names.
func (s *Session) awaitRoutes(by resource.Resource) {
	k, body := s.kinds[resource.Route], by.Body()
	for name := range s.target[resource.Route] {
		if !k.wants(name) && references(body, name) {
			k.awaited[name] = struct{}{}
		}
	}
}

// awaitNoRoutes ends the wait for subscriptions to the route configurations of
// a scope that the client may never get.
func (s *Session) awaitNoRoutes(scope resource.Resource) {
	k, body := s.kinds[resource.Route], scope.Body()
	for name := range k.awaited {
		if references(body, name) {
			delete(k.awaited, name)
		}
	}
}

// refused finds the resources to blame for a refusal, by halves.
func (s *Session) refused(k *kind, b *batch, detail string) {
	alone := len(b.names()) == 1
	names := slices.DeleteFunc(b.names(), func(name string) bool { return !k.wants(name) })
	for _, name := range names {
		k.dirty[name] = struct{}{}
		if k.typ == resource.Cluster {
			delete(s.kinds[resource.Endpoint].awaited, name)
		}
	}
	switch {
	case len(names) == 0:
	case alone && len(b.update) == 1:
		r := b.update[0]
		k.doubt(r, true)
		k.rejected[r.Name] = r.Version
		s.out.Refusals = append(s.out.Refusals, Refusal{Key: r.Key, Version: r.Version, Detail: detail})
	case alone:
		// Nothing more can be done about it than to forget the resource.
		k.gone(names[0])
		s.out.Refusals = append(s.out.Refusals, Refusal{Key: resource.Key{Type: k.typ, Name: names[0]}, Detail: detail})
	default:
		for _, r := range b.update {
			if k.wants(r.Name) {
				k.doubt(r, false)
			}
		}
		for _, name := range b.asked {
			if k.wants(name) {
				k.ask(name)
			}
		}
		half := len(names) / 2
		k.suspects = append([][]string{names[:half], names[half:]}, k.suspects...)
	}
}

// sendUpdates sends new and changed resources of a type, and the absence of
// what was asked for and is not there; it says whether there was anything.
func (s *Session) sendUpdates(k *kind) bool {
	for {
		b := &batch{}
		names, last := k.next()
		size := 0
		for _, name := range names {
			if s.early(k, name) {
				continue
			}
			switch r, v := k.decide(name, s.target[k.typ]); v {
			case nothing:
				delete(k.dirty, name)
				continue
			case update:
				b.update = append(b.update, r)
				if k.typ == resource.Cluster {
					s.warm(name)
				}
				size += r.Size()
			case absent:
				b.remove = append(b.remove, name)
			case removal:
				continue
			}
			if _, asked := k.asked[name]; asked {
				b.asked = append(b.asked, name)
				delete(k.asked, name)
			}
			delete(k.dirty, name)
			if size >= maxResponseBytes {
				break
			}
		}
		if len(b.update)+len(b.remove) > 0 || k.greet {
			k.greet = false
			s.respond(k, b)
			return true
		}
		if last {
			return false
		}
	}
}

// namers are the types whose resources may name one of the type.
var namers = map[resource.Type][]resource.Type{
	resource.Scope:    {resource.Listener},
	resource.Route:    {resource.Listener, resource.Scope},
	resource.Secret:   {resource.Listener, resource.Cluster},
	resource.Endpoint: {resource.Listener, resource.Route},
	resource.Cluster:  {resource.Listener, resource.Route},
}

// warm has the endpoints of a cluster that is on its way sent after it, or
// waits for the subscription to them: the client does not ask again for those
// of a cluster that it has in another version, and needs them.
func (s *Session) warm(cluster string) {
	k := s.kinds[resource.Endpoint]
	_, served := s.target[resource.Endpoint][cluster]
	switch {
	case k.wants(cluster):
		k.ask(cluster)
	case served:
		k.awaited[cluster] = struct{}{}
	}
}

// sendRemovals sends the removals of a type, except of what the client still
// may name; it says whether there was anything.
func (s *Session) sendRemovals(k *kind) bool {
	var gone []string
	for name := range k.dirty {
		if _, v := k.decide(name, s.target[k.typ]); v == removal {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return false
	}
	b := &batch{}
	outdated := s.outdated(namers[k.typ])
	slices.Sort(gone)
	for _, name := range gone {
		if slices.ContainsFunc(outdated, func(body *anypb.Any) bool { return references(body, name) }) {
			continue
		}
		delete(k.dirty, name)
		delete(k.asked, name)
		b.remove = append(b.remove, name)
	}
	if len(b.remove) == 0 {
		return false
	}
	s.respond(k, b)
	return true
}

// outdated returns the bodies of what the client has of the types and should
// not have any more: the last good versions of what it refused, and the rest that
// such a half of a table leads to. One that is not known is nil.
func (s *Session) outdated(of []resource.Type) []*anypb.Any {
	var out []*anypb.Any
	for _, t := range of {
		k := s.kinds[t]
		old := func(name string) bool {
			want, wanted := s.target[t][name]
			_, rejected := k.rejected[name]
			return rejected || !wanted || k.have[name].Version != want.Version
		}
		for name, r := range k.have {
			first, isRest := resource.RestOf(name)
			if old(name) || isRest && t == resource.Route && old(first) {
				out = append(out, r.Body())
			}
		}
		if len(k.unsure) > 0 {
			out = append(out, nil)
		}
	}
	return out
}

func (s *Session) respond(k *kind, b *batch) {
	s.nonce++
	b.nonce = strconv.FormatUint(s.nonce, 10)
	k.inflight = b
	resp := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl:          string(k.typ),
		Nonce:            b.nonce,
		RemovedResources: b.remove,
	}
	for _, r := range b.update {
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{Name: r.Name, Version: r.Version, Resource: r.Body()})
	}
	s.out.Responses = append(s.out.Responses, resp)
}
