package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lock is the Lease as one replica stands for it and holds it, for one term. It
// knows two things that client-go does not: until when a leader may still act,
// and whether somebody else led meanwhile.
//
// A term outlives a time in which the Lease was not renewed, and even one in
// which it had expired, if nobody else held it then. That is so if what is read
// names this replica as the holder, and as many transitions as the first write
// of the term did: whoever becomes the holder, after another or after nobody,
// counts them up in the same write, each write is for the version that was read
// before it, and the count never goes down while the Lease exists. A Lease that
// is gone may have been another's and be counted from zero again, and one that
// nobody holds may have been given back by somebody else; both end the term. We
// give it back ourselves only after the term.
type lock struct {
	resourcelock.Interface
	held *Held
	// lost is called when the Lease may have been another's after it was ours.
	lost func()

	ours        bool // a write in our name was acknowledged
	over        bool // it was lost after that, and is not to be had again in this term
	transitions int  // of the writes in our name

	seen  string // what was read last
	blind bool   // what was tried to read since could not be read
	anew  bool   // what was read last counts from when it could be read again
}

// Get shows every renewal. A standby takes the Lease once what it reads has not
// changed for the duration, and client-go has it compare times in whole seconds:
// a Lease of one second would be taken from a leader that renews it all the
// time.
//
// Where a standby could not read the Lease for a while, the leader could hardly
// renew it: it has the duration once more, from when it can be read again. Each
// renewal has that once, so that an API server that fails now and then does not
// keep the Lease of a leader that is gone.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, _, err := l.Interface.Get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		l.lose()
		return nil, nil, err
	case err != nil:
		l.blind = true
		return nil, nil, err
	}
	if record.HolderIdentity != l.Identity() || record.LeaderTransitions != l.transitions {
		l.lose()
	}
	seen := fmt.Sprintf("%s %d %d", record.HolderIdentity, record.LeaderTransitions, record.RenewTime.UnixNano())
	l.anew = seen == l.seen && (l.anew || l.blind)
	l.seen, l.blind = seen, false
	return record, fmt.Appendf(nil, "%s %t", seen, l.anew), nil
}

func (l *lock) lose() {
	if l.ours && !l.over {
		l.over = true
		l.held.lapse()
		l.lost()
	}
}

// Create implements [resourcelock.Interface].
func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, r, l.Interface.Create)
}

// Update implements [resourcelock.Interface].
func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, r, l.Interface.Update)
}

func (l *lock) write(ctx context.Context, r resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	if l.over {
		return errors.New("the lease was another's; this term ends before the next one")
	}
	sent := time.Now()
	if err := write(ctx, r); err != nil {
		return err
	}
	l.ours, l.transitions = true, r.LeaderTransitions
	l.held.renew(sent)
	return nil
}

// release gives the Lease back if it is still ours, so that nobody need wait
// until it expires.
func (l *lock) release(ctx context.Context) error {
	if !l.ours {
		return nil
	}
	l.held.lapse()
	// The answer to a renewal may have been lost: read what version there is.
	record, _, err := l.Get(ctx)
	if err != nil || l.over {
		return err
	}
	now := metav1.Now()
	return l.Interface.Update(ctx, resourcelock.LeaderElectionRecord{
		LeaderTransitions: record.LeaderTransitions, LeaseDurationSeconds: 1, RenewTime: now, AcquireTime: now,
	})
}
