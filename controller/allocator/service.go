package allocator

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Key names a Service.
type Key struct{ Namespace, Name string }

func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Compare orders keys by namespace, then by name.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Namespace, o.Namespace), cmp.Compare(k.Name, o.Name))
}

// Policy is a Service's spec.ipFamilyPolicy.
type Policy uint8

// The policies. SingleStack takes the first family alone; PreferDualStack is
// content with one, and gets the other once it can; RequireDualStack gets both
// or none.
const (
	SingleStack Policy = iota
	PreferDualStack
	RequireDualStack
)

// Port is one port that a Service answers on.
type Port struct {
	Protocol string // TCP, UDP or SCTP
	Number   int32
}

func (p Port) String() string { return fmt.Sprintf("%s/%d", p.Protocol, p.Number) }

// Service is a Service of type LoadBalancer that is ours, as its owner wants
// it.
type Service struct {
	Key Key
	// Created orders Services by age; ties are ordered by key.
	Created time.Time
	Labels  map[string]string
	// Families is spec.ipFamilies; the first is the one that matters to
	// SingleStack. Empty: IPv4.
	Families []Family
	Policy   Policy
	// Pool asks for a pool by name.
	Pool string
	// Addresses asks for addresses: all of them, or none is given. A family
	// of which none is asked for is served as if nothing were asked.
	Addresses []netip.Addr
	// Malformed says what cannot be read in the request; empty: all can.
	Malformed string
	// SharingKey lets Services with the same key hold one address.
	SharingKey string
	Ports      []Port
	// Selector is a canonical form of spec.selector; it is only compared.
	Selector string
	// Local is externalTrafficPolicy Local.
	Local bool
	// Recorded are the addresses in the Service's status. They count when the
	// Service is first seen; after that, what this package knows does.
	Recorded []netip.Addr
}

// sameWish says whether two states of a Service ask for the same.
func (s Service) sameWish(o Service) bool {
	s.Recorded, o.Recorded = nil, nil
	return reflect.DeepEqual(s, o)
}

// refusal is why something is not as it was wanted.
type refusal struct {
	reason  reason.Reason
	message string
}

func refuse(r reason.Reason, format string, args ...any) *refusal {
	return &refusal{r, abridge(fmt.Sprintf(format, args...))}
}

// longestMessage is the most bytes of a message. An event takes 1,024, a
// condition of ours 32,768; an annotation that a message quotes may have 256
// KiB.
const longestMessage = 1000

// abridge is the text, cut where it is longer than a message may be.
func abridge(text string) string {
	const end = "…"
	if len(text) <= longestMessage {
		return text
	}
	cut := longestMessage - len(end)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + end
}

// oneLine is the text of an error that may be several.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// holding is one address of a Service.
type holding struct {
	addr netip.Addr
	pool *pool
}

// service is a Service and what it has.
type service struct {
	Service
	created int64
	held    []holding // in the order of place
	// flaw is why the request cannot be served whatever the pools are.
	flaw *refusal
	// unmet is why the Service does not have what it must have, and lacks why
	// it does not have a family that it prefers to have.
	unmet, lacks *refusal
	// topics are what it waits for.
	topics   []topic
	reported *Decision
}

func newService(spec Service) *service {
	s := &service{}
	s.set(spec)
	return s
}

func (s *service) set(spec Service) {
	if len(spec.Families) == 0 {
		spec.Families = []Family{IPv4}
	}
	s.Service, s.created, s.flaw = spec, spec.Created.UnixNano(), nil
	if err := spec.validate(); err != nil {
		s.flaw = refuse(reason.InvalidRequest, "%s", err)
	}
}

func (s Service) validate() error {
	if s.Malformed != "" {
		return errors.New(s.Malformed)
	}
	for i, a := range s.Addresses {
		if !slices.Contains(s.wanted(), FamilyOf(a)) {
			return fmt.Errorf("%s is asked for, but the Service has no %s", a, FamilyOf(a))
		}
		if slices.Contains(s.Addresses[:i], a) {
			return fmt.Errorf("%s is asked for twice", a)
		}
	}
	return nil
}

// wanted are the families that the Service may have.
func (s Service) wanted() []Family {
	if s.Policy == SingleStack {
		return s.Families[:1]
	}
	return s.Families
}

// asksIn says whether the Service asks for addresses of the family.
func (s *service) asksIn(f Family) bool {
	return slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool { return FamilyOf(a) == f })
}

// holdsIn says whether the Service has an address of the family.
func (s *service) holdsIn(f Family) bool {
	return slices.ContainsFunc(s.held, func(h holding) bool { return FamilyOf(h.addr) == f })
}

// place orders the addresses of the Service: by its families, and by its
// request within one.
func (s *service) place(a netip.Addr) int {
	return slices.Index(s.Families, FamilyOf(a))*(len(s.Addresses)+1) + slices.Index(s.Addresses, a) + 1
}

func (s *service) holds(a netip.Addr) bool {
	return slices.ContainsFunc(s.held, func(h holding) bool { return h.addr == a })
}

// compareAge orders the oldest first.
func compareAge(a, b *service) int {
	return cmp.Or(cmp.Compare(a.created, b.created), a.Key.Compare(b.Key))
}

func older(a, b *service) bool { return compareAge(a, b) < 0 }

// Decision is what a Service gets.
type Decision struct {
	Service Key
	// Addresses in the order of the Service's families, and of its request
	// within one. A Service whose wish is met only in part keeps what it had.
	Addresses []netip.Addr
	// Pools are those of the addresses, in the same order, each once.
	Pools []string
	// Reason is reason.Allocated, or why the Service waits; Message names the
	// pool or the holder.
	Reason  reason.Reason
	Message string
}

func (d Decision) equal(o Decision) bool {
	return d.Service == o.Service && d.Reason == o.Reason && d.Message == o.Message &&
		slices.Equal(d.Addresses, o.Addresses) && slices.Equal(d.Pools, o.Pools)
}

func (s *service) decision() Decision {
	d := Decision{Service: s.Key, Reason: reason.Allocated}
	var parts []string
	for i, h := range s.held {
		d.Addresses = append(d.Addresses, h.addr)
		if !slices.Contains(d.Pools, h.pool.Name) {
			d.Pools = append(d.Pools, h.pool.Name)
		}
		parts = append(parts, h.addr.String())
		if i+1 == len(s.held) || s.held[i+1].pool != h.pool {
			parts[len(parts)-1] += " from pool " + h.pool.Name
		}
	}
	d.Message = abridge(strings.Join(parts, ", "))
	if s.lacks != nil {
		d.Message = abridge(d.Message + "; " + s.lacks.message)
	}
	if s.unmet != nil {
		d.Reason, d.Message = s.unmet.reason, s.unmet.message
	}
	return d
}
