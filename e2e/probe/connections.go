package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// Failure is a connection that was not established within a second.
type Failure struct {
	Address string
	// After is the time from the first attempt of all to this one.
	After time.Duration
	Err   error
}

func (f Failure) String() string {
	return fmt.Sprintf("%s after %v: %v", f.Address, f.After.Round(time.Millisecond), f.Err)
}

// Connections opens new TCP connections to each of the addresses, perSecond of
// them a second, while it does what during does: n to each, and more where that
// takes longer. It returns how many it attempted and those that failed, in the
// order in which they were found to have.
func Connections(ctx context.Context, dial Dial, addresses []string, perSecond, n int, during func(ctx context.Context) error) (attempts int, failed []Failure, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	over := make(chan error, 1)
	wg.Go(func() { over <- during(ctx) })
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	began, busy := time.Now(), true
	for i := 0; (i < n || busy) && err == nil; i++ {
		for _, address := range addresses {
			attempts++
			after := time.Since(began)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, attempt)
				defer cancel()
				conn, err := dial(ctx, "tcp", address)
				if err == nil {
					_ = conn.Close() // it was opened; that is all that is measured
				}
				if established(err) {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, Failure{address, after, err})
			})
		}
		select {
		case err = <-over:
			busy = false
			<-tick.C
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-tick.C:
		}
	}
	if err != nil {
		cancel()
	}
	wg.Wait()
	return attempts, failed, err
}

// established says whether the connection of a dial was opened. One that was,
// and was reset before the dial looked, counts: a reset that comes before it is
// open is another error, ECONNREFUSED. A connection that is open when an address
// moves is reset by its new owner, and this one happened to be.
func established(err error) bool { return err == nil || errors.Is(err, syscall.ECONNRESET) }
