package proxy

import (
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/speaker/internal/sandbox"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// A node with a pod, and a service proxy's rules for some addresses.
func TestAsk(t *testing.T) {
	pod := sandbox.NewHost(t)
	pod.Link("pod0", "eth0")
	for _, a := range [...]string{"10.0.0.1/24", "fd00::1/64"} {
		sandbox.Run(t, "ip", "address", "add", a, "dev", "pod0", "nodad")
	}
	for _, a := range [...]string{"10.0.0.2/24", "fd00::2/64"} {
		pod.Run("ip", "address", "add", a, "dev", "eth0", "nodad")
	}
	for _, family := range [...]string{"-4", "-6"} {
		sandbox.Run(t, "ip", family, "route", "add", "default", "dev", "pod0")
		pod.Run("ip", family, "route", "add", "default", "dev", "eth0")
	}
	rules(t, `table inet proxy {
	  chain nat { type nat hook output priority -100;
	    ip daddr 192.0.2.1 tcp dport 80 dnat ip to 10.0.0.2:8080
	    ip daddr 192.0.2.1 udp dport 53 dnat ip to 10.0.0.2:5353
	    ip daddr 192.0.2.2 tcp dport 80 dnat ip to 10.0.0.1:8080
	    ip6 daddr 2001:db8::1 tcp dport 80 dnat ip6 to [fd00::2]:8080
	    ip6 daddr 2001:db8::1 udp dport 53 dnat ip6 to [fd00::2]:5353
	  }
	  chain filter { type filter hook output priority 0;
	    ip daddr 192.0.2.3 reject
	    ip daddr 192.0.2.4 drop
	    ip6 daddr 2001:db8::3 reject
	  }
	}`)
	k, err := NewKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	listener, socket := applications(t, pod)
	tcp, udp := watch.Port{Number: 80}, watch.Port{Number: 53, UDP: true}
	for _, tt := range []struct {
		what string
		ip   string
		port watch.Port
		want Answer
	}{
		{"goes to a pod", "192.0.2.1", tcp, Translated},
		{"goes to a pod, datagram", "192.0.2.1", udp, Translated},
		{"goes to the node itself", "192.0.2.2", tcp, Translated},
		{"has no endpoint", "192.0.2.3", tcp, Refused},
		{"is not for this node", "192.0.2.4", tcp, Refused},
		{"is not known", "192.0.2.5", tcp, Untouched},
		{"is not known, datagram", "192.0.2.5", udp, Untouched},
		{"has another port", "192.0.2.1", watch.Port{Number: 81}, Untouched},
		{"IPv6, goes to a pod", "2001:db8::1", tcp, Translated},
		{"IPv6, goes to a pod, datagram", "2001:db8::1", udp, Translated},
		{"IPv6, has no endpoint", "2001:db8::3", tcp, Refused},
		{"IPv6, is not known", "2001:db8::5", tcp, Untouched},
		{"IPv6, is not known, datagram", "2001:db8::5", udp, Untouched},
	} {
		for range 3 {
			if got := k.Ask(netip.MustParseAddr(tt.ip), tt.port); got != tt.want {
				t.Errorf("an address that %s: got %s, want %s", tt.what, got, tt.want)
			}
		}
	}
	// What was asked about before is not what it was.
	late := netip.MustParseAddr("192.0.2.5")
	rules(t, `table ip later { chain nat { type nat hook output priority -99; ip daddr 192.0.2.5 tcp dport 80 dnat to 10.0.0.2:8080; }; }`)
	if got := k.Ask(late, tcp); got != Translated {
		t.Errorf("an address that is translated now: got %s", got)
	}
	// The first that the pod's applications hear is what is sent to them now.
	c, err := net.Dial("tcp", "10.0.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	first, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	if first.RemoteAddr().String() != c.LocalAddr().String() {
		t.Errorf("a connection from %s", first.RemoteAddr())
	}
	d, err := net.Dial("udp", "10.0.0.2:5353")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if _, err := d.Write([]byte("query")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	n, _, err := socket.ReadFrom(b)
	if err != nil || string(b[:n]) != "query" {
		t.Errorf("a datagram %q, %v", b[:n], err)
	}
}

// rules gives the node more rules of nftables.
func rules(t *testing.T, rules string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
}

// applications listens on the ports of a pod that TestAsk's rules lead to.
func applications(t *testing.T, pod *sandbox.Host) (listener net.Listener, socket net.PacketConn) {
	t.Helper()
	var failed error
	pod.Do(func() {
		var err error
		listener, failed = net.Listen("tcp", ":8080")
		if socket, err = net.ListenPacket("udp", ":5353"); err != nil {
			failed = err
		}
	})
	if failed != nil {
		t.Fatal(failed)
	}
	t.Cleanup(func() { _, _ = listener.Close(), socket.Close() })
	return listener, socket
}

func BenchmarkAsk(b *testing.B) {
	k, err := NewKernel()
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	for b.Loop() {
		k.Ask(netip.MustParseAddr("127.0.0.2"), watch.Port{Number: 80})
	}
}
