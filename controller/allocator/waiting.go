package allocator

import (
	"net/netip"

	"github.com/google/btree"
)

// topic is something a Service can wait for: free space in one family of a
// pool, a change among the tenants of an address, or one among those who use a
// sharing key. Only the fields of one of the three are set.
type topic struct {
	pool   string
	family Family
	addr   netip.Addr
	key    string
}

func spaceOf(pool string, f Family) topic { return topic{pool: pool, family: f} }

// queue is Services in the order of age.
type queue = btree.BTreeG[*service]

func newQueue() *queue { return btree.NewG(16, older) }

func (a *Allocator) wait(s *service, t topic) {
	q := a.waiting[t]
	if q == nil {
		q = newQueue()
		a.waiting[t] = q
	}
	if _, had := q.ReplaceOrInsert(s); !had {
		s.topics = append(s.topics, t)
	}
}

// wake has s looked at again. It waits for nothing until then, but its topics
// are kept: fill hands on what s turns out not to need.
func (a *Allocator) wake(s *service) {
	a.leaveQueues(s)
	a.due.ReplaceOrInsert(s)
}

func (a *Allocator) leaveQueues(s *service) {
	for _, t := range s.topics {
		if q := a.waiting[t]; q != nil {
			if q.Delete(s); q.Len() == 0 {
				delete(a.waiting, t)
			}
		}
	}
}

// wakeAll wakes everybody who waits for t: they all have to say something
// else, or to be served.
func (a *Allocator) wakeAll(t topic) {
	q := a.waiting[t]
	if q == nil {
		return
	}
	all := make([]*service, 0, q.Len())
	q.Ascend(func(s *service) bool { all = append(all, s); return true })
	for _, s := range all {
		a.wake(s)
	}
}

// wakeOldest wakes the one who has waited longest for t.
func (a *Allocator) wakeOldest(t topic) {
	if q := a.waiting[t]; q != nil {
		s, _ := q.Min()
		a.wake(s)
	}
}
