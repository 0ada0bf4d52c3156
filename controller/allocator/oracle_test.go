package allocator

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/porchlight-lb/porchlight/internal/address"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// oracle does what an Allocator does, in the dumbest way: it lists every
// address of every pool, and after each event asks every Service anew, the
// oldest first, until nobody gets anything. It shares the parsers, the
// selectors and the rule for two Services at one address with the Allocator,
// and nothing else.
type oracle struct {
	pools      map[string]Pool
	services   map[Key]Service
	namespaces map[string]map[string]string

	held map[Key][]netip.Addr
	why  map[Key]reason.Reason
	// working are the pools in use. For each, it has the addresses that were
	// used before, numbered by a clock in the order of release.
	working map[string]map[netip.Addr]int
	clock   int
}

func newOracle() *oracle {
	return &oracle{
		pools: map[string]Pool{}, services: map[Key]Service{}, namespaces: map[string]map[string]string{},
		held: map[Key][]netip.Addr{}, why: map[Key]reason.Reason{}, working: map[string]map[netip.Addr]int{},
	}
}

// listed is every address of a pool; nil if it is malformed.
func listed(p Pool, avoidBuggy bool) []netip.Addr {
	ranges, err := address.ParseBlocks(p.Addresses, p.Exclude)
	if err != nil {
		return nil
	}
	for _, s := range slices.Concat(p.NamespaceSelectors, p.ServiceSelectors) {
		if s.Validate() != nil {
			return nil
		}
	}
	all := []netip.Addr{}
	for _, r := range ranges {
		for a := r.From; !r.To.Less(a); a = a.Next() {
			b := a.AsSlice()
			if last := b[len(b)-1]; !avoidBuggy || a.Is6() || last != 0 && last != 255 {
				all = append(all, a)
			}
		}
	}
	return all
}

func gives(p Pool) []netip.Addr { return listed(p, p.AvoidBuggyIPs) }

// setPool changes the pool of that name; nil removes it.
func (o *oracle) setPool(name string, p *Pool) {
	street := map[Key][]netip.Addr{}
	before := o.working
	if before[name] != nil {
		o.evict(o.pools[name], street)
	}
	if delete(o.pools, name); p != nil {
		o.pools[name] = *p
	}
	now := map[string]map[netip.Addr]int{}
	taken := map[netip.Addr]bool{}
	for _, p := range slices.SortedFunc(maps.Values(o.pools), func(a, b Pool) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	}) {
		all := listed(p, false)
		if all == nil || slices.ContainsFunc(all, func(a netip.Addr) bool { return taken[a] }) {
			if before[p.Name] != nil && p.Name != name {
				o.evict(p, street)
			}
			continue
		}
		if now[p.Name] = before[p.Name]; now[p.Name] == nil {
			now[p.Name] = map[netip.Addr]int{}
		}
		for _, a := range all {
			taken[a] = true
		}
	}
	maps.DeleteFunc(now[name], func(a netip.Addr, _ int) bool { return !slices.Contains(gives(*p), a) })
	o.working = now
	for _, s := range o.byAge() {
		o.keep(s, inOrder(s, street[s.Key]))
	}
	o.settle()
}

// evict takes the addresses of a working pool from everybody.
func (o *oracle) evict(p Pool, street map[Key][]netip.Addr) {
	for _, a := range gives(p) {
		tenants := o.tenants(a)
		for _, s := range tenants {
			street[s.Key] = append(street[s.Key], a)
			o.held[s.Key] = slices.DeleteFunc(o.held[s.Key], func(x netip.Addr) bool { return x == a })
		}
		if len(tenants) > 0 {
			o.clock++
			o.working[p.Name][a] = o.clock
		}
	}
}

func (o *oracle) adopt(specs ...Service) {
	slices.SortFunc(specs, func(a, b Service) int {
		return cmp.Or(a.Created.Compare(b.Created), a.Key.Compare(b.Key))
	})
	for _, s := range specs {
		had := s.Recorded
		if old, known := o.services[s.Key]; known {
			if had = nil; old.sameWish(s) {
				continue
			}
			had = o.drop(s.Key)
		}
		o.services[s.Key] = s
		o.keep(s, had)
	}
	o.settle()
}

func (o *oracle) deleteService(k Key) {
	o.drop(k)
	delete(o.services, k)
	delete(o.held, k)
	delete(o.why, k)
	o.settle()
}

func (o *oracle) setNamespace(name string, labels map[string]string) {
	if maps.Equal(o.namespaces[name], labels) {
		return
	}
	o.namespaces[name] = labels
	for _, s := range o.byAge() {
		if s.Key.Namespace == name {
			o.keep(s, o.drop(s.Key))
		}
	}
	o.settle()
}

func (o *oracle) byAge() []Service {
	return slices.SortedFunc(maps.Values(o.services), func(a, b Service) int {
		return cmp.Or(a.Created.Compare(b.Created), a.Key.Compare(b.Key))
	})
}

func (o *oracle) tenants(a netip.Addr) []Service {
	return slices.DeleteFunc(o.byAge(), func(s Service) bool { return !slices.Contains(o.held[s.Key], a) })
}

func (o *oracle) drop(k Key) []netip.Addr {
	had := inOrder(o.services[k], o.held[k])
	delete(o.held, k)
	for _, a := range had {
		if p, ok := o.poolOf(a); ok && len(o.tenants(a)) == 0 {
			o.clock++
			o.working[p.Name][a] = o.clock
		}
	}
	return had
}

func (o *oracle) poolOf(a netip.Addr) (Pool, bool) {
	for name := range o.working {
		if slices.Contains(gives(o.pools[name]), a) {
			return o.pools[name], true
		}
	}
	return Pool{}, false
}

// refused says why the pool is not for s; empty if it is.
func (o *oracle) refused(p Pool, s Service) reason.Reason {
	ns := len(p.Namespaces)+len(p.NamespaceSelectors) == 0 || slices.Contains(p.Namespaces, s.Key.Namespace)
	for _, sel := range p.NamespaceSelectors {
		ns = ns || sel.Matches(o.namespaces[s.Key.Namespace])
	}
	labels := len(p.ServiceSelectors) == 0
	for _, sel := range p.ServiceSelectors {
		labels = labels || sel.Matches(s.Labels)
	}
	switch {
	case !ns:
		return reason.NamespaceNotAdmitted
	case !labels:
		return reason.NoPool
	}
	return ""
}

// at says why s may not be at the address beside those who are; empty if it
// may.
func (o *oracle) at(s Service, a netip.Addr) reason.Reason {
	for _, other := range o.tenants(a) {
		if other.Key == s.Key {
			continue
		}
		if r := mayShare(newService(s), newService(other), a); r != nil {
			return r.reason
		}
	}
	return ""
}

// inOrder is the addresses as the status of s lists them.
func inOrder(s Service, addrs []netip.Addr) []netip.Addr {
	var ordered []netip.Addr
	for _, f := range s.Families {
		for _, a := range slices.Concat(s.Addresses, addrs) {
			if FamilyOf(a) == f && slices.Contains(addrs, a) && !slices.Contains(ordered, a) {
				ordered = append(ordered, a)
			}
		}
	}
	return ordered
}

func count(addrs []netip.Addr, f Family) (n int) {
	for _, a := range addrs {
		if FamilyOf(a) == f {
			n++
		}
	}
	return n
}

func (o *oracle) keep(s Service, addrs []netip.Addr) {
	if s.validate() != nil {
		return
	}
	for _, a := range addrs {
		f := FamilyOf(a)
		p, ok := o.poolOf(a)
		legal := ok && o.refused(p, s) == "" && (s.Pool == "" || s.Pool == p.Name) &&
			slices.Contains(s.wanted(), f) && !slices.Contains(o.held[s.Key], a) && o.at(s, a) == ""
		if count(s.Addresses, f) > 0 {
			legal = legal && slices.Contains(s.Addresses, a)
		} else {
			legal = legal && count(o.held[s.Key], f) == 0
		}
		if legal {
			o.held[s.Key] = append(o.held[s.Key], a)
		}
	}
}

func (o *oracle) settle() {
	for again := true; again; {
		again = false
		for _, s := range o.byAge() {
			given, why := o.serve(s)
			o.why[s.Key] = why
			if len(given) > 0 {
				o.held[s.Key] = append(o.held[s.Key], given...)
				again = true
				break
			}
		}
	}
}

// serve is what s gets beyond what it has, and why not all.
func (o *oracle) serve(s Service) ([]netip.Addr, reason.Reason) {
	if s.validate() != nil {
		return nil, reason.InvalidRequest
	}
	var given []netip.Addr
	var why, lacks []reason.Reason
	for _, a := range s.Addresses {
		if slices.Contains(o.held[s.Key], a) {
			continue
		}
		if r := o.asked(s, a); r != "" {
			why = append(why, r)
		} else {
			given = append(given, a)
		}
	}
	var missing []Family
	for _, f := range s.wanted() {
		if count(s.Addresses, f) == 0 && count(o.held[s.Key], f) == 0 {
			missing = append(missing, f)
		}
	}
	pools, none := o.candidates(s)
	for i, p := range pools { // one that has all is as good as first
		complete := true
		for _, f := range missing {
			_, ok := o.first(s, p, f)
			complete = complete && ok
		}
		if complete {
			pools = append([]Pool{p}, slices.Delete(slices.Clone(pools), i, i+1)...)
			break
		}
	}
	for _, f := range missing {
		i := slices.IndexFunc(pools, func(p Pool) bool { _, ok := o.first(s, p, f); return ok })
		switch {
		case i >= 0:
			a, _ := o.first(s, pools[i], f)
			given = append(given, a)
		case none != "":
			lacks = append(lacks, none)
		default:
			lacks = append(lacks, o.whyNot(pools, f))
		}
	}
	byGravity := func(x, y reason.Reason) int { return gravity(x) - gravity(y) }
	if s.Policy == PreferDualStack && len(lacks) > 0 {
		lacks = []reason.Reason{slices.MinFunc(lacks, byGravity)}
		if len(s.Addresses)+len(given)+len(o.held[s.Key]) > 0 {
			lacks = nil
		}
	}
	if why = append(why, lacks...); len(why) > 0 {
		return nil, slices.MaxFunc(why, byGravity)
	}
	return given, reason.Allocated
}

// asked says why s does not get the address that it asks for; empty if it does.
func (o *oracle) asked(s Service, a netip.Addr) reason.Reason {
	if s.Pool != "" {
		if why := o.named(s); why != "" {
			return why
		}
		if !slices.Contains(gives(o.pools[s.Pool]), a) {
			return reason.AddressNotInPool
		}
	}
	p, ok := o.poolOf(a)
	switch {
	case !ok:
		return reason.AddressNotInPool
	case o.refused(p, s) != "":
		return o.refused(p, s)
	case p.Drain:
		return reason.PoolDraining
	}
	return o.at(s, a)
}

func (o *oracle) named(s Service) reason.Reason {
	switch p := o.pools[s.Pool]; {
	case o.working[s.Pool] == nil:
		return reason.PoolNotFound
	default:
		return o.refused(p, s)
	}
}

func (o *oracle) candidates(s Service) ([]Pool, reason.Reason) {
	if s.Pool != "" {
		if why := o.named(s); why != "" {
			return nil, why
		}
		return []Pool{o.pools[s.Pool]}, ""
	}
	var auto, mine []Pool
	for name := range o.working {
		if p := o.pools[name]; p.AutoAssign {
			auto = append(auto, p)
		}
	}
	slices.SortFunc(auto, func(a, b Pool) int {
		last := func(p Pool) int { return map[bool]int{true: 1}[p.Priority == 0] }
		return cmp.Or(last(a)-last(b), a.Priority-b.Priority, cmp.Compare(a.Name, b.Name))
	})
	labels := false
	for _, p := range auto {
		switch o.refused(p, s) {
		case "":
			mine = append(mine, p)
		case reason.NoPool:
			labels = true
		}
	}
	switch {
	case len(auto) == 0, labels && len(mine) == 0:
		return nil, reason.NoPool
	case len(mine) == 0:
		return nil, reason.NamespaceNotAdmitted
	}
	return mine, ""
}

// first is the address that the pool has for s: one to share, one never used,
// the one released longest ago.
func (o *oracle) first(s Service, p Pool, f Family) (best netip.Addr, ok bool) {
	if p.Drain {
		return best, false
	}
	for _, a := range gives(p) {
		if t := o.tenants(a); FamilyOf(a) == f && len(t) > 0 && o.at(s, a) == "" {
			return a, true
		}
	}
	for _, a := range gives(p) {
		if FamilyOf(a) != f || len(o.tenants(a)) > 0 {
			continue
		}
		if !ok || o.working[p.Name][a] < o.working[p.Name][best] {
			best, ok = a, true
		}
	}
	return best, ok
}

func (o *oracle) whyNot(pools []Pool, f Family) reason.Reason {
	why := reason.FamilyUnavailable
	for _, p := range pools {
		switch {
		case count(gives(p), f) == 0:
		case !p.Drain:
			return reason.PoolExhausted
		default:
			why = reason.PoolDraining
		}
	}
	return why
}
