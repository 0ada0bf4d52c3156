package peering

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/ndp"

	"github.com/porchlight-lb/porchlight/internal/reason"
)

// advertiseEvery is how often the node shows itself on the link of an
// unnumbered peer, and heardWithin how long a router counts that is silent:
// routers that peer unnumbered advertise every 10 s or so.
const (
	advertiseEvery = 5 * time.Second
	heardWithin    = 35 * time.Second
)

// link finds the router on an interface by its router advertisements, and
// advertises the node as the router expects of a peer: as a router of lifetime
// 0, which nobody takes for a default gateway (RFC 4861 section 4.2).
type link struct {
	log     *slog.Logger
	name    string
	changed chan struct{}
	stop    chan struct{}
	done    sync.WaitGroup

	mu     sync.Mutex
	router netip.Addr
	heard  time.Time
	err    error
}

func newLink(log *slog.Logger, name string) *link {
	l := &link{log: log, name: name, changed: make(chan struct{}, 1), stop: make(chan struct{})}
	l.done.Go(l.run)
	return l
}

func (l *link) close() {
	close(l.stop)
	l.done.Wait()
}

func (l *link) find() (target, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return target{}, l.err
	case !l.router.IsValid() || time.Since(l.heard) > heardWithin:
		return target{}, errors.New("no router advertisement was heard on interface " + l.name)
	}
	return target{address: l.router.WithZone(l.name), device: l.name}, nil
}

// run listens and advertises, again and again: interfaces come and go.
func (l *link) run() {
	for {
		err := l.listen()
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		select {
		case <-l.stop:
			return
		case <-time.After(time.Second):
		}
	}
}

// listen works until the interface fails or the link is closed.
func (l *link) listen() error {
	i, err := net.InterfaceByName(l.name)
	if err != nil {
		return refused(reason.InterfaceNotFound, "interface %s: %v", l.name, err)
	}
	conn, _, err := ndp.Listen(i, ndp.LinkLocal)
	if err != nil {
		return err
	}
	defer conn.Close()
	all := netip.MustParseAddr("ff02::2") // all routers, for their solicitations
	if err := conn.JoinGroup(all); err != nil {
		return err
	}
	if err := conn.WriteTo(&ndp.RouterSolicitation{}, nil, all); err != nil {
		return err
	}
	var due time.Time
	for {
		if now := time.Now(); !now.Before(due) {
			if err := l.advertise(conn, i); err != nil {
				return err
			}
			due = now.Add(advertiseEvery)
		}
		// The deadline is short for close to be quick.
		if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return err
		}
		m, cm, from, err := conn.ReadFrom()
		select {
		case <-l.stop:
			return nil
		default:
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			var network *net.OpError
			if errors.As(err, &network) {
				return err
			}
			continue // not a message of this protocol
		case cm != nil && cm.HopLimit != 0 && cm.HopLimit != 255: // RFC 4861 section 6.1.2
			continue
		}
		switch m.(type) {
		case *ndp.RouterAdvertisement:
			l.saw(from.WithZone(""))
		case *ndp.RouterSolicitation:
			due = time.Time{}
		}
	}
}

func (l *link) advertise(conn *ndp.Conn, i *net.Interface) error {
	m := &ndp.RouterAdvertisement{CurrentHopLimit: 64, Options: []ndp.Option{
		&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: i.HardwareAddr},
	}}
	return conn.WriteTo(m, nil, netip.MustParseAddr("ff02::1"))
}

// saw takes a router: the one that is there already, as long as it is heard.
func (l *link) saw(router netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = nil
	if router != l.router && time.Since(l.heard) < heardWithin {
		return
	}
	if router != l.router {
		l.log.Info("found the router", "interface", l.name, "address", router)
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
	l.router, l.heard = router, time.Now()
}
