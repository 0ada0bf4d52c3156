package assign

import (
	"slices"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// desk is an owner and what it wants written.
type desk struct {
	*owner
	wanted map[allocator.Key]job
	told   []string
}

func newDesk(class names.Class) *desk {
	d := &desk{owner: newOwner(class), wanted: map[allocator.Key]job{}}
	d.tell = func(k allocator.Key, n newsItem) {
		d.told = append(d.told, k.String()+" "+string(n.reason)+": "+n.message)
	}
	d.hush = func(allocator.Key) {}
	d.want = func(k allocator.Key, j job) { d.wanted[k] = j }
	d.forget = func(k allocator.Key) { delete(d.wanted, k) }
	d.now = func() time.Time { return time.Unix(1000, 0) }
	return d
}

func balancer(name string, ips ...string) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: name, UID: "u", ResourceVersion: "1"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	for _, ip := range ips {
		mode := corev1.LoadBalancerIPModeVIP
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: &mode})
	}
	return svc
}

func marked(svc *corev1.Service, why reason.Reason, message, pools string) *corev1.Service {
	svc.Annotations = map[string]string{poolAnnotation: pools}
	svc.Status.Conditions = []metav1.Condition{{
		Type: names.Allocated, Status: wish{reason: why}.status(), Reason: string(why), Message: message,
	}}
	return svc
}

func somePool(blocks ...v1beta1.AddressBlock) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec:       v1beta1.IPAddressPoolSpec{Addresses: blocks},
	}
}

func (d *desk) want1(t *testing.T, name, ip string, why reason.Reason) {
	t.Helper()
	j, ok := d.wanted[allocator.Key{Namespace: "x", Name: name}]
	if !ok {
		t.Fatalf("nothing is wanted for %s", name)
	}
	var ips []string
	if ip != "" {
		ips = []string{ip}
	}
	if w := (wish{addresses: ips, reason: why, message: j.wish.message, pools: j.wish.pools}); !w.equal(j.wish) {
		t.Errorf("%s: wanted %+v", name, j.wish)
	}
}

// Nothing is decided before everything is there, in whatever order it comes:
// a recorded address is adopted before a new one is given.
func TestNothingIsGivenBeforeAllIsKnown(t *testing.T) {
	services := []*corev1.Service{balancer("a"), balancer("b", "10.0.0.1")}
	lists := []func(*desk){
		func(d *desk) { d.replaceServices(services) },
		func(d *desk) { d.replacePools([]*v1beta1.IPAddressPool{somePool("10.0.0.1-10.0.0.2")}) },
		func(d *desk) { d.replaceNamespaces([]*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "x"}}}) },
	}
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		d := newDesk(names.Class{Name: names.LoadBalancerClass})
		for i, n := range order {
			if i == 2 && len(d.wanted) > 0 {
				t.Errorf("order %v: wanted %v too early", order, d.wanted)
			}
			lists[n](d)
		}
		d.want1(t, "b", "10.0.0.1", reason.Allocated)
		d.want1(t, "a", "10.0.0.2", reason.Allocated)
	}
}

// What happens between the list of Services and the last of the other lists
// waits too, and is not lost.
func TestChangesBeforeAllIsKnown(t *testing.T) {
	d := newDesk(names.Class{})
	d.replacePools([]*v1beta1.IPAddressPool{somePool("10.0.0.1-10.0.0.2")})
	d.replaceServices([]*corev1.Service{balancer("gone", "10.0.0.2"), balancer("kept", "10.0.0.1")})
	d.setService(balancer("new"))
	d.removeService(balancer("gone", "10.0.0.2"))
	if len(d.wanted) > 0 {
		t.Errorf("wanted %v too early", d.wanted)
	}
	d.replaceNamespaces(nil)
	d.want1(t, "kept", "10.0.0.1", reason.Allocated)
	d.want1(t, "new", "10.0.0.2", reason.Allocated)
}

// A job is the writer's until it is done, or something else is wanted.
func TestNoJobTwice(t *testing.T) {
	d := started(names.Class{}, balancer("a"))
	d.want1(t, "a", "10.0.0.1", reason.Allocated)
	clear(d.wanted) // it was done
	d.setService(balancer("a"))
	if len(d.wanted) > 0 {
		t.Errorf("wanted again: %v", d.wanted)
	}
	d.setPool(somePool("10.0.0.2-10.0.0.2"))
	d.want1(t, "a", "10.0.0.2", reason.Allocated)
}

func started(class names.Class, services ...*corev1.Service) *desk {
	d := newDesk(class)
	d.replaceNamespaces(nil)
	d.replacePools([]*v1beta1.IPAddressPool{somePool("10.0.0.1-10.0.0.1")})
	d.replaceServices(services)
	return d
}

func TestWhatIsRightIsNotWritten(t *testing.T) {
	svc := marked(balancer("a", "10.0.0.1"), reason.Allocated, "10.0.0.1 from pool p", "p")
	d := started(names.Class{}, svc)
	if len(d.wanted) > 0 {
		t.Errorf("wanted %+v", d.wanted)
	}
	// Somebody else writes our status: it is put right again.
	other := marked(balancer("a", "10.9.9.9"), reason.Allocated, "10.0.0.1 from pool p", "p")
	other.ResourceVersion = "2"
	d.setService(other)
	d.want1(t, "a", "10.0.0.1", reason.Allocated)
	d.setService(svc)
	if len(d.wanted) > 0 {
		t.Errorf("wanted %+v", d.wanted)
	}
}

func TestNotOursAnyMore(t *testing.T) {
	class := "porchlight.dev/lb"
	for name, change := range map[string]func(*corev1.Service){
		"type":  func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP },
		"class": func(s *corev1.Service) { other := "else"; s.Spec.LoadBalancerClass = &other },
	} {
		t.Run(name, func(t *testing.T) {
			held := marked(balancer("a", "10.0.0.1"), reason.Allocated, "10.0.0.1 from pool p", "p")
			d := started(names.Class{Name: class}, held, balancer("b"))
			d.want1(t, "b", "", reason.PoolExhausted)
			gone := held.DeepCopy()
			change(gone)
			d.setService(gone)
			d.want1(t, "a", "", "")
			d.want1(t, "b", "10.0.0.1", reason.Allocated)
			// Once nothing of ours is there, it is none of our business.
			gone.Annotations, gone.Status.Conditions = nil, nil
			d.setService(gone)
			if _, known := d.accounts[keyOf(gone)]; known || len(d.wanted) != 1 {
				t.Errorf("still known, or wanted: %+v", d.wanted)
			}
		})
	}
}

// Whoever serves the Service now may have written its status already.
func TestAddressesOfAnotherClassStay(t *testing.T) {
	held := marked(balancer("a", "10.0.0.1"), reason.Allocated, "10.0.0.1 from pool p", "p")
	d := started(names.Class{Name: "mine"}, held)
	theirs := marked(balancer("a", "192.0.2.1"), reason.Allocated, "10.0.0.1 from pool p", "p")
	class := "other"
	theirs.Spec.LoadBalancerClass = &class
	d.setService(theirs)
	if j := d.wanted[keyOf(theirs)]; !j.wish.foreign {
		t.Errorf("wanted %+v; the ingress is not ours", j.wish)
	}
	ours := theirs.DeepCopy()
	ours.Status.LoadBalancer = held.Status.LoadBalancer
	d.setService(ours)
	if j, ok := d.wanted[keyOf(ours)]; !ok || j.wish.foreign {
		t.Errorf("wanted %+v; the ingress is ours", j.wish)
	}
}

// Another installation marks its Services as we do ours.
func TestServicesOfAnotherInstallationStay(t *testing.T) {
	theirs := marked(balancer("a", "192.0.2.1"), reason.Allocated, "192.0.2.1 from pool p", "p")
	class := "other"
	theirs.Spec.LoadBalancerClass = &class
	d := started(names.Class{Name: "mine"}, theirs)
	d.setService(theirs)
	if j, ok := d.wanted[keyOf(theirs)]; ok {
		t.Errorf("wanted %+v; it is none of our business", j.wish)
	}
	// What is nobody's any more is cleared, whoever marked it.
	nobodys := theirs.DeepCopy()
	nobodys.Spec.Type, nobodys.Spec.LoadBalancerClass = corev1.ServiceTypeClusterIP, nil
	d.setService(nobodys)
	if _, ok := d.wanted[keyOf(nobodys)]; !ok {
		t.Error("the marks of a Service that is no load balancer any more stay")
	}
}

// Events say what changed, once it is written, and nothing else.
func TestEvents(t *testing.T) {
	d := started(names.Class{}, balancer("a"))
	step := func(svc *corev1.Service, want ...string) {
		t.Helper()
		d.setService(svc)
		if !slices.Equal(d.told, want) {
			t.Errorf("told %q, want %q", d.told, want)
		}
		d.told = nil
	}
	step(balancer("a")) // not written yet
	first := marked(balancer("a", "10.0.0.1"), reason.Allocated, "10.0.0.1 from pool p", "p")
	step(first, "x/a Allocated: 10.0.0.1 from pool p")
	step(first)
	// Somebody else's write is put right, and that is no change.
	step(marked(balancer("a", "10.9.9.9"), reason.Allocated, "10.0.0.1 from pool p", "p"))
	step(first)
	// The pool moves.
	d.setPool(somePool("10.0.0.7-10.0.0.7"))
	d.want1(t, "a", "10.0.0.7", reason.Allocated)
	step(marked(balancer("a", "10.0.0.7"), reason.Allocated, "10.0.0.7 from pool p", "p"),
		"x/a Allocated: 10.0.0.7 from pool p; before it was 10.0.0.1")
	d.removePool(somePool())
	d.want1(t, "a", "", reason.NoPool)
	step(marked(balancer("a"), reason.NoPool, "there is no pool", ""), "x/a NoPool: there is no pool")
	// A new leader has nothing to say.
	d = started(names.Class{}, first)
	step(first)
	// What a former leader, or another program, recorded is illegal by now.
	d = started(names.Class{}, balancer("a", "192.0.2.1"))
	step(first, "x/a Allocated: 10.0.0.1 from pool p; before it was 192.0.2.1")
}

// A list after a broken watch says what went away meanwhile.
func TestLaterList(t *testing.T) {
	d := started(names.Class{}, balancer("a"), balancer("b"))
	d.want1(t, "b", "", reason.PoolExhausted)
	d.replaceServices([]*corev1.Service{balancer("b")})
	d.want1(t, "b", "10.0.0.1", reason.Allocated)
	d.replacePools(nil)
	d.want1(t, "b", "", reason.NoPool)
}

func TestWhichServicesAreOurs(t *testing.T) {
	class := func(s string) *string { return &s }
	for _, c := range []struct {
		class    *string
		required bool
		ours     bool
	}{
		{nil, false, true}, {nil, true, false}, {class("mine"), true, true}, {class("mine"), false, true}, {class("other"), false, false},
	} {
		svc := balancer("a")
		svc.Spec.LoadBalancerClass = c.class
		if got := owned(names.Class{Name: "mine", Required: c.required}, svc); got != c.ours {
			t.Errorf("%+v: %t", c, got)
		}
	}
}
