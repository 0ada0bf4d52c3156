package peering

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// The tests of this package speak with real routers: FRR and BIRD, each in a
// network namespace of its own. The test itself is a node: it runs in a
// namespace whose bridge joins them all.
//
//	br0     node   10.0.0.11, fd00:a::11
//	eth0    frr    10.0.0.1,  fd00:a::1, AS 64512
//	eth0    bird   10.0.0.2,  fd00:a::2, AS 64513

const inNamespace = "PORCHLIGHT_TEST_NAMESPACE"

func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		must("ip", "link", "set", "lo", "up")
		must("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
		must("sysctl", "-qw", "net.ipv6.conf.br0.accept_dad=0", "net.ipv6.conf.br0.accept_ra=0")
		must("ip", "link", "set", "br0", "up")
		must("ip", "address", "add", "10.0.0.11/24", "dev", "br0")
		must("ip", "address", "add", "fd00:a::11/64", "dev", "br0", "nodad")
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests of this package run as root, in a network namespace:", err)
		os.Exit(1)
	}
}

func must(name string, args ...string) {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		os.Exit(1)
	}
}

// router is a running router.
type router struct {
	t    *testing.T
	pid  int
	port string // on the bridge
	end  func()
}

var ports int

// newRouter starts a namespace with script in it; the router ends with it.
func newRouter(t *testing.T, addresses []string, script string) *router {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("sh", "-ec", "mount --make-rprivate /\nread go\n"+script+"\nexec sleep infinity")
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting a router: %v", err)
	}
	ports++
	port := "port" + strconv.Itoa(ports)
	r := &router{t: t, pid: cmd.Process.Pid, port: port}
	r.end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		// The kernel takes its time to take a namespace apart, which answers for
		// its addresses until then.
		_ = exec.Command("ip", "link", "delete", port).Run()
		if t.Failed() && stderr.Len() > 0 {
			t.Log(stderr.String())
		}
	})
	t.Cleanup(r.end)
	run(t, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(r.pid))
	run(t, "ip", "link", "set", port, "master", "br0", "up")
	r.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0", "net.ipv6.conf.eth0.accept_ra=0")
	for _, a := range addresses {
		r.run("ip", "address", "add", a, "dev", "eth0")
	}
	r.run("ip", "link", "set", "lo", "up")
	r.run("ip", "link", "set", "eth0", "up")
	run(t, "ip", "neighbour", "flush", "dev", "br0") // of a router that had these addresses before
	if _, err := io.WriteString(stdin, "go\n"); err != nil {
		t.Fatal(err)
	}
	return r
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// run runs a command in the router.
func (r *router) run(args ...string) string {
	r.t.Helper()
	return run(r.t, "nsenter", append([]string{"-t", strconv.Itoa(r.pid), "-n", "-m", "-p"}, args...)...)
}

// try runs a command in the router, which may fail.
func (r *router) try(args ...string) string {
	out, _ := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(r.pid), "-n", "-m", "-p"}, args...)...).CombinedOutput()
	return string(out)
}

// frr starts FRR with what is in its "router bgp 64512".
func frr(t *testing.T, lines ...string) *router {
	t.Helper()
	dir := t.TempDir()
	config := "hostname frr\nrouter bgp 64512\n bgp router-id 10.0.0.1\n no bgp ebgp-requires-policy\n no bgp network import-check\n timers bgp 3 9\n " +
		strings.Join(lines, "\n ") + "\nexit\n"
	write(t, filepath.Join(dir, "zebra.conf"), "hostname frr\n")
	write(t, filepath.Join(dir, "bgpd.conf"), config)
	write(t, filepath.Join(dir, "bfdd.conf"), "hostname frr\nbfd\n profile fast\n  detect-multiplier 3\n  receive-interval 50\n  transmit-interval 50\n exit\nexit\n")
	r := newRouter(t, []string{"10.0.0.1/24", "fd00:a::1/64"}, fmt.Sprintf(`
for d in /var/run/frr /var/tmp/frr; do mkdir -p $d; mount -t tmpfs tmpfs $d; chown frr:frr $d; done
install -o frr -g frr %[1]s/*.conf /var/run/frr
/usr/lib/frr/zebra -d -f /var/run/frr/zebra.conf
/usr/lib/frr/bfdd -d -f /var/run/frr/bfdd.conf
/usr/lib/frr/bgpd -d -f /var/run/frr/bgpd.conf
`, dir))
	await(t, "bgpd answers", func() bool { return strings.Contains(r.try("vtysh", "-c", "show bgp summary json"), "{") })
	return r
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bird starts BIRD with a configuration beside the usual.
func bird(t *testing.T, config string) *router {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "bird.conf"), "router id 10.0.0.2;\nprotocol device { }\n"+config)
	r := newRouter(t, []string{"10.0.0.2/24", "fd00:a::2/64"}, fmt.Sprintf("mkdir -p /run/bird && mount -t tmpfs tmpfs /run/bird\nbird -c %s/bird.conf", dir))
	await(t, "bird answers", func() bool { return strings.Contains(r.try("birdc", "show", "status"), "up and running") })
	return r
}

// route is a path as FRR shows it.
type route struct {
	Path struct {
		Segments []struct {
			List []uint32 `json:"list"`
		} `json:"segments"`
		String string `json:"string"`
	} `json:"aspath"`
	LocalPref *uint32 `json:"locPrf"`
	Metric    *uint32 `json:"metric"`
	Community struct {
		String string `json:"string"`
	} `json:"community"`
	LargeCommunity struct {
		String string `json:"string"`
	} `json:"largeCommunity"`
	NextHops []struct {
		IP    string `json:"ip"`
		Scope string `json:"scope"`
	} `json:"nexthops"`
}

// route asks FRR for a prefix, in its BGP table; nil: it has none.
func (r *router) route(prefix string) *route {
	family := "ipv4"
	if strings.Contains(prefix, ":") {
		family = "ipv6"
	}
	var answer struct {
		Paths []route `json:"paths"`
	}
	if err := json.Unmarshal([]byte(r.try("vtysh", "-c", "show bgp "+family+" unicast "+prefix+" json")), &answer); err != nil || len(answer.Paths) == 0 {
		return nil
	}
	return &answer.Paths[0]
}

// neighbor is FRR's session to a neighbor: its state, how often it was
// established, and how many prefixes came over it.
func (r *router) neighbor(address string) (state string, established, prefixes int) {
	var answer map[string]struct {
		State       string `json:"bgpState"`
		Established int    `json:"connectionsEstablished"`
		Families    map[string]struct {
			Accepted int `json:"acceptedPrefixCounter"`
		} `json:"addressFamilyInfo"`
	}
	if err := json.Unmarshal([]byte(r.try("vtysh", "-c", "show bgp neighbors "+address+" json")), &answer); err != nil {
		return "", 0, 0
	}
	a := answer[address]
	for _, f := range a.Families {
		prefixes += f.Accepted
	}
	return a.State, a.Established, prefixes
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to be that %s", what)
		}
	}
}

// node is a running Peering.
type node struct {
	*Peering
	t    *testing.T
	stop func()

	mu     sync.Mutex
	states map[string]State
}

// newNode starts a node that knows the events; a function among them prepares
// it before.
func newNode(t *testing.T, events ...any) *node {
	t.Helper()
	n := &node{t: t, Peering: New(slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), "node1"), states: map[string]State{}}
	n.RouterID = netip.MustParseAddr("10.0.0.11")
	n.Drain = 100 * time.Millisecond
	n.Changed = func(s State, removed bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.states[s.Peer] = s
		if removed {
			delete(n.states, s.Peer)
		}
	}
	n.Post(bgp.SetNode{Name: "node1"})
	for _, ev := range events {
		if prepare, ok := ev.(func(*Peering)); ok {
			prepare(n.Peering)
		} else {
			n.Post(ev.(bgp.Event))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	n.Begin()
	return n
}

func (n *node) state(peer string) State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.states[peer]
}

// awaitUp waits until a session is up, and returns since when it is.
func (n *node) awaitUp(peer string) time.Time {
	n.t.Helper()
	await(n.t, "the session to "+peer+" is up", func() bool { return n.state(peer).State == v1beta1.SessionEstablished })
	return n.state(peer).Since
}

// undisturbed shows that a session has been up since then.
func (n *node) undisturbed(peer string, since time.Time) {
	n.t.Helper()
	if s := n.state(peer); s.State != v1beta1.SessionEstablished || !s.Since.Equal(since) {
		n.t.Errorf("the session to %s, up since %v, was disturbed: %+v", peer, since, s)
	}
}

// peer is a BGPPeer of AS 64600 to the router of an address.
func peer(name, address string, as uint32, change func(*bgp.Peer)) bgp.SetPeer {
	p := bgp.Peer{
		Name: name, Port: 179, LocalAS: 64600, PeerAS: as,
		HoldTime: 9 * time.Second, Connect: time.Second,
	}
	if address != "" {
		p.Address = netip.MustParseAddr(address)
	}
	if change != nil {
		change(&p)
	}
	return bgp.SetPeer{Peer: p}
}

func advertisement(name string, change func(*bgp.Advertisement)) bgp.SetAdvertisement {
	a := bgp.Advertisement{Name: name, Length: 32, LengthV6: 128}
	if change != nil {
		change(&a)
	}
	return bgp.SetAdvertisement{Advertisement: a}
}

func address(ip string, advertisements ...string) bgp.SetAddress {
	return bgp.SetAddress{Address: bgp.Address{IP: netip.MustParseAddr(ip), Advertisements: advertisements}}
}
