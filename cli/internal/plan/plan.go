// Package plan says what manifests would do to the addresses of Services if
// they were applied. It asks the controller's own core: the same events in the
// same order give the same decisions.
package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/advice"
	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/controller/translate"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// Effect is what becomes of a Service.
type Effect string

// Effects, the worst first.
const (
	Loses   Effect = "loses"   // it had addresses, and has fewer
	Changes Effect = "changes" // it gets others
	Waits   Effect = "waits"   // it has none, and gets none
	Gets    Effect = "gets"
	Gone    Effect = "gone" // it is no longer a Service that gets addresses
	Keeps   Effect = "keeps"
)

var effects = []Effect{Loses, Changes, Waits, Gets, Gone, Keeps}

// Service is what becomes of one.
type Service struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Effect    Effect        `json:"effect"`
	Before    []string      `json:"before"`
	After     []string      `json:"after"`
	Reason    reason.Reason `json:"reason"`
	Message   string        `json:"message"`
	Fix       string        `json:"fix,omitempty"`
	// Planned: the files have it.
	Planned bool `json:"planned"`
}

// Usage counts addresses in decimal numbers, which may be greater than an
// integer of 64 bits.
type Usage struct {
	AssignedIPv4  string `json:"assignedIPv4"`
	AvailableIPv4 string `json:"availableIPv4"`
	AssignedIPv6  string `json:"assignedIPv6"`
	AvailableIPv6 string `json:"availableIPv6"`
}

// Pool is what becomes of one.
type Pool struct {
	Name string `json:"name"`
	// Before is nil for a new pool, After for one that is deleted.
	Before  *Usage        `json:"before,omitempty"`
	After   *Usage        `json:"after,omitempty"`
	Reason  reason.Reason `json:"reason"`
	Message string        `json:"message"`
	Fix     string        `json:"fix,omitempty"`
	// Planned: the files have it, or it is to be deleted.
	Planned bool `json:"planned"`
}

// Report is the plan: pools by name, and Services with the worst effects first.
type Report struct {
	Pools    []Pool    `json:"pools"`
	Services []Service `json:"services"`
}

// Count returns to how many Services the effect happens.
func (r *Report) Count(e Effect) int {
	n := 0
	for _, s := range r.Services {
		if s.Effect == e {
			n++
		}
	}
	return n
}

// Trouble says whether a Service loses or changes an address, one of the files
// gets none, or a pool of the files is refused.
func (r *Report) Trouble() bool {
	return slices.ContainsFunc(r.Services, func(s Service) bool {
		return s.Effect == Loses || s.Effect == Changes || s.Effect == Waits && s.Planned
	}) || slices.ContainsFunc(r.Pools, func(p Pool) bool {
		return p.Planned && p.After != nil && p.Reason != reason.Ready
	})
}

// Make plans what the files' objects would do to the live ones, and the deletion
// of pools by name. Pools are changed in the order of the files, and before the
// Services, each with all that follows from it. What the files add is younger
// than all that is live.
func Make(live, files *inventory.Objects, deleted []string) (*Report, error) {
	p := &planner{
		core: allocator.New(), class: live.Class(), live: live,
		decisions: map[allocator.Key]allocator.Decision{}, pools: map[string]allocator.PoolState{},
		before: map[allocator.Key][]string{}, planned: map[allocator.Key]bool{},
	}
	for _, name := range deleted {
		if inventory.Find(live.Pools.Items, live.Namespace, name) == nil {
			return nil, fmt.Errorf("planning to delete IPAddressPool %s: it does not exist in namespace %s", name, live.Namespace)
		}
	}
	p.adopt()
	was := p.pools
	p.pools = map[string]allocator.PoolState{}
	for name, st := range was {
		p.pools[name] = st
	}
	p.apply(files, deleted)
	return p.report(was, files, deleted), nil
}

type planner struct {
	core  *allocator.Allocator
	class names.Class
	live  *inventory.Objects
	// now is when the next new object is made.
	now time.Time

	decisions map[allocator.Key]allocator.Decision
	pools     map[string]allocator.PoolState
	// before are the addresses that live Services have.
	before  map[allocator.Key][]string
	planned map[allocator.Key]bool
	gone    []allocator.Key
}

// collect takes in what the core has decided since it was last asked.
func (p *planner) collect() {
	for _, d := range p.core.Changes() {
		p.decisions[d.Service] = d
	}
	for _, st := range p.core.PoolChanges() {
		p.pools[st.Name] = st
	}
}

func (p *planner) ours(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && p.class.Owns(s.Spec.LoadBalancerClass)
}

func keyOf(s *corev1.Service) allocator.Key {
	return allocator.Key{Namespace: s.Namespace, Name: s.Name}
}

// adopt brings the core to where the controller is.
func (p *planner) adopt() {
	for _, ns := range inventory.Sorted(p.live.Namespaces.Items) {
		p.core.SetNamespace(ns.Name, ns.Labels)
		p.seen(ns.CreationTimestamp)
	}
	for _, pool := range inventory.Sorted(p.live.Pools.Items) {
		p.core.SetPool(translate.Pool(pool))
		p.seen(pool.CreationTimestamp)
	}
	var ours []allocator.Service
	for _, s := range inventory.Sorted(p.live.Services.Items) {
		p.seen(s.CreationTimestamp)
		if p.ours(s) {
			ours = append(ours, translate.Service(s))
			p.before[keyOf(s)] = inventory.Addresses(s)
		}
	}
	p.core.Adopt(ours)
	p.collect()
}

func (p *planner) seen(t metav1.Time) {
	if t.After(p.now) {
		p.now = t.Time
	}
}

// created is when an object of the files comes to be: when the live one did or,
// for a new one, after everything that there is.
func (p *planner) created(live *metav1.Time, own metav1.Time) metav1.Time {
	switch {
	case live != nil:
		return *live
	case !own.IsZero():
		return own
	}
	p.now = p.now.Add(time.Second)
	return metav1.NewTime(p.now)
}

// apply does what kubectl apply would do with the files, and kubectl delete with
// the pools.
func (p *planner) apply(files *inventory.Objects, deleted []string) {
	for i := range files.Namespaces.Items {
		ns := files.Namespaces.Items[i].DeepCopy()
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[corev1.LabelMetadataName] = ns.Name // as the API server does
		p.core.SetNamespace(ns.Name, ns.Labels)
	}
	for i := range files.Pools.Items {
		pool := files.Pools.Items[i].DeepCopy()
		var at *metav1.Time
		if l := inventory.Find(p.live.Pools.Items, pool.Namespace, pool.Name); l != nil {
			at = &l.CreationTimestamp
		}
		pool.CreationTimestamp = p.created(at, pool.CreationTimestamp)
		p.core.SetPool(translate.Pool(pool))
	}
	for _, name := range deleted {
		p.core.DeletePool(name)
		delete(p.pools, name)
	}
	for i := range files.Services.Items {
		s := &files.Services.Items[i]
		l := inventory.Find(p.live.Services.Items, s.Namespace, s.Name)
		wanted := defaulted(s, l)
		var at *metav1.Time
		if l != nil {
			at = &l.CreationTimestamp
			wanted.Status = l.Status // which applying does not touch
		}
		wanted.CreationTimestamp = p.created(at, s.CreationTimestamp)
		key := keyOf(s)
		p.planned[key] = true
		switch {
		case p.ours(wanted):
			p.core.SetService(translate.Service(wanted))
		case l != nil && p.ours(l):
			p.core.DeleteService(key)
			p.gone = append(p.gone, key)
		}
	}
	p.collect()
}

// defaulted is a Service of the files as the API server of a dual-stack cluster
// would have it: with the families that the live one keeps, or IPv4 first, and
// protocol TCP where none is named.
func defaulted(s, live *corev1.Service) *corev1.Service {
	s = s.DeepCopy()
	if policy := s.Spec.IPFamilyPolicy; len(s.Spec.IPFamilies) == 0 && live != nil &&
		(policy == nil || live.Spec.IPFamilyPolicy != nil && *policy == *live.Spec.IPFamilyPolicy) {
		s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = live.Spec.IPFamilies, live.Spec.IPFamilyPolicy
	} else if len(s.Spec.IPFamilies) < 2 && s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		first := corev1.IPv4Protocol
		if len(s.Spec.IPFamilies) == 1 {
			first = s.Spec.IPFamilies[0]
		}
		second := map[corev1.IPFamily]corev1.IPFamily{corev1.IPv4Protocol: corev1.IPv6Protocol, corev1.IPv6Protocol: corev1.IPv4Protocol}[first]
		s.Spec.IPFamilies = []corev1.IPFamily{first, second}
	}
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].Protocol == "" {
			s.Spec.Ports[i].Protocol = corev1.ProtocolTCP
		}
	}
	return s
}

func usage(st allocator.PoolState) *Usage {
	v4, v6 := st.Usage[allocator.IPv4], st.Usage[allocator.IPv6]
	return &Usage{v4.Assigned.String(), v4.Available.String(), v6.Assigned.String(), v6.Available.String()}
}

func (p *planner) report(was map[string]allocator.PoolState, files *inventory.Objects, deleted []string) *Report {
	r := &Report{Pools: []Pool{}, Services: []Service{}}
	all := slices.Clone(deleted)
	for name := range p.pools {
		all = append(all, name)
	}
	slices.Sort(all)
	for _, name := range all {
		pool := Pool{Name: name, Planned: slices.Contains(deleted, name) || inventory.Find(files.Pools.Items, files.Namespace, name) != nil}
		if st, ok := was[name]; ok {
			pool.Before = usage(st)
		}
		if st, ok := p.pools[name]; ok {
			pool.After, pool.Reason, pool.Message, pool.Fix = usage(st), st.Reason, st.Message, advice.For(st.Reason)
		}
		r.Pools = append(r.Pools, pool)
	}
	for _, key := range p.gone {
		delete(p.decisions, key)
		r.Services = append(r.Services, Service{Namespace: key.Namespace, Name: key.Name, Effect: Gone, Before: p.before[key], After: []string{}, Planned: true})
	}
	for key, d := range p.decisions {
		s := Service{
			Namespace: key.Namespace, Name: key.Name, Before: p.before[key], After: []string{},
			Reason: d.Reason, Message: d.Message, Fix: advice.For(d.Reason), Planned: p.planned[key],
		}
		if s.Before == nil {
			s.Before = []string{}
		}
		for _, a := range d.Addresses {
			s.After = append(s.After, a.String())
		}
		s.Effect = effect(s)
		r.Services = append(r.Services, s)
	}
	slices.SortFunc(r.Services, func(a, b Service) int {
		if c := slices.Index(effects, a.Effect) - slices.Index(effects, b.Effect); c != 0 {
			return c
		}
		return allocator.Key{Namespace: a.Namespace, Name: a.Name}.Compare(allocator.Key{Namespace: b.Namespace, Name: b.Name})
	})
	return r
}

func effect(s Service) Effect {
	lost, gained := false, false
	for _, a := range s.Before {
		lost = lost || !slices.Contains(s.After, a)
	}
	for _, a := range s.After {
		gained = gained || !slices.Contains(s.Before, a)
	}
	switch {
	case lost && gained:
		return Changes
	case lost:
		return Loses
	case gained:
		return Gets
	case len(s.After) == 0 || s.Reason != reason.Allocated:
		return Waits
	}
	return Keeps
}
