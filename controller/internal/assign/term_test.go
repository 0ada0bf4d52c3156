package assign

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (a *apiServer) create(from, to int) {
	for i := from; i < to; i++ {
		svc := balancer(fmt.Sprintf("s%03d", i))
		svc.CreationTimestamp = metav1.Unix(int64(i), 0)
		a.put("services", svc)
	}
}

// whole is an API server with a pool of many addresses.
func whole(t *testing.T) *apiServer {
	a := newAPIServer(t)
	a.put("ipaddresspools", somePool("10.0.0.0/16"))
	return a
}

func kept(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, ip := range before {
		if now, there := after[name]; there && now != ip {
			t.Errorf("%s had %s and has %s", name, ip, now)
		}
	}
}

// An API server that goes away for 30 s in the middle of a burst loses nothing,
// and is not besieged meanwhile.
func TestAPIServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		defer a.lead()()
		a.create(0, 100)
		time.Sleep(time.Minute)
		early := a.addresses()
		var once sync.Once
		a.before = func(name string) error {
			if name > "s150" {
				once.Do(func() { a.goAway(true) })
				return errors.New("connection reset")
			}
			return nil
		}
		a.create(100, 200)
		synctest.Wait()
		a.before = nil
		a.delete("services", "s007")
		a.create(200, 220) // by way of another API server
		time.Sleep(30 * time.Second)
		a.goAway(false)
		time.Sleep(2 * time.Minute)
		after := a.addresses()
		if len(after) != 219 {
			t.Errorf("%d Services", len(after))
		}
		kept(t, early, after)
		for name, tries := range a.tries {
			if tries > 4 {
				t.Errorf("%s: %d patches arrived", name, tries)
			}
		}
	})
}

// What fails is repeated, after pauses that grow.
func TestFailingWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		began := time.Now()
		a.before = func(string) error {
			if time.Since(began) < 30*time.Second {
				return errors.New("connection reset")
			}
			return nil
		}
		defer a.lead()()
		a.create(0, 50)
		time.Sleep(time.Minute)
		a.addresses()
		for name, tries := range a.tries {
			if tries < 8 || tries > 25 {
				t.Errorf("%s: %d patches in 30 s", name, tries)
			}
		}
	})
}

// Others write to a Service between our look at it and our patch: theirs stays
// and ours follows.
func TestConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		a.before = func(name string) error {
			svc := a.service(name)
			if len(svc.Status.Conditions) == 0 {
				svc.Status.Conditions = []metav1.Condition{{Type: "example.com/theirs", Status: metav1.ConditionTrue, Reason: "Stays"}}
				a.put("services", svc)
			}
			return nil
		}
		defer a.lead()()
		a.create(0, 100)
		time.Sleep(time.Minute)
		a.addresses()
		for name, tries := range a.tries {
			if n := len(a.service(name).Status.Conditions); tries > 3 || n != 2 {
				t.Errorf("%s: %d patches, %d conditions", name, tries, n)
			}
		}
		slices.Sort(a.events)
		if len(slices.Compact(a.events)) != 100 || len(a.events) != 100 {
			t.Errorf("%d events: %v", len(a.events), a.events)
		}
	})
}

// One write per Service, and none at a restart; metrics are those of the term.
func TestOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		a.put("ipaddresspools", &v1beta1.IPAddressPool{
			ObjectMeta: metav1.ObjectMeta{Name: "gold"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressBlock{"fd00::/64"}},
		})
		stop := a.lead()
		a.create(0, 100)
		lost := balancer("lost")
		lost.Annotations = map[string]string{"metallb.io/address-pool": "silver"}
		a.put("services", lost)
		time.Sleep(time.Minute)
		stop()
		check(t, "porchlight_pool_total_addresses", nil)
		check(t, "porchlight_services_pending", nil)
		check(t, "porchlight_controller_leading", []string{"0"})
		defer a.lead()()
		time.Sleep(time.Minute)
		for name, tries := range a.tries {
			if tries != 1 {
				t.Errorf("%s: %d patches", name, tries)
			}
		}
		check(t, "porchlight_pool_assigned_addresses", []string{"IPv4,gold 0", "IPv4,p 100", "IPv6,gold 0", "IPv6,p 0"})
		check(t, "porchlight_pool_total_addresses", []string{"IPv4,gold 0", "IPv4,p 65536", "IPv6,gold 1.8446744073709552e+19", "IPv6,p 0"})
		check(t, "porchlight_services_pending", []string{"PoolNotFound 1"})
		check(t, "porchlight_write_queue_depth", []string{"0"})
		check(t, "porchlight_controller_leading", []string{"1"})
		a.delete("ipaddresspools", "gold")
		a.delete("services", "lost")
		time.Sleep(10 * time.Second)
		check(t, "porchlight_pool_ready", []string{"p 1"})
		check(t, "porchlight_pool_total_addresses", []string{"IPv4,p 65536", "IPv6,p 0"})
		check(t, "porchlight_services_pending", []string{"PoolNotFound 0"})
	})
}

// The status of a pool is written as soon as it is there, and at most once a
// second while its counters change.
func TestPoolStatusAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPIServer(t)
		defer a.lead()()
		time.Sleep(10*time.Second + 300*time.Millisecond)
		began := time.Now()
		a.put("ipaddresspools", somePool("10.0.0.0/16"))
		synctest.Wait()
		for i := range 49 {
			time.Sleep(100 * time.Millisecond)
			a.create(i, i+1)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var after []time.Duration
		for _, at := range a.pools["p"] {
			after = append(after, at.Sub(began))
		}
		want := []time.Duration{0, 1 * time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second}
		if !slices.Equal(after, want) {
			t.Errorf("written after %v, want %v", after, want)
		}
	})
}

// check compares a gauge's series, as "LABELS VALUE".
func check(t *testing.T, name string, want []string) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			text := ""
			for _, l := range m.Label {
				text += "," + l.GetValue()
			}
			if text != "" {
				text = text[1:] + " "
			}
			got = append(got, fmt.Sprintf("%s%v", text, m.Gauge.GetValue()))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// The leader is killed in the middle of a burst, again and again.
func TestKilledInABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst = 50
		random := rand.New(rand.NewPCG(1, 2))
		a := whole(t)
		before := map[string]string{}
		for round := range 20 {
			killed := make(chan struct{})
			deadline, writes := random.IntN(burst), 0
			var mu sync.Mutex
			a.before = func(string) error {
				mu.Lock()
				defer mu.Unlock()
				if writes++; writes == deadline+1 {
					close(killed)
				}
				if writes > deadline {
					return errors.New("killed")
				}
				return nil
			}
			stop := a.lead()
			a.create(round*burst, (round+1)*burst)
			<-killed
			stop()
			a.before = nil
			stop = a.lead()
			time.Sleep(30 * time.Second)
			stop()
			after := a.addresses()
			kept(t, before, after)
			if before = after; len(after) != (round+1)*burst {
				t.Errorf("%d of %d Services", len(after), (round+1)*burst)
			}
		}
	})
}

// What a former leader still has on the way does not undo its successor's work.
func TestLateWriteOfAFormerLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		arrived, release := make(chan struct{}), make(chan struct{})
		a.before = func(string) error {
			close(arrived)
			<-release
			return nil
		}
		stop := a.lead()
		a.create(0, 1)
		<-arrived
		a.before = nil
		a.put("ipaddresspools", somePool("10.7.0.1-10.7.0.1"))
		a.put("ipaddresspools", &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "another"}, Spec: v1beta1.IPAddressPoolSpec{
			Addresses: []v1beta1.AddressBlock{"10.0.0.0/16"}, AutoAssign: new(bool),
		}})
		go stop()
		defer a.lead()()
		time.Sleep(5 * time.Second)
		close(release)
		time.Sleep(time.Minute)
		if got := a.service("s000").Status.LoadBalancer.Ingress; len(got) != 1 || got[0].IP != "10.7.0.1" {
			t.Errorf("the former leader's %v", got)
		}
	})
}

// Where two Services hold one address, the older keeps it; the other is
// re-addressed, and told so.
func TestIllegalShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := whole(t)
		for i, name := range []string{"young", "old"} {
			svc := balancer(name, "10.0.0.9")
			svc.CreationTimestamp = metav1.Unix(int64(10-i), 0)
			a.put("services", svc)
		}
		a.put("services", balancer("outside", "192.0.2.1"))
		defer a.lead()()
		time.Sleep(time.Minute)
		if of := a.addresses(); of["old"] != "10.0.0.9" {
			t.Errorf("%v", of)
		}
		slices.Sort(a.events)
		want := []string{
			"old Allocated: 10.0.0.9 from pool p",
			"outside Allocated: 10.0.0.0 from pool p; before it was 192.0.2.1",
			"young Allocated: 10.0.0.1 from pool p; before it was 10.0.0.9",
		}
		if !slices.Equal(a.events, want) {
			t.Errorf("events %q", a.events)
		}
	})
}
