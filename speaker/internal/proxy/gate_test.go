package proxy

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

// node is one whose Gate and whose service proxy are told of Services.
type node struct {
	*watch.Watch
	gate    *Gate
	knows   map[netip.Addr]Answer // the proxy
	asked   int
	opened  map[netip.Addr]time.Time
	overdue []netip.Addr
}

func newNode(t *testing.T) *node {
	n := &node{knows: map[netip.Addr]Answer{witness.Addr(): Translated}, opened: map[netip.Addr]time.Time{}}
	n.gate = NewGate(slog.New(slog.DiscardHandler), func(ip netip.Addr, _ watch.Port) Answer {
		n.asked++
		if answer := n.knows[ip]; answer != "" {
			return answer
		}
		return Untouched
	})
	n.gate.Witness = witness
	n.Watch = watch.New("sys", false, n.gate)
	n.gate.Open = func(ips []netip.Addr) {
		for _, ip := range ips {
			if n.gate.Held(ip) {
				t.Errorf("%s is opened and held", ip)
			}
			n.opened[ip] = time.Now()
		}
		n.Touch(ips) // which is no news to the Gate
	}
	n.gate.Overdue = func(ip netip.Addr) { n.overdue = append(n.overdue, ip) }
	return n
}

func (n *node) start(t *testing.T) { go n.gate.Run(t.Context()) }

var witness = netip.MustParseAddrPort("10.96.0.1:443")

func vip(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}) }

func (n *node) service(i int, ports ...corev1.ServicePort) { n.Put(service(i, ports...)) }

func service(i int, ports ...corev1.ServicePort) *corev1.Service {
	if ports == nil {
		ports = []corev1.ServicePort{{Port: 80}}
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint(i), Annotations: map[string]string{names.Prefix + names.AllocatedFromPool: "default"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: ports},
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip(i).String()}}
	return s
}

func TestGate(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, n *node)
	}{
		{"a new address waits until the proxy knows it", func(t *testing.T, n *node) {
			n.service(1)
			n.knows[vip(1)] = Translated
			n.start(t)
			<-n.gate.Settled()
			n.service(2)
			time.Sleep(time.Second)
			if !n.gate.Held(vip(2)) {
				t.Error("it is announced before")
			}
			n.knows[vip(2)] = Translated
			time.Sleep(pause)
			synctest.Wait()
			if n.gate.Held(vip(2)) {
				t.Error("it waits still")
			}
		}},
		{"one without endpoints is known, too", func(t *testing.T, n *node) {
			n.knows[vip(1)] = Refused
			n.service(1)
			n.start(t)
			synctest.Wait()
			if n.gate.Held(vip(1)) {
				t.Error("it waits")
			}
		}},
		{"one that cannot be asked about does not wait", func(t *testing.T, n *node) {
			n.knows[vip(1)] = Unknown
			n.service(1)
			n.service(2, corev1.ServicePort{Port: 80, Protocol: corev1.ProtocolSCTP})
			other := service(3)
			other.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "mine"}
			n.Put(other)
			n.start(t)
			synctest.Wait()
			if n.gate.Held(vip(1)) || n.gate.Held(vip(2)) || n.gate.Held(vip(3)) {
				t.Error("they wait")
			}
		}},
		{"nobody waits for ever, and that is said", func(t *testing.T, n *node) {
			n.knows[vip(1)] = Translated
			n.service(1)
			n.service(2)
			began := time.Now()
			n.start(t)
			<-n.gate.Settled()
			if !n.gate.Held(vip(2)) || time.Since(began) > pause {
				t.Error("the others wait for one, or it does not wait")
			}
			time.Sleep(patience + pause)
			synctest.Wait()
			if waited := n.opened[vip(2)].Sub(began); waited < patience || waited > patience+pause {
				t.Errorf("it waited %s", waited)
			}
			if !slices.Equal(n.overdue, []netip.Addr{vip(2)}) {
				t.Errorf("overdue are %s", n.overdue)
			}
		}},
		{"a proxy that cannot be asked is not waited for", func(t *testing.T, n *node) {
			delete(n.knows, witness.Addr())
			n.start(t)
			for i := range 2 {
				n.service(i)
				synctest.Wait()
				if n.gate.Held(vip(i)) {
					t.Errorf("%s waits", vip(i))
				}
			}
			if len(n.overdue) > 0 {
				t.Errorf("overdue are %s", n.overdue)
			}
		}},
		{"a proxy that comes up late is waited for from then on", func(t *testing.T, n *node) {
			delete(n.knows, witness.Addr())
			n.service(1)
			n.start(t)
			<-n.gate.Settled()
			n.knows[witness.Addr()] = Translated
			n.service(2)
			synctest.Wait()
			if n.gate.Held(vip(1)) || !n.gate.Held(vip(2)) {
				t.Error("the first waits, or the second does not")
			}
		}},
		{"at the start, all are asked about at once", func(t *testing.T, n *node) {
			for i := range 100 {
				n.service(i)
				if i%2 == 0 {
					n.knows[vip(i)] = Translated
				}
			}
			n.start(t)
			<-n.gate.Settled()
			for i := range 100 {
				if n.gate.Held(vip(i)) != (i%2 != 0) {
					t.Errorf("%s: held %v", vip(i), i%2 == 0)
				}
			}
		}},
		{"an address that goes is forgotten", func(t *testing.T, n *node) {
			n.knows[vip(1)] = Translated
			n.service(1)
			n.service(2)
			n.start(t)
			synctest.Wait()
			n.Put(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "2"}})
			time.Sleep(pause)
			synctest.Wait()
			asked := n.asked
			time.Sleep(2 * patience)
			if n.asked != asked || len(n.overdue) > 0 {
				t.Error("it is asked about, or said to be overdue")
			}
			n.service(2)
			synctest.Wait()
			if !n.gate.Held(vip(2)) {
				t.Error("it does not wait when it is there again")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tt.run(t, newNode(t)) })
		})
	}
}

// A proxy takes up what is new in turns. None waits for more than the proxy does,
// or is told of early, and asking costs little.
func TestGateInABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		n := newNode(t)
		n.start(t)
		<-n.gate.Settled()
		const services = 500
		known := map[netip.Addr]time.Time{}
		began := time.Now()
		for i := 0; i < services; {
			for range random.IntN(100) {
				if i < services {
					n.service(i)
					i++
				}
			}
			time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond)
			synctest.Wait()
			for j := range i {
				if known[vip(j)].IsZero() {
					known[vip(j)], n.knows[vip(j)] = time.Now(), Translated
				}
			}
		}
		time.Sleep(time.Second)
		for i := range services {
			switch opened := n.opened[vip(i)]; {
			case opened.Before(known[vip(i)]):
				t.Errorf("%s: opened before it was known", vip(i))
			case opened.Sub(known[vip(i)]) > pause:
				t.Errorf("%s: opened %s after", vip(i), opened.Sub(known[vip(i)]))
			}
		}
		if most := services + int(time.Since(began)/pause+1)*mostUnknown; n.asked > most {
			t.Errorf("asked %d times, want %d at the most", n.asked, most)
		}
	})
}
