package assign

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/controller/translate"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// account is what the owner knows of a Service that is ours, or bears
// something of ours.
type account struct {
	seen seen
	ours bool
	wish wish
	// before is what was seen when a write became due; nil where none is.
	before *seen
	// wanted is the job that the writer was last given. It keeps that until it
	// is done: to repeat it, after it was done and before the watch says so,
	// would be a conflict.
	wanted job
}

// poolAccount is what the owner knows of a pool, beside its spec.
type poolAccount struct {
	conditions []metav1.Condition
	generation int64
}

// owner owns the core. All its methods are for one goroutine.
type owner struct {
	class    names.Class
	core     *allocator.Allocator
	accounts map[allocator.Key]*account
	pools    map[string]poolAccount

	// Until all three are there, nothing is told to the core: it must know
	// every pool before it adopts, and adopt every address before it gives one.
	haveServices, havePools, haveNamespaces bool
	early                                   map[allocator.Key]*corev1.Service // the Services until then

	// want and forget are the writer's; tell takes events, and hush those of a
	// Service that is gone; now is the time.
	want   func(allocator.Key, job)
	forget func(allocator.Key)
	tell   func(allocator.Key, newsItem)
	hush   func(allocator.Key)
	now    func() time.Time
}

func newOwner(class names.Class) *owner {
	return &owner{
		class:    class,
		core:     allocator.New(),
		accounts: map[allocator.Key]*account{},
		pools:    map[string]poolAccount{},
		now:      time.Now,
	}
}

func (o *owner) ready() bool { return o.haveServices && o.havePools && o.haveNamespaces }

func keyOf(svc *corev1.Service) allocator.Key {
	return allocator.Key{Namespace: svc.Namespace, Name: svc.Name}
}

// replaceServices takes all Services there are; the first time, the core
// adopts what they have.
func (o *owner) replaceServices(all []*corev1.Service) {
	o.haveServices = true
	if !o.ready() {
		o.early = map[allocator.Key]*corev1.Service{}
		for _, svc := range all {
			o.early[keyOf(svc)] = svc
		}
		return
	}
	there := make(map[allocator.Key]bool, len(all))
	var ours []allocator.Service
	for _, svc := range all {
		there[keyOf(svc)] = true
		if o.account(svc) {
			ours = append(ours, translate.Service(svc))
		}
	}
	for k := range o.accounts {
		if !there[k] {
			o.dismiss(k)
		}
	}
	o.core.Adopt(ours)
	o.decide()
	for _, svc := range all {
		o.reconcile(keyOf(svc))
	}
}

func (o *owner) setService(svc *corev1.Service) {
	if !o.ready() {
		o.early[keyOf(svc)] = svc
		return
	}
	if o.account(svc) {
		o.core.SetService(translate.Service(svc))
	}
	o.decide()
	o.reconcile(keyOf(svc))
}

func (o *owner) removeService(svc *corev1.Service) {
	if !o.ready() {
		delete(o.early, keyOf(svc))
		return
	}
	o.dismiss(keyOf(svc))
	o.decide()
}

// account books what is seen of a Service, and says whether it is ours.
func (o *owner) account(svc *corev1.Service) bool {
	k, s := keyOf(svc), look(svc)
	a := o.accounts[k]
	ours := owned(o.class, svc)
	switch {
	case !ours && (!s.marked() || a == nil && s.balancer && !o.gave(s.addresses)):
		// A Service of another class that was never ours, and has nothing from
		// our pools, is marked by another installation.
		if a != nil {
			o.dismiss(k)
		}
		return false
	case a == nil:
		a = &account{}
		o.accounts[k] = a
	case a.ours && !ours:
		o.core.DeleteService(k)
		o.count(a.wish, wish{})
	}
	if a.seen, a.ours = s, ours; !ours {
		a.wish = wish{foreign: !o.gave(s.addresses)}
	}
	return ours
}

// gave says whether some of the addresses are from our pools. A Service that
// has one of another class by now may already have what that one gave.
func (o *owner) gave(addresses []string) bool {
	return slices.ContainsFunc(addresses, func(text string) bool {
		addr, err := netip.ParseAddr(text)
		return err == nil && o.core.Has(addr.Unmap())
	})
}

// dismiss forgets a Service that is gone, or none of our business.
func (o *owner) dismiss(k allocator.Key) {
	if a := o.accounts[k]; a != nil {
		o.core.DeleteService(k)
		o.count(a.wish, wish{})
		o.forget(k)
		o.hush(k)
		delete(o.accounts, k)
	}
}

// decide books the core's decisions.
func (o *owner) decide() {
	for _, d := range o.core.Changes() {
		a := o.accounts[d.Service]
		w := wishOf(d)
		o.count(a.wish, w)
		a.wish = w
		o.reconcile(d.Service)
	}
}

// reconcile has a Service written if it is not as it shall be.
func (o *owner) reconcile(k allocator.Key) {
	a := o.accounts[k]
	switch {
	case a == nil || a.ours && a.wish.reason == "":
	case a.wish.fulfilled(a.seen):
		o.forget(k)
		if a.before != nil && a.wish.isNews(*a.before) {
			o.tell(k, a.wish.news(*a.before))
		}
		a.before, a.wanted = nil, job{}
	case a.wanted.seen.version == a.seen.version && a.wanted.wish.equal(a.wish):
	default:
		if a.before == nil {
			was := a.seen
			a.before = &was
		}
		a.wanted = job{wish: a.wish, seen: a.seen, since: o.now()}
		o.want(k, a.wanted)
	}
}

// count keeps the number of Services that wait, by reason.
func (o *owner) count(from, to wish) {
	if from.reason == to.reason {
		return
	}
	if from.reason != "" && from.reason != reason.Allocated {
		pending.WithLabelValues(string(from.reason)).Dec()
	}
	if to.reason != "" && to.reason != reason.Allocated {
		pending.WithLabelValues(string(to.reason)).Inc()
	}
}

func (o *owner) replacePools(all []*v1beta1.IPAddressPool) {
	there := map[string]bool{}
	for _, p := range all {
		there[p.Name] = true
		o.bookPool(p)
	}
	for name := range o.pools {
		if !there[name] {
			o.dropPool(name)
		}
	}
	o.havePools = true
	o.begin()
}

func (o *owner) setPool(p *v1beta1.IPAddressPool) {
	o.bookPool(p)
	o.decide()
}

func (o *owner) removePool(p *v1beta1.IPAddressPool) {
	o.dropPool(p.Name)
	o.decide()
}

func (o *owner) bookPool(p *v1beta1.IPAddressPool) {
	o.pools[p.Name] = poolAccount{p.Status.Conditions, p.Generation}
	o.core.SetPool(translate.Pool(p))
}

func (o *owner) dropPool(name string) {
	delete(o.pools, name)
	o.core.DeletePool(name)
	forgetPool(name)
}

func (o *owner) replaceNamespaces(all []*corev1.Namespace) {
	for _, ns := range all {
		o.core.SetNamespace(ns.Name, ns.Labels)
	}
	o.haveNamespaces = true
	o.begin()
}

func (o *owner) setNamespace(ns *corev1.Namespace) {
	o.core.SetNamespace(ns.Name, ns.Labels)
	o.decide()
}

func (o *owner) removeNamespace(ns *corev1.Namespace) {
	o.core.SetNamespace(ns.Name, nil)
	o.decide()
}

// begin has the core adopt once everything is there; after that it books what
// a list changed.
func (o *owner) begin() {
	if !o.ready() {
		return
	}
	if early := o.early; early != nil {
		o.early = nil
		o.replaceServices(slices.Collect(maps.Values(early)))
		return
	}
	o.decide()
}

// owned says whether the Service is one that the class has us serve.
func owned(class names.Class, svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && class.Owns(svc.Spec.LoadBalancerClass)
}
