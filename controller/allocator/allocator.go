package allocator

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
)

// Allocator holds the pools, the Services and who has which address. Make one
// with [New]; it is for one goroutine.
type Allocator struct {
	// What is wanted.
	pools      map[string]*pool
	services   map[string]map[string]*service // by namespace and name
	namespaces map[string]map[string]string   // labels by namespace

	// What follows from the pools: the active ones in the order in which they
	// are tried, and their ranges in ascending order.
	order  []*pool
	blocks []block
	// shared lists, by sharing key and in ascending order, the addresses whose
	// tenants have the key.
	shared map[string][]netip.Addr

	// waiting is who waits for what; due is who is to be looked at before the
	// event is over.
	waiting map[topic]*queue
	due     *queue

	// undecided and touched may differ from what was last reported.
	undecided map[*service]struct{}
	touched   map[*pool]struct{}
}

// New is an Allocator without pools and Services.
func New() *Allocator {
	return &Allocator{
		pools:      map[string]*pool{},
		services:   map[string]map[string]*service{},
		namespaces: map[string]map[string]string{},
		shared:     map[string][]netip.Addr{},
		waiting:    map[topic]*queue{},
		due:        newQueue(),
		undecided:  map[*service]struct{}{},
		touched:    map[*pool]struct{}{},
	}
}

// SetPool adds a pool, or changes the one of that name.
func (a *Allocator) SetPool(spec Pool) {
	old := a.pools[spec.Name]
	if old != nil && reflect.DeepEqual(old.Pool, spec) {
		return
	}
	p := newPool(spec)
	if old != nil {
		p.reported = old.reported
		delete(a.touched, old)
	}
	a.pools[spec.Name] = p
	a.revisePools(old, p)
	a.settle()
}

// DeletePool removes a pool.
func (a *Allocator) DeletePool(name string) {
	old := a.pools[name]
	if old == nil {
		return
	}
	delete(a.pools, name)
	a.revisePools(old, nil)
	delete(a.touched, old)
	a.settle()
}

// Adopt adds or changes several Services at once. Before any of them is given
// something new, all keep what they hold or, if they were not known before,
// what is recorded; the oldest first. At start it is called once with all
// Services, after the pools and the namespaces are set.
func (a *Allocator) Adopt(specs []Service) {
	specs = slices.Clone(specs)
	slices.SortFunc(specs, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Created.UnixNano(), b.Created.UnixNano()), a.Key.Compare(b.Key))
	})
	for _, spec := range specs {
		if len(spec.Families) == 0 {
			spec.Families = []Family{IPv4}
		}
		s := a.service(spec.Key)
		had := spec.Recorded
		switch {
		case s == nil:
			s = newService(spec)
			if a.services[spec.Key.Namespace] == nil {
				a.services[spec.Key.Namespace] = map[string]*service{}
			}
			a.services[spec.Key.Namespace][spec.Key.Name] = s
		case s.sameWish(spec):
			continue
		default:
			a.leaveQueues(s)
			had = a.dropAll(s)
			s.set(spec)
		}
		a.keep(s, had)
		a.wake(s)
	}
	a.settle()
}

// SetService adds a Service, or changes the one with that key.
func (a *Allocator) SetService(spec Service) { a.Adopt([]Service{spec}) }

// DeleteService removes a Service, and frees what it holds.
func (a *Allocator) DeleteService(key Key) {
	s := a.service(key)
	if s == nil {
		return
	}
	a.leaveQueues(s)
	delete(a.services[key.Namespace], key.Name)
	if len(a.services[key.Namespace]) == 0 {
		delete(a.services, key.Namespace)
	}
	delete(a.undecided, s)
	a.dropAll(s)
	a.settle()
}

// SetNamespace sets the labels of a namespace; nil if there is no such
// namespace.
func (a *Allocator) SetNamespace(name string, labels map[string]string) {
	if maps.Equal(a.namespaces[name], labels) {
		return
	}
	if a.namespaces[name] = labels; labels == nil {
		delete(a.namespaces, name)
	}
	for _, s := range slices.SortedFunc(maps.Values(a.services[name]), compareAge) {
		a.keep(s, a.dropAll(s))
		a.wake(s)
	}
	a.settle()
}

// Changes are the decisions that differ from the last ones reported, the
// oldest Service first. A Service that was deleted is not among them.
func (a *Allocator) Changes() []Decision {
	var changed []Decision
	for _, s := range slices.SortedFunc(maps.Keys(a.undecided), compareAge) {
		d := s.decision()
		if s.reported == nil || !s.reported.equal(d) {
			s.reported = &d
			changed = append(changed, d)
		}
	}
	a.undecided = map[*service]struct{}{} // clear would cost what the map once held
	return changed
}

// PoolChanges are the states of pools that differ from the last ones reported,
// by name. A pool that was deleted is not among them.
func (a *Allocator) PoolChanges() []PoolState {
	var changed []PoolState
	for _, p := range slices.SortedFunc(maps.Keys(a.touched), func(a, b *pool) int { return cmp.Compare(a.Name, b.Name) }) {
		st := p.state()
		if p.reported == nil || !p.reported.equal(st) {
			p.reported = &st
			changed = append(changed, st)
		}
	}
	a.touched = map[*pool]struct{}{}
	return changed
}

// PoolsTouched says whether PoolChanges may have something to tell.
func (a *Allocator) PoolsTouched() bool { return len(a.touched) > 0 }

// settle looks at everybody who is due, the oldest first, until nobody is.
func (a *Allocator) settle() {
	for {
		s, ok := a.due.DeleteMin()
		if !ok {
			return
		}
		a.fill(s)
	}
}

func (a *Allocator) service(k Key) *service { return a.services[k.Namespace][k.Name] }

func (a *Allocator) each(f func(*service)) {
	for _, byName := range a.services {
		for _, s := range byName {
			f(s)
		}
	}
}
