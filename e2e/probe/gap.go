// Package probe measures, from a host of the lab, what a user of the network
// would feel.
package probe

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Dial opens a connection, from some host.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

const (
	every   = 10 * time.Millisecond // between two attempts
	attempt = time.Second           // how long one may take
	settled = 500 * time.Millisecond
	patient = 30 * time.Second
)

// LongestGap opens a new TCP connection to address every 10 ms. Once they are
// established without a failure for half a second it calls fault, and returns
// the longest time from then on in which none was established. It stops once
// none has failed for half a second, at the earliest an attempt's time after
// the fault, and gives up after half a minute.
func LongestGap(ctx context.Context, dial Dial, address string, fault func() error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	p := &attempts{}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	try := func() {
		began := time.Now()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, attempt)
			defer cancel()
			conn, err := dial(ctx, "tcp", address)
			if err == nil {
				_ = conn.Close() // it was opened; that is all that is measured
			}
			p.note(began, err == nil)
		})
	}
	for began := time.Now(); time.Since(began) < settled || !p.steady(settled); <-tick.C {
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("%s did not answer before the fault: %w", address, err)
		}
		try()
	}
	p.forget()
	broken := make(chan error, 1)
	wg.Go(func() { broken <- fault() })
	var at time.Time // when the fault was in force
	for {
		try()
		select {
		case err := <-broken:
			if err != nil {
				return 0, fmt.Errorf("bringing about the fault: %w", err)
			}
			at = time.Now()
		case <-ctx.Done():
			return 0, fmt.Errorf("%s did not answer again: %w", address, ctx.Err())
		case <-tick.C:
		}
		if !at.IsZero() && time.Since(at) > attempt+settled && p.steady(settled) {
			return p.longest(), nil
		}
	}
}

// attempts are when connections were established, and when the last that
// failed was begun.
type attempts struct {
	mu        sync.Mutex
	succeeded []time.Time
	failed    time.Time
}

func (p *attempts) note(began time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !ok {
		if began.After(p.failed) {
			p.failed = began
		}
		return
	}
	p.succeeded = append(p.succeeded, time.Now())
}

// steady says whether attempts of the last d succeeded and none of them
// failed.
func (p *attempts) steady(d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.succeeded) == 0 {
		return false
	}
	last := p.succeeded[len(p.succeeded)-1]
	return time.Since(last) < d && last.Sub(p.failed) > d
}

// forget leaves what was before the last connection out of account.
func (p *attempts) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.succeeded = p.succeeded[len(p.succeeded)-1:]
}

func (p *attempts) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gap time.Duration
	for i := 1; i < len(p.succeeded); i++ {
		gap = max(gap, p.succeeded[i].Sub(p.succeeded[i-1]))
	}
	return gap
}
