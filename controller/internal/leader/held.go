package leader

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// held is the Lease as one replica stands for it and holds it, for one term. It
// knows two things that client-go does not: until when a leader may still act,
// and that somebody else led meanwhile.
type held struct {
	resourcelock.Interface
	// lost is called when the Lease turns out to have been another's after it
	// was ours.
	lost func()

	holder  string // as far as this replica knows
	renewed atomic.Pointer[time.Time]
}

// holds says whether the Lease is held beyond doubt: nobody else may have taken
// it, even where this process was stopped, or frozen, or cut off since it was
// last renewed. It is for any goroutine.
func (l *held) holds() bool {
	sent := l.renewed.Load()
	if sent == nil {
		return false
	}
	// A machine that is suspended may stop its monotonic clock, and an
	// administrator may set the other one back.
	now := time.Now()
	return now.Sub(*sent) < actLimit && now.Round(0).Sub(sent.Round(0)) < actLimit
}

// Get shows every renewal. A standby takes the Lease once what it reads has not
// changed for the duration, and client-go has it compare times in whole seconds:
// a Lease of one second would be taken from a leader that renews it all the
// time.
func (l *held) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, _, err := l.Interface.Get(ctx)
	if err != nil {
		return nil, nil, err
	}
	if l.holder == l.Identity() && record.HolderIdentity != l.holder {
		l.renewed.Store(nil)
		l.lost()
	}
	l.holder = record.HolderIdentity
	return record, fmt.Appendf(nil, "%s %d %d", record.HolderIdentity, record.LeaderTransitions, record.RenewTime.UnixNano()), nil
}

// Create implements [resourcelock.Interface].
func (l *held) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, r, l.Interface.Create)
}

// Update implements [resourcelock.Interface].
func (l *held) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(ctx, r, l.Interface.Update)
}

func (l *held) write(ctx context.Context, r resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	if r.HolderIdentity == "" && l.holder != l.Identity() {
		return errors.New("the lease is another's, and not ours to give back")
	}
	sent := time.Now() // not when the answer came: others count from in between
	if err := write(ctx, r); err != nil {
		return err
	}
	if l.holder = r.HolderIdentity; l.holder == l.Identity() {
		l.renewed.Store(&sent)
	} else {
		l.renewed.Store(nil)
	}
	return nil
}
