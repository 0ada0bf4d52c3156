package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// segment is a raw socket on a host's first interface.
type segment struct {
	*packet.Conn
	mac    net.HardwareAddr
	v4, v6 netip.Addr
}

// open opens a raw socket on the host.
func open(l *lab.Lab, hostName string) (*segment, error) {
	s := &segment{}
	err := l.InNetwork(hostName, func() error {
		ifi, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			return err
		}
		s.mac = ifi.HardwareAddr
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			switch ip := p.Addr(); {
			case err != nil || ip.IsLinkLocalUnicast():
			case ip.Is4() && !s.v4.IsValid():
				s.v4 = ip
			case ip.Is6() && !s.v6.IsValid():
				s.v6 = ip
			}
		}
		s.Conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raw socket on %s of %s: %w", device, hostName, err)
	}
	return s, nil
}

const device = "eth0"

// ask asks everybody who has the address.
func (s *segment) ask(ip netip.Addr) error {
	own := s.v4
	if ip.Is6() {
		own = s.v6
	}
	b, err := question(s.mac, own, ip)
	if err == nil {
		_, err = s.WriteTo(b, &packet.Addr{HardwareAddr: b[:6]})
	}
	if err != nil {
		return fmt.Errorf("asking who has %s: %w", ip, err)
	}
	return nil
}

// next is the next frame of ARP or NDP that another host sent.
func (s *segment) next() (Frame, error) {
	b := make([]byte, 256)
	for {
		n, _, err := s.ReadFrom(b)
		if err != nil {
			return Frame{}, err
		}
		if f, ok := decode(b[:n]); ok && f.From != s.mac.String() {
			f.At = time.Now()
			return f, nil
		}
	}
}

// Who asks, from the host, who has each of the addresses, and returns the
// hardware addresses of all that answered within wait, in order. Where nobody
// did, it goes on asking for as long as patience. An address for which nobody
// answered is not in the result.
func Who(ctx context.Context, l *lab.Lab, hostName string, wait, patience time.Duration, ips ...netip.Addr) (map[netip.Addr][]string, error) {
	s, err := open(l, hostName)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	all := map[netip.Addr][]string{}
	unanswered := slices.Clone(ips)
	for began := time.Now(); ; {
		for _, ip := range unanswered {
			if err := s.ask(ip); err != nil {
				return nil, errors.Join(ctx.Err(), fmt.Errorf("on %s: %w", hostName, err))
			}
		}
		if err := s.answers(time.Now().Add(wait), ips, all); err != nil {
			return nil, errors.Join(ctx.Err(), fmt.Errorf("listening on %s: %w", hostName, err))
		}
		unanswered = slices.DeleteFunc(unanswered, func(ip netip.Addr) bool { return len(all[ip]) > 0 })
		if len(unanswered) == 0 || time.Since(began) >= patience {
			break
		}
	}
	for _, macs := range all {
		slices.Sort(macs)
	}
	return all, ctx.Err()
}

// Resolution is how long a kernel asks for a neighbour before it gives up: three
// times, a second apart.
const Resolution = 3 * time.Second

// answers adds, until then, who answers for the addresses.
func (s *segment) answers(until time.Time, ips []netip.Addr, all map[netip.Addr][]string) error {
	if err := s.SetReadDeadline(until); err != nil {
		return err
	}
	for {
		f, err := s.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.Kind == Answer && slices.Contains(ips, f.IP) && !slices.Contains(all[f.IP], f.From) {
			all[f.IP] = append(all[f.IP], f.From)
		}
	}
}

// RoundTrips asks, from the host, n times for each of the addresses, one
// question after the other in turn, and returns how long the answers took to
// reach a program on the host.
func RoundTrips(ctx context.Context, l *lab.Lab, hostName string, n int, ips ...netip.Addr) (map[netip.Addr][]time.Duration, error) {
	s, err := open(l, hostName)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	all := map[netip.Addr][]time.Duration{}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range n {
		for _, ip := range ips {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-tick.C:
			}
			took, err := s.roundTrip(ip)
			if err != nil {
				return nil, fmt.Errorf("on %s: %w", hostName, err)
			}
			all[ip] = append(all[ip], took)
		}
	}
	return all, nil
}

// pace is the time from one question to the next.
const pace = 5 * time.Millisecond

func (s *segment) roundTrip(ip netip.Addr) (time.Duration, error) {
	if err := s.SetReadDeadline(time.Now().Add(attempt)); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := s.ask(ip); err != nil {
		return 0, err
	}
	for {
		f, err := s.next()
		if err != nil {
			return 0, fmt.Errorf("waiting for the answer for %s: %w", ip, err)
		}
		if f.Kind == Answer && f.IP == ip {
			return f.At.Sub(began), nil
		}
	}
}
