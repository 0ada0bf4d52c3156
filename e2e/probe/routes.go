package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// RouteChange is a change of a route in a kernel.
type RouteChange struct {
	At     time.Time
	Prefix netip.Prefix
	// Via are the next hops that the route has then; none: it is gone.
	Via []netip.Addr
}

// Routes are the changes of the routes in a host's kernel.
type Routes struct {
	end func()

	mu      sync.Mutex
	changes []RouteChange
	failed  error
	heard   chan struct{}
}

// WatchRoutes hears of every change from then on. Stop ends it.
func WatchRoutes(l *lab.Lab, hostName string) (*Routes, error) {
	r := &Routes{heard: make(chan struct{}, 1)}
	updates, done := make(chan netlink.RouteUpdate, 1<<15), make(chan struct{})
	err := l.InNetwork(hostName, func() error {
		return netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{
			ReceiveBufferSize: 16 << 20, ReceiveBufferForceSize: true,
			ErrorCallback: func(err error) { r.note(RouteChange{}, err) },
		})
	})
	if err != nil {
		close(done)
		return nil, fmt.Errorf("watching the routes of %s: %w", hostName, err)
	}
	r.end = sync.OnceFunc(func() { close(done) })
	go func() {
		for u := range updates {
			if c, ok := routeChange(u); ok {
				r.note(c, nil)
			}
		}
	}()
	return r, nil
}

func routeChange(u netlink.RouteUpdate) (RouteChange, bool) {
	if u.Dst == nil || u.Route.Type != unix.RTN_UNICAST {
		return RouteChange{}, false
	}
	ip, _ := netip.AddrFromSlice(u.Dst.IP)
	bits, _ := u.Dst.Mask.Size()
	c := RouteChange{At: time.Now(), Prefix: netip.PrefixFrom(ip.Unmap(), bits)}
	if u.Type != unix.RTM_NEWROUTE {
		return c, true
	}
	for _, hop := range append(u.MultiPath, &netlink.NexthopInfo{Gw: u.Gw}) {
		if gateway, ok := netip.AddrFromSlice(hop.Gw); ok {
			c.Via = append(c.Via, gateway.Unmap())
		}
	}
	slices.SortFunc(c.Via, netip.Addr.Compare)
	return c, true
}

func (r *Routes) note(c RouteChange, err error) {
	r.mu.Lock()
	if err != nil && r.failed == nil {
		r.failed = err
	} else if err == nil {
		r.changes = append(r.changes, c)
	}
	r.mu.Unlock()
	select {
	case r.heard <- struct{}{}:
	default:
	}
}

// Changes are those up to now, in order; an error where some were missed.
func (r *Routes) Changes() ([]RouteChange, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.changes), r.failed
}

// Await waits for a change, of those up to now or to come, that is as ok says.
// One goroutine at a time may wait.
func (r *Routes) Await(ctx context.Context, ok func(RouteChange) bool) (RouteChange, error) {
	for seen := 0; ; {
		changes, err := r.Changes()
		if err != nil {
			return RouteChange{}, err
		}
		for ; seen < len(changes); seen++ {
			if ok(changes[seen]) {
				return changes[seen], nil
			}
		}
		select {
		case <-r.heard:
		case <-ctx.Done():
			return RouteChange{}, fmt.Errorf("waiting for a change of a route: %w", ctx.Err())
		}
	}
}

// Stop ends the watch.
func (r *Routes) Stop() { r.end() }
