package allocator

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// hold gives the address, which is free or may be shared, to s.
func (a *Allocator) hold(s *service, p *pool, addr netip.Addr) {
	t := p.tenants[addr]
	if t == nil {
		p.spaces[FamilyOf(addr)].take(addr)
		p.assigned[FamilyOf(addr)]++
		a.touched[p] = struct{}{}
	}
	i, _ := slices.BinarySearchFunc(t, s, compareAge)
	p.tenants[addr] = slices.Insert(t, i, s)
	s.held = append(s.held, holding{addr, p})
	slices.SortFunc(s.held, func(x, y holding) int { return cmp.Compare(s.place(x.addr), s.place(y.addr)) })
	if s.SharingKey != "" {
		if i, found := slices.BinarySearchFunc(a.shared[s.SharingKey], addr, netip.Addr.Compare); !found {
			a.shared[s.SharingKey] = slices.Insert(a.shared[s.SharingKey], i, addr)
		}
	}
	a.tenantsChanged(s, addr)
}

// drop takes the address of the holding from s.
func (a *Allocator) drop(s *service, h holding) {
	s.held = slices.DeleteFunc(s.held, func(o holding) bool { return o == h })
	rest := slices.DeleteFunc(h.pool.tenants[h.addr], func(o *service) bool { return o == s })
	if len(rest) > 0 {
		h.pool.tenants[h.addr] = rest
	} else {
		f := FamilyOf(h.addr)
		delete(h.pool.tenants, h.addr)
		h.pool.spaces[f].put(h.addr)
		h.pool.assigned[f]--
		a.touched[h.pool] = struct{}{}
		a.wakeOldest(spaceOf(h.pool.Name, f))
		a.unshare(s, h.addr)
	}
	a.tenantsChanged(s, h.addr)
}

// unshare forgets that addr is shared under the key of s, its last tenant.
func (a *Allocator) unshare(s *service, addr netip.Addr) {
	if s.SharingKey == "" {
		return
	}
	addrs := a.shared[s.SharingKey]
	if i, found := slices.BinarySearchFunc(addrs, addr, netip.Addr.Compare); found {
		addrs = slices.Delete(addrs, i, i+1)
	}
	if a.shared[s.SharingKey] = addrs; len(addrs) == 0 {
		delete(a.shared, s.SharingKey)
	}
}

func (a *Allocator) tenantsChanged(s *service, addr netip.Addr) {
	a.wakeAll(topic{addr: addr})
	if s.SharingKey != "" {
		a.wakeAll(topic{key: s.SharingKey})
	}
}

func (a *Allocator) dropAll(s *service) []netip.Addr {
	var addrs []netip.Addr
	for len(s.held) > 0 {
		addrs = append(addrs, s.held[0].addr)
		a.drop(s, s.held[0])
	}
	return addrs
}

// keep gives back to s those of the addresses, which it had before, that are
// still legal.
func (a *Allocator) keep(s *service, addrs []netip.Addr) {
	if s.flaw != nil {
		return
	}
	for _, addr := range addrs {
		if !addr.IsValid() || s.holds(addr) {
			continue
		}
		f := FamilyOf(addr)
		switch {
		case !slices.Contains(s.wanted(), f):
			continue
		case s.asksIn(f) && !slices.Contains(s.Addresses, addr):
			continue
		case !s.asksIn(f) && s.holdsIn(f):
			continue
		}
		p := a.poolOf(addr)
		if p == nil || s.Pool != "" && s.Pool != p.Name || a.refuses(p, s) != nil {
			continue
		}
		if p.tenants[addr].mayJoin(s, addr) == nil {
			a.hold(s, p, addr)
		}
	}
}

// fill gives s what it lacks, as far as that can be, and decides what it waits
// for.
func (a *Allocator) fill(s *service) {
	a.leaveQueues(s)
	before := s.topics
	s.topics, s.unmet, s.lacks = nil, s.flaw, nil
	a.undecided[s] = struct{}{}
	if s.flaw == nil {
		a.serve(s)
	}
	// Whoever was woken for free space and did not need it wakes the next.
	for _, t := range before {
		if p := a.pools[t.pool]; p != nil && p.active() && !p.spaces[t.family].empty() {
			a.wakeOldest(t)
		}
	}
}

// serve does the work of fill for a request that makes sense.
func (a *Allocator) serve(s *service) {
	var given []holding
	var blocked []*refusal
	for _, addr := range s.Addresses {
		if s.holds(addr) {
			continue
		}
		p, why := a.askedFor(s, addr)
		if why != nil {
			blocked = append(blocked, why)
			continue
		}
		given = append(given, holding{addr, p})
	}
	var missing []Family
	for _, f := range s.wanted() {
		if !s.asksIn(f) && !s.holdsIn(f) {
			missing = append(missing, f)
		}
	}
	if len(missing) > 0 {
		from := a.choose(s, missing)
		var lacks []*refusal
		for _, f := range missing {
			if h, ok := a.pick(s, f, from.pools[f]); ok {
				given = append(given, h)
			} else {
				lacks = append(lacks, a.waitFor(s, f, from))
			}
		}
		switch {
		case len(lacks) == 0:
		case s.Policy != PreferDualStack:
			blocked = append(blocked, indivisible(missing, lacks, from)...)
		case len(s.Addresses)+len(given)+len(s.held) > 0:
			s.lacks = slices.MinFunc(lacks, compareGravity)
		default:
			blocked = append(blocked, slices.MinFunc(lacks, compareGravity))
		}
	}
	if len(blocked) == 0 {
		for _, h := range given {
			a.hold(s, h.pool, h.addr)
		}
		return
	}
	s.unmet, s.lacks = slices.MaxFunc(blocked, compareGravity), nil
	for _, addr := range s.Addresses {
		a.wait(s, topic{addr: addr})
	}
}

// compareGravity orders refusals by how much must change before they go: a
// Service that must have several things reports the gravest, and so what it
// reports is not out of date when one of the lesser ones comes or goes.
func compareGravity(x, y *refusal) int { return gravity(x.reason) - gravity(y.reason) }

func gravity(r reason.Reason) int {
	switch r {
	case reason.PoolExhausted: // some Service must go
		return 0
	case reason.AddressInUse, reason.SharingRefused: // one Service must go
		return 1
	}
	return 2 // the pools, or the Service itself, must change
}

// askedFor says which pool gives s the address that it asks for, or why none
// does.
func (a *Allocator) askedFor(s *service, addr netip.Addr) (*pool, *refusal) {
	if s.Pool != "" {
		if p, why := a.namedPool(s); why != nil {
			return nil, why
		} else if !p.contains(addr) {
			return nil, refuse(reason.AddressNotInPool, "%s is not in pool %s", addr, p.Name)
		}
	}
	p := a.poolOf(addr)
	if p == nil {
		if p = a.poolAround(addr); p != nil {
			return nil, refuse(reason.AddressNotInPool, "%s is left out of pool %s", addr, p.Name)
		}
		return nil, refuse(reason.AddressNotInPool, "%s is in no pool", addr)
	}
	if why := a.refuses(p, s); why != nil {
		return nil, why
	}
	if p.Drain {
		return nil, refuse(reason.PoolDraining, "pool %s is draining and gives nothing new", p.Name)
	}
	if why := p.tenants[addr].mayJoin(s, addr); why != nil {
		return nil, why
	}
	return p, nil
}

// namedPool is the pool that s asks for, if it may have it.
func (a *Allocator) namedPool(s *service) (*pool, *refusal) {
	p := a.pools[s.Pool]
	switch {
	case p == nil:
		return nil, refuse(reason.PoolNotFound, "there is no pool %q", s.Pool)
	case !p.active():
		return nil, refuse(reason.PoolNotFound, "pool %s is not in use: %s", p.Name, p.state().Message)
	}
	if why := a.refuses(p, s); why != nil {
		return nil, why
	}
	return p, nil
}

// refuses says why the pool is not for s; nil if it is.
func (a *Allocator) refuses(p *pool, s *service) *refusal {
	switch p.admission(s, a.namespaces[s.Key.Namespace]) {
	case otherNamespace:
		return notAdmitted(s, []*pool{p}, nil)
	case otherLabels:
		return notAdmitted(s, nil, []*pool{p})
	}
	return nil
}

// choice is the pools that may serve a Service, in the order of preference for
// each family; refusal is why there is none.
type choice struct {
	pools   [families][]*pool
	all     []*pool
	refusal *refusal
}

// choose finds the pools for the missing families of s. A pool that has an
// address of every one of them right now comes first.
func (a *Allocator) choose(s *service, missing []Family) choice {
	var c choice
	if s.Pool != "" {
		p, why := a.namedPool(s)
		if why != nil {
			return choice{refusal: why}
		}
		c.all = []*pool{p}
	} else {
		var by [otherLabels + 1][]*pool
		labels := a.namespaces[s.Key.Namespace]
		for _, p := range a.order {
			if p.AutoAssign {
				admission := p.admission(s, labels)
				by[admission] = append(by[admission], p)
			}
		}
		c.all = by[admitted]
		switch {
		case len(c.all) > 0:
		case len(a.order) == 0:
			return choice{refusal: refuse(reason.NoPool, "there is no pool")}
		case len(by[otherNamespace])+len(by[otherLabels]) == 0:
			return choice{refusal: refuse(reason.NoPool, "no pool gives addresses to those who do not name it")}
		default:
			return choice{refusal: notAdmitted(s, by[otherNamespace], by[otherLabels])}
		}
	}
	for f := range c.pools {
		c.pools[f] = c.all
	}
	if len(missing) < 2 {
		return c
	}
	for i, p := range c.all {
		complete := true
		for _, f := range missing {
			complete = complete && a.gives(s, f, p)
		}
		if complete {
			if i > 0 {
				for f := range c.pools {
					c.pools[f] = []*pool{p}
				}
			}
			break
		}
	}
	return c
}

// having are the pools with addresses of the family, free or not: those that
// give, and those that only keep.
func (c choice) having(f Family) (giving, draining []*pool) {
	for _, p := range c.all {
		switch {
		case !p.has(f):
		case p.Drain:
			draining = append(draining, p)
		default:
			giving = append(giving, p)
		}
	}
	return giving, draining
}

// indivisible is what a Service that needs all of the missing families says of
// those it lacks. Where every address has its Service it does not say which
// family is short: the other may be tomorrow, and who waits is not looked at
// every time somebody else takes an address.
func indivisible(missing []Family, lacks []*refusal, from choice) []*refusal {
	if len(missing) < 2 || gravity(slices.MaxFunc(lacks, compareGravity).reason) > 0 {
		return lacks
	}
	four, _ := from.having(IPv4)
	six, _ := from.having(IPv6)
	return []*refusal{refuse(reason.PoolExhausted, "no free pair of an IPv4 address in %s and an IPv6 address in %s",
		poolNames(four), poolNames(six))}
}

// gives says whether the pool has an address of the family for s.
func (a *Allocator) gives(s *service, f Family, p *pool) bool {
	if p.Drain {
		return false
	}
	if !p.spaces[f].empty() {
		return true
	}
	_, ok := a.joinable(s, p, f)
	return ok
}

// pick finds an address for s: one it may share before one that is free.
func (a *Allocator) pick(s *service, f Family, pools []*pool) (holding, bool) {
	for _, p := range pools {
		if p.Drain {
			continue
		}
		if addr, ok := a.joinable(s, p, f); ok {
			return holding{addr, p}, true
		}
		if addr, ok := p.spaces[f].next(); ok {
			return holding{addr, p}, true
		}
	}
	return holding{}, false
}

// waitFor says why s gets no address of the family, and has it wait for one.
func (a *Allocator) waitFor(s *service, f Family, from choice) *refusal {
	if from.refusal != nil {
		return from.refusal
	}
	full, draining := from.having(f)
	for _, p := range full {
		a.wait(s, spaceOf(p.Name, f))
	}
	if s.SharingKey != "" && len(full) > 0 {
		a.wait(s, topic{key: s.SharingKey})
	}
	switch {
	case len(full) > 0:
		return refuse(reason.PoolExhausted, "no free %s address in %s", f, poolNames(full))
	case len(draining) > 0:
		return refuse(reason.PoolDraining, "no %s address: draining is %s", f, poolNames(draining))
	case s.Pool != "":
		return refuse(reason.FamilyUnavailable, "pool %s has no %s addresses", s.Pool, f)
	}
	return refuse(reason.FamilyUnavailable, "no pool for %s has %s addresses", s.Key, f)
}
