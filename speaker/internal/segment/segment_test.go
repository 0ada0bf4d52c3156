package segment

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/sandbox"
	"github.com/porchlight-lb/porchlight/speaker/layer2"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

var (
	vip4 = netip.MustParseAddr("192.0.2.10")
	vip6 = netip.MustParseAddr("2001:db8::10")
)

// fixture is a Segment on this host, and what its election is told. Each test
// names its interfaces for itself.
type fixture struct {
	*Segment
	t      *testing.T
	frozen atomic.Bool

	told       sync.Mutex
	interfaces []election.Interface
	saw        []election.SawAnnouncement
	news       chan struct{}
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Segment: New(slog.New(slog.NewTextHandler(io.Discard, nil))), t: t, news: make(chan struct{}, 1)}
	f.Fresh = func() bool { return !f.frozen.Load() }
	f.Post = func(ev election.Event) {
		f.told.Lock()
		defer f.told.Unlock()
		switch ev := ev.(type) {
		case election.SetInterfaces:
			f.interfaces = ev.Interfaces
		case election.SawAnnouncement:
			f.saw = append(f.saw, ev)
		}
		select {
		case f.news <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- f.Run(ctx, ready) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-ready
	return f
}

// awaits waits until what was told is as wanted.
func (f *fixture) awaits(what string, want func() bool) {
	f.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		f.told.Lock()
		ok := want()
		f.told.Unlock()
		if ok {
			return
		}
		select {
		case <-f.news:
		case <-deadline:
			f.t.Fatalf("never: %s; interfaces %+v, saw %+v", what, f.interfaces, f.saw)
		}
	}
}

func (f *fixture) interfaceNamed(name string) (election.Interface, bool) {
	i := slices.IndexFunc(f.interfaces, func(i election.Interface) bool { return i.Name == name })
	if i < 0 {
		return election.Interface{}, false
	}
	return f.interfaces[i], true
}

func (f *fixture) awaitsInterface(name string) (found election.Interface) {
	f.t.Helper()
	f.awaits("there is "+name, func() bool {
		var ok bool
		found, ok = f.interfaceNamed(name)
		return ok
	})
	return found
}

func (f *fixture) awaitsNone(name string) {
	f.t.Helper()
	f.awaits("there is no "+name, func() bool { _, ok := f.interfaceNamed(name); return !ok })
}

// client is a host on the other end of an interface of this one, with addresses
// of both families on the segment.
func client(t *testing.T, here string) *sandbox.Host {
	t.Helper()
	h := sandbox.NewHost(t)
	h.Link(here, "eth0")
	t.Cleanup(func() { sandbox.Run(t, "ip", "link", "del", here) })
	sandbox.Run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", here)
	h.Run("ip", "addr", "add", "192.0.2.100/24", "dev", "eth0")
	h.Run("ip", "addr", "add", "2001:db8::100/64", "dev", "eth0", "nodad")
	return h
}

func answer(on ...string) []election.Answer {
	return []election.Answer{{IP: vip4, Interfaces: on}, {IP: vip6, Interfaces: on}}
}

// poke has the client's kernel look for an address.
func poke(h *sandbox.Host, ip netip.Addr) {
	h.Run("bash", "-c", "echo > /dev/udp/"+ip.String()+"/9")
}

// neighbour waits until the client's kernel knows, or gave up, where an address
// lives.
func neighbour(t *testing.T, h *sandbox.Host, ip netip.Addr) string {
	t.Helper()
	h.Run("ip", "neigh", "flush", "to", ip.String(), "dev", "eth0")
	poke(h, ip)
	for deadline := time.Now().Add(30 * time.Second); ; {
		got := h.Run("ip", "neigh", "show", ip.String(), "dev", "eth0")
		if strings.Contains(got, "lladdr") || strings.Contains(got, "FAILED") {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("the kernel still looks for %s: %q", ip, got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func text(mac election.MAC) string { return net.HardwareAddr(mac[:]).String() }

func TestAnswersAKernel(t *testing.T) {
	h := client(t, "ans0")
	f := newFixture(t)
	mac := text(f.awaitsInterface("ans0").MAC)
	f.Answer(answer("ans0"), nil)
	for _, ip := range []netip.Addr{vip4, vip6} {
		if got := neighbour(t, h, ip); !strings.Contains(got, mac) {
			t.Errorf("the kernel found %q for %s, want %s", got, ip, mac)
		}
	}
	f.Withdraw(answer())
	for _, ip := range []netip.Addr{vip4, vip6} {
		if got := neighbour(t, h, ip); !strings.Contains(got, "FAILED") {
			t.Errorf("withdrawn, the kernel still found %q for %s", got, ip)
		}
	}
}

// A host that wants the address for itself is told that it is in use.
func TestDuplicateDetection(t *testing.T) {
	h := client(t, "dup0")
	f := newFixture(t)
	f.awaitsInterface("dup0")
	f.Answer(answer("dup0"), nil)
	// From 0.0.0.0, as a host asks that has no address yet (RFC 5227).
	h.Run("arping", "-0", "-C", "1", "-w", "20", "-i", "eth0", vip4.String())
	h.Run("ip", "addr", "add", vip6.String()+"/64", "dev", "eth0")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := h.Run("ip", "addr", "show", "dev", "eth0", "to", vip6.String())
		if strings.Contains(got, "dadfailed") {
			break
		}
		if !strings.Contains(got, "tentative") || time.Now().After(deadline) {
			t.Fatalf("the kernel took the address: %s", got)
		}
	}
}

// wire is raw sockets on the client's side of the segment.
type wire struct {
	t        *testing.T
	mac      net.HardwareAddr
	arp, ndp *packet.Conn
}

func tap(t *testing.T, h *sandbox.Host) *wire {
	t.Helper()
	w := &wire{t: t}
	var err error
	h.Do(func() {
		var ifi *net.Interface
		if ifi, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		w.mac = ifi.HardwareAddr
		if w.arp, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ARP, nil); err != nil {
			return
		}
		w.ndp, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = w.arp.Close(), w.ndp.Close() })
	return w
}

func (w *wire) send(ip netip.Addr, frame []byte) {
	w.t.Helper()
	conn := w.arp
	if ip.Is6() {
		conn = w.ndp
	}
	if _, err := conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}); err != nil {
		w.t.Fatal(err)
	}
}

// next returns the next frame in which the address is announced or answered
// for, and from where.
func (w *wire) next(ip netip.Addr) (frame []byte, from net.HardwareAddr) {
	w.t.Helper()
	conn, decide := w.arp, layer2.ARP
	if ip.Is6() {
		conn, decide = w.ndp, layer2.NDP
	}
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.t.Fatal(err)
	}
	for {
		b := make([]byte, 1500)
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			w.t.Fatalf("nothing is said of %s: %v", ip, err)
		}
		if d := decide(b[:n], w.mac, func(netip.Addr) bool { return false }); d.Drop == layer2.Announcement && d.IP == ip {
			return b[:n], d.From
		}
	}
}

// What is taken over is announced in every form that the RFCs know.
func TestAnnounces(t *testing.T) {
	h := client(t, "ann0")
	w := tap(t, h)
	f := newFixture(t)
	mac := f.awaitsInterface("ann0").MAC
	f.Answer(answer("ann0"), nil)
	request, _ := w.next(vip4)
	reply, from := w.next(vip4)
	if request[21] != 1 || reply[21] != 2 || !bytes.Equal(from, mac[:]) {
		t.Errorf("gratuitous ARP: operations %d and %d from %s", request[21], reply[21], from)
	}
	const override = 0x20
	advertisement, from := w.next(vip6)
	if flags := advertisement[14+40+4]; flags != override || !bytes.Equal(from, mac[:]) {
		t.Errorf("unsolicited neighbour advertisement: flags %#x from %s", flags, from)
	}
	// The first repetition.
	if _, from := w.next(vip4); !bytes.Equal(from, mac[:]) {
		t.Errorf("repeated from %s", from)
	}
}

// What stays is announced again from time to time, for those that forgot.
func TestRefreshes(t *testing.T) {
	h := client(t, "ref0")
	w := tap(t, h)
	f := newFixture(t)
	f.awaitsInterface("ref0")
	f.mu.Lock()
	f.Refresh = resolution
	f.mu.Unlock()
	f.Answer(answer("ref0"), nil)
	for _, ip := range []netip.Addr{vip4, vip6} {
		for range announceTimes + 1 {
			for range layer2.Announce(ip, w.mac) { // so many frames each time
				w.next(ip)
			}
		}
	}
}

// A request is answered once, by the bridge, though its member hears it too.
func TestBridgeMemberKeepsSilent(t *testing.T) {
	h := sandbox.NewHost(t)
	h.Link("brm0", "eth0")
	sandbox.Run(t, "ip", "link", "add", "brt0", "type", "bridge")
	t.Cleanup(func() { sandbox.Run(t, "ip", "link", "del", "brt0"); sandbox.Run(t, "ip", "link", "del", "brm0") })
	sandbox.Run(t, "ip", "link", "set", "brm0", "master", "brt0")
	sandbox.Run(t, "ip", "link", "set", "brt0", "up")
	sandbox.Run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "brt0")
	sandbox.Run(t, "ip", "addr", "add", "192.0.2.2/24", "dev", "brm0")
	w := tap(t, h)
	f := newFixture(t)
	mac := f.awaitsInterface("brt0").MAC
	if _, listed := f.interfaceNamed("brm0"); listed {
		t.Error("the bridge's member can announce")
	}
	f.Answer([]election.Answer{{IP: vip4, Interfaces: []string{"brt0", "brm0"}}}, nil)
	for range 2 { // the announcement, as request and as reply
		w.next(vip4)
	}
	w.send(vip4, layer2.Probe(vip4, w.mac))
	if _, from := w.next(vip4); !bytes.Equal(from, mac[:]) {
		t.Errorf("answered by %s, want the bridge's %s", from, text(mac))
	}
	f.Withdraw([]election.Answer{{IP: vip4}})
	f.Answer([]election.Answer{{IP: netip.MustParseAddr("192.0.2.11"), Interfaces: []string{"brt0"}}}, nil)
	if frame, _ := w.next(netip.MustParseAddr("192.0.2.11")); frame[21] != 1 {
		t.Error("something else than the announcement came")
	}
}

// Interfaces are followed as they come, go, and change, and what is answered
// for is announced again where the others cannot know it any more.
func TestFollowsInterfaces(t *testing.T) {
	f := newFixture(t)
	h := client(t, "fol0")
	before := f.awaitsInterface("fol0").MAC
	f.awaits("its subnet", func() bool {
		i, _ := f.interfaceNamed("fol0")
		return slices.Contains(i.Prefixes, netip.MustParsePrefix("192.0.2.0/24"))
	})
	f.Answer(answer("fol0"), nil)

	h.Run("ip", "link", "set", "eth0", "down") // no carrier here
	f.awaitsNone("fol0")
	h.Run("ip", "link", "set", "eth0", "up")
	h.Run("ip", "addr", "add", "2001:db8::100/64", "dev", "eth0", "nodad") // went with the link
	f.awaitsInterface("fol0")
	finds := func(when, mac string) {
		t.Helper()
		for _, ip := range []netip.Addr{vip4, vip6} {
			if got := neighbour(t, h, ip); !strings.Contains(got, mac) {
				t.Errorf("%s, the kernel finds %q for %s; want %s", when, got, ip, mac)
			}
		}
	}
	finds("with the carrier back", text(before))

	sandbox.Run(t, "ip", "link", "set", "fol0", "address", "02:00:00:00:00:77")
	f.awaits("the new hardware address", func() bool {
		i, _ := f.interfaceNamed("fol0")
		return i.MAC == election.MAC{2, 0, 0, 0, 0, 0x77}
	})
	// By the announcement alone: the client does not ask again.
	const changed = "02:00:00:00:00:77"
	for _, ip := range []netip.Addr{vip4, vip6} {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if got := h.Run("ip", "neigh", "show", ip.String(), "dev", "eth0"); strings.Contains(got, changed) {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("after the change of the hardware address: %q for %s", got, ip)
			}
		}
	}

	sandbox.Run(t, "ip", "link", "set", "fol0", "down")
	f.awaitsNone("fol0")
	sandbox.Run(t, "ip", "link", "set", "fol0", "name", "fol1")
	sandbox.Run(t, "ip", "link", "set", "fol1", "up")
	f.awaitsInterface("fol1")
	f.Answer(answer("fol1"), nil)
	finds("under another name", changed)
	sandbox.Run(t, "ip", "link", "set", "fol1", "name", "fol0") // while it is up
	f.awaitsNone("fol1")
	f.Answer(answer("fol0"), nil)
	finds("under its first name", changed)
}

// What comes in with a tag is for the interface of that VLAN, whether there is
// one or not: the interface below keeps silent.
func TestTaggedRequestIsNotAnswered(t *testing.T) {
	h := client(t, "tag0")
	w := tap(t, h)
	f := newFixture(t)
	f.awaitsInterface("tag0")
	f.Answer(answer("tag0"), nil)
	for _, of := range []struct {
		protocol   string
		owned, not netip.Addr
	}{{"arp", vip4, netip.MustParseAddr("192.0.2.99")}, {"ndp", vip6, netip.MustParseAddr("2001:db8::99")}} {
		answers := counted(t, answered.WithLabelValues(of.protocol))
		next := dropped.WithLabelValues(of.protocol, string(layer2.NotOwned))
		before := counted(t, next)
		const vlan5 = "\x81\x00\x00\x05"
		frame := layer2.Probe(of.owned, w.mac)
		w.send(of.owned, slices.Concat(frame[:12], []byte(vlan5), frame[12:]))
		w.send(of.not, layer2.Probe(of.not, w.mac)) // comes after it
		rises(t, next, before)
		if counted(t, answered.WithLabelValues(of.protocol)) != answers {
			t.Errorf("%s: the request with a tag is answered", of.protocol)
		}
	}
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// rises waits until a counter is above what it was.
func rises(t *testing.T, c prometheus.Counter, before float64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); counted(t, c) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never counted: %s", c.Desc())
		}
	}
}

// Until the election knows that the process was frozen, nobody is answered.
func TestFrozenProcessKeepsSilent(t *testing.T) {
	h := client(t, "fro0")
	w := tap(t, h)
	f := newFixture(t)
	f.awaitsInterface("fro0")
	f.Answer(answer("fro0"), nil)
	for range 2 {
		w.next(vip4)
	}
	f.frozen.Store(true)
	drops := dropped.WithLabelValues("arp", string(layer2.Frozen))
	before := counted(t, drops)
	w.send(vip4, layer2.Probe(vip4, w.mac))
	rises(t, drops, before)
	f.frozen.Store(false)
	w.send(vip4, layer2.Probe(vip4, w.mac))
	// An answer has its asker as target; a repeated announcement does not.
	for {
		if frame, _ := w.next(vip4); bytes.Equal(frame[:6], w.mac) {
			break
		}
	}
}

// Others are heard where it matters, and nowhere else.
func TestHearsOthers(t *testing.T) {
	h := client(t, "oth0")
	w := tap(t, h)
	f := newFixture(t)
	mac := f.awaitsInterface("oth0").MAC
	f.Answer(answer("oth0"), nil)
	foreign := []netip.Addr{netip.MustParseAddr("192.0.2.99"), vip4, netip.MustParseAddr("2001:db8::99"), vip6}
	for _, ip := range foreign {
		for _, frame := range layer2.Announce(ip, w.mac) {
			w.send(ip, frame)
		}
	}
	want := map[netip.Addr]bool{vip4: true, vip6: true}
	f.awaits("both addresses are heard", func() bool {
		of := map[netip.Addr]bool{}
		for _, saw := range f.saw {
			of[saw.IP] = true
			if !want[saw.IP] || saw.From != election.MAC(w.mac) || saw.Mine != mac {
				t.Fatalf("heard %+v", saw)
			}
		}
		return len(of) == len(want)
	})
}

// A host that came back is found though the kernel asked for it in vain, and
// would ask again much later; and it knows this host.
func TestResolves(t *testing.T) {
	h := client(t, "res0")
	sandbox.Run(t, "ip", "addr", "add", "2001:db8::1/64", "dev", "res0", "nodad")
	for _, family := range []string{"ipv4", "ipv6"} {
		sandbox.Run(t, "bash", "-c", "echo 600000 > /proc/sys/net/"+family+"/neigh/res0/retrans_time_ms")
	}
	f := newFixture(t)
	f.awaits("both subnets", func() bool {
		i, ok := f.interfaceNamed("res0")
		return ok && len(i.Prefixes) == 2
	})
	for _, of := range []struct{ this, other string }{{"192.0.2.1", "192.0.2.100"}, {"2001:db8::1", "2001:db8::100"}} {
		there := netip.MustParseAddr(of.other)
		h.Run("ip", "link", "set", "eth0", "arp", "off")
		sandbox.Run(t, "bash", "-c", "echo > /dev/udp/"+of.other+"/9")
		if got := sandbox.Run(t, "ip", "neigh", "show", of.other); !strings.Contains(got, "INCOMPLETE") {
			t.Fatalf("the kernel does not look for %s: %q", there, got)
		}
		h.Run("ip", "link", "set", "eth0", "arp", "on")
		f.Resolve(there, netip.MustParseAddr(of.this))
		for _, knows := range []func() string{
			func() string { return sandbox.Run(t, "ip", "neigh", "show", of.other) },
			func() string { return h.Run("ip", "neigh", "show", of.this) },
		} {
			for deadline := time.Now().Add(30 * time.Second); !strings.Contains(knows(), "lladdr"); {
				if time.Now().After(deadline) {
					t.Fatalf("%s and %s do not know each other: %q", of.this, of.other, knows())
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
}

// The kernel listens to the groups of what is answered for, as long as it is.
func TestGroups(t *testing.T) {
	client(t, "gro0")
	f := newFixture(t)
	f.awaitsInterface("gro0")
	joined := func(last string) bool {
		return strings.Contains(sandbox.Run(t, "ip", "-6", "maddr", "show", "dev", "gro0"), "ff02::1:ff00:"+last)
	}
	alike := netip.MustParseAddr("2001:db8:1::10") // in the same group as vip6
	f.Answer([]election.Answer{{IP: vip6, Interfaces: []string{"gro0"}}, {IP: alike, Interfaces: []string{"gro0"}}}, nil)
	if !joined("10") {
		t.Error("the group is not joined")
	}
	f.Withdraw([]election.Answer{{IP: alike}})
	if !joined("10") {
		t.Error("the group is left though an address needs it")
	}
	f.Withdraw([]election.Answer{{IP: vip6}})
	if joined("10") {
		t.Error("the group is not left")
	}
}
