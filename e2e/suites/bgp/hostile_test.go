//go:build e2e

package bgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// hostile is a router that behaves as do says, on each of its connections.
func (f *fabric) hostile(t *testing.T, do func(net.Conn)) {
	t.Helper()
	var listener net.Listener
	err := f.Lab.InNetwork(lab.HostClient, func() (err error) {
		listener, err = net.Listen("tcp4", "172.30.0.100:1790")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				do(conn)
				_, _ = io.Copy(io.Discard, conn) // until the other end has enough
			}()
		}
	}()
}

// header is one of RFC 4271 section 4.1.
func header(length int, kind byte) []byte {
	return append(binary.BigEndian.AppendUint16(slices.Repeat([]byte{0xff}, 16), uint16(length)), kind)
}

func send(conn net.Conn, m *packet.BGPMessage) {
	if b, err := m.Serialize(); err == nil {
		_, _ = conn.Write(b)
	}
}

// establish brings a session up, with a hold time in seconds.
func establish(conn net.Conn, hold uint16) {
	send(conn, packet.NewBGPOpenMessage(64999, hold, "9.9.9.9", []packet.OptionParameterInterface{
		packet.NewOptionParameterCapability([]packet.ParameterCapabilityInterface{
			packet.NewCapMultiProtocol(packet.RF_IPv4_UC), packet.NewCapFourOctetASNumber(64999), packet.NewCapUnknown(200, []byte("what")),
		}),
	}))
	send(conn, packet.NewBGPKeepAliveMessage())
}

// A router that misbehaves ends its own session, at most; the state says how it
// did. Others are not disturbed.
func TestHostileRouter(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	before := f.ups(t)
	random := rand.New(rand.NewPCG(1, 2))
	garbage := make([]byte, 100<<10)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	for i, c := range []struct {
		name  string
		do    func(net.Conn)
		words string
	}{
		{"garbage", func(c net.Conn) { _, _ = c.Write(garbage) }, "code 1(header)"},
		{"silence", func(net.Conn) {}, "the hold time is over"},
		{"silence after the session came up", func(c net.Conn) { establish(c, 3) }, "the hold time is over"},
		{"half a message", func(c net.Conn) { _, _ = c.Write(header(4096, packet.BGP_MSG_OPEN)) }, "the hold time is over"},
		{"a message of no length", func(c net.Conn) { _, _ = c.Write(header(0, packet.BGP_MSG_UPDATE)) }, "code 1(header)"},
		{"a message too long", func(c net.Conn) { _, _ = c.Write(header(65535, packet.BGP_MSG_UPDATE)) }, "code 1(header)"},
		{"an OPEN of garbage", func(c net.Conn) {
			_, _ = c.Write(append(header(19+200, packet.BGP_MSG_OPEN), garbage[:200]...))
		}, "code 2(open)"},
		{"an UPDATE before the OPEN", func(c net.Conn) { _, _ = c.Write(append(header(23, packet.BGP_MSG_UPDATE), 0, 0, 0, 0)) }, "code 5(fsm)"},
		{"a NOTIFICATION", func(c net.Conn) {
			send(c, packet.NewBGPNotificationMessage(packet.BGP_ERROR_CEASE, packet.BGP_ERROR_SUB_MAXIMUM_NUMBER_OF_PREFIXES_REACHED, nil))
		}, "the peer closed the session"},
		{"a connection closed at once", func(c net.Conn) { _ = c.Close() }, "the connection ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.hostile(t, c.do)
			name := fmt.Sprintf("hostile%d", i) // nothing is known of it from before
			f.Apply(t, cluster.System, peer(name, append(hostile, "holdTime: 3s", "connectTime: 1s")...))
			f.says(t, name, "node1", c.words)
		})
	}
	f.undisturbed(t, before, "")
}

// hostile is YAML of a BGPPeer's spec: what hostile listens as.
var hostile = []string{"myASN: 64600", "peerASN: 64999", "peerAddress: 172.30.0.100", "peerPort: 1790", on("node1")}

// A router that sends a flood of routes, with attributes of any length and
// kind, keeps its session, and costs no memory: none is accepted.
func TestFlood(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	ips := f.announced(t, f.namespace, dualStack.service("flooded"))
	f.everywhere(t, ips, f.names()...)
	before := f.ups(t)
	speaker := f.speaker(t, "node1")
	rss := func() int64 {
		now, _, err := speaker.RSS()
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	had := rss()
	const updates, perUpdate = 5000, 400 // two million routes
	flooded := make(chan error, 1)
	f.hostile(t, func(c net.Conn) {
		establish(c, 0)
		for i := range updates {
			if _, err := c.Write(flood(i, perUpdate)); err != nil {
				flooded <- err
				return
			}
		}
		flooded <- nil
	})
	f.Apply(t, cluster.System, peer("hostile", append(hostile, "holdTime: 0s")...))
	f.up(t, "hostile", "node1")
	if err := <-flooded; err != nil {
		t.Fatalf("the session did not survive the flood: %v", err)
	}
	// What it announces afterwards shows that it has read all.
	f.everywhere(t, f.announced(t, f.namespace, dualStack.service("after")), f.names()...)
	f.state(t, "hostile", "told", func(s v1beta1.BGPSessionStateStatus) bool {
		return s.State == v1beta1.SessionEstablished && s.Prefixes == 2
	}, "node1")
	if has := rss(); has > had+16<<20 { // eight bytes a route, where they were kept
		t.Errorf("the speaker has %d KiB, and had %d before %d routes", has>>10, had>>10, updates*perUpdate)
	}
	f.undisturbed(t, before, "hostile")
}

// flood is an UPDATE of routes, one in ten with attributes that nobody knows, or
// that are broken.
func flood(i, routes int) []byte {
	path := packet.NewPathAttributeAsPath([]packet.AsPathParamInterface{
		packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, slices.Repeat([]uint32{64999}, 255)),
		packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, slices.Repeat([]uint32{uint32(i)}, 200)),
	})
	attributes := []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(0), path, packet.NewPathAttributeNextHop("172.30.0.100"),
	}
	if i%10 == 0 {
		attributes = append(attributes, packet.NewPathAttributeUnknown(packet.BGP_ATTR_FLAG_OPTIONAL|packet.BGP_ATTR_FLAG_TRANSITIVE, 250, []byte("nobody knows")))
	}
	var prefixes []*packet.IPAddrPrefix
	for n := range routes {
		n += i * routes
		prefixes = append(prefixes, packet.NewIPAddrPrefix(24, fmt.Sprintf("%d.%d.%d.0", 1+n>>16, n>>8&255, n&255)))
	}
	b, err := packet.NewBGPUpdateMessage(nil, attributes, prefixes).Serialize()
	if err != nil {
		panic(errors.Join(errors.New("building an UPDATE"), err))
	}
	if i%10 == 5 {
		b[25] ^= 0x55 // the origin's length, or what follows it
	}
	return b
}

// speaker is the program of a node.
func (f *fabric) speaker(t *testing.T, node string) cluster.Program {
	t.Helper()
	var pods corev1.PodList
	if err := f.List(t.Context(), &pods, client.InNamespace(cluster.System), client.MatchingLabels{"app.kubernetes.io/component": "speaker"}); err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName != node {
			continue
		}
		p, err := f.Program(&pods.Items[i], "porchlight-speaker")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Fatalf("no speaker runs on %s", node)
	return cluster.Program{}
}
