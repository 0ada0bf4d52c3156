package probe

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// Links hears of the interfaces of a host that go down.
type Links struct {
	end  func()
	down chan linkDown
}

type linkDown struct {
	at   time.Time
	name string
}

// WatchLinks hears of every change from then on. Stop ends it.
func WatchLinks(l *lab.Lab, hostName string) (*Links, error) {
	updates, done := make(chan netlink.LinkUpdate, 1<<10), make(chan struct{})
	if err := l.InNetwork(hostName, func() error { return netlink.LinkSubscribe(updates, done) }); err != nil {
		close(done)
		return nil, fmt.Errorf("watching the interfaces of %s: %w", hostName, err)
	}
	w := &Links{end: sync.OnceFunc(func() { close(done) }), down: make(chan linkDown, 1<<10)}
	go func() {
		for u := range updates {
			if a := u.Attrs(); a.Flags&net.FlagUp == 0 {
				w.down <- linkDown{time.Now(), a.Name}
			}
		}
	}()
	return w, nil
}

// Down waits until an interface went down, and returns when it did.
func (w *Links) Down(ctx context.Context, name string) (time.Time, error) {
	for {
		select {
		case d := <-w.down:
			if d.name == name {
				return d.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for interface %s to go down: %w", name, ctx.Err())
		}
	}
}

// Stop ends the watch.
func (w *Links) Stop() { w.end() }
