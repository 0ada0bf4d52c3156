package allocator

import (
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// mayJoin says why s may not hold the address a beside its tenants; nil if it
// may.
func (t tenancy) mayJoin(s *service, a netip.Addr) *refusal {
	for _, other := range t {
		if r := mayShare(s, other, a); r != nil {
			return r
		}
	}
	return nil
}

// mayShare is the rule of sharing: the same key, no port of one protocol in
// common, and the same selector where one of the two is externalTrafficPolicy
// Local, because a node without an endpoint of that one must not answer for
// the other.
func mayShare(s, other *service, a netip.Addr) *refusal {
	switch {
	case s.SharingKey == "" || other.SharingKey == "":
		return refuse(reason.AddressInUse, "%s is in use by %s", a, other.Key)
	case s.SharingKey != other.SharingKey:
		return refuse(reason.SharingRefused, "%s is in use by %s with another sharing key", a, other.Key)
	case (s.Local || other.Local) && s.Selector != other.Selector:
		return refuse(reason.SharingRefused,
			"%s is in use by %s with another selector, and externalTrafficPolicy is Local", a, other.Key)
	}
	for _, p := range s.Ports {
		if slices.Contains(other.Ports, p) {
			return refuse(reason.SharingRefused, "%s is in use by %s, which has port %s too", a, other.Key, p)
		}
	}
	return nil
}

// joinable is the lowest address of the family in the pool that s may share.
func (a *Allocator) joinable(s *service, p *pool, f Family) (netip.Addr, bool) {
	for _, addr := range a.shared[s.SharingKey] {
		if t := p.tenants[addr]; FamilyOf(addr) == f && t != nil && t.mayJoin(s, addr) == nil {
			return addr, true
		}
	}
	return netip.Addr{}, false
}
