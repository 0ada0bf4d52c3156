//go:build e2e

package allocation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func aPool(name string) *v1beta1.IPAddressPool {
	return &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: name}}
}

// poolSays waits until the pool has the condition, in words that name all that
// it is about.
func poolSays(t *testing.T, c *cluster.Cluster, name, kind string, status metav1.ConditionStatus, reason string, says ...string) {
	t.Helper()
	p := aPool(name)
	err := c.Await(t.Context(), p, &v1beta1.IPAddressPoolList{}, func() bool {
		is := meta.FindStatusCondition(p.Status.Conditions, kind)
		return is != nil && is.Status == status && is.Reason == reason &&
			!slices.ContainsFunc(says, func(word string) bool { return !strings.Contains(is.Message, word) })
	})
	if err != nil {
		t.Fatalf("pool %s: want %s=%s, %s, naming %q: %v", name, kind, status, reason, says, err)
	}
}

// poolCounts waits until the pool says how many addresses are assigned and
// available, of IPv4 and of IPv6.
func poolCounts(t *testing.T, c *cluster.Cluster, name, assigned4, available4, assigned6, available6 string) {
	t.Helper()
	p := aPool(name)
	if err := c.Await(t.Context(), p, &v1beta1.IPAddressPoolList{}, func() bool {
		s := &p.Status
		return s.AssignedIPv4 == assigned4 && s.AvailableIPv4 == available4 &&
			s.AssignedIPv6 == assigned6 && s.AvailableIPv6 == available6
	}); err != nil {
		t.Fatalf("pool %s: want IPv4 %s assigned and %s available, IPv6 %s and %s: %v",
			name, assigned4, available4, assigned6, available6, err)
	}
}

// Prefixes and ranges of both families, any number.
func TestPoolAddresses(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("mixed", `"203.0.113.0/31", "203.0.113.10 - 203.0.113.11", "2001:db8:1::/127", "2001:db8:1::10-2001:db8:1::11"`))
	var four, six []string
	for i := range 4 {
		name := fmt.Sprintf("web-%d", i)
		c.Apply(t, ns, service(name, fromPool("mixed"), "ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
		a := cluster.Addresses(served(t, c, ns, name, 2))
		four, six = append(four, a[0]), append(six, a[1])
	}
	slices.Sort(four)
	slices.Sort(six)
	if want := []string{"203.0.113.0", "203.0.113.1", "203.0.113.10", "203.0.113.11"}; !slices.Equal(four, want) {
		t.Errorf("IPv4 addresses %v; want %v", four, want)
	}
	if want := []string{"2001:db8:1::", "2001:db8:1::1", "2001:db8:1::10", "2001:db8:1::11"}; !slices.Equal(six, want) {
		t.Errorf("IPv6 addresses %v; want %v", six, want)
	}
	c.Apply(t, ns, service("late", fromPool("mixed")))
	refused(t, c, ns, "late", "PoolExhausted", "mixed")
}

func TestPoolAutoAssignFalse(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("manual", "203.0.113.20-203.0.113.21", "serviceAllocation: {priority: 1}"))
	poolSays(t, c, "manual", "Ready", metav1.ConditionTrue, "Ready")
	c.Apply(t, ns, service("anybody", "")+service("names-pool", fromPool("manual"))+service("names-address", asking("203.0.113.21")))
	if a := address(t, c, ns, "anybody"); strings.HasPrefix(a, "203.0.113.") {
		t.Errorf("a Service that asks for nothing has %s of the manual pool", a)
	}
	has(t, c, ns, "names-pool", "203.0.113.20")
	has(t, c, ns, "names-address", "203.0.113.21")
}

func TestPoolAvoidBuggyIPs(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("careful", "203.0.112.254-203.0.113.1", "avoidBuggyIPs: true"))
	poolCounts(t, c, "careful", "0", "2", "0", "0")
	c.Apply(t, ns, service("zero", asking("203.0.113.0")))
	refused(t, c, ns, "zero", "AddressNotInPool", "203.0.113.0", "careful")
	c.Apply(t, ns, service("broadcast", asking("203.0.112.255")))
	refused(t, c, ns, "broadcast", "AddressNotInPool", "203.0.112.255", "careful")
	c.Apply(t, ns, service("one", fromPool("careful")))
	has(t, c, ns, "one", "203.0.112.254")
	c.Apply(t, ns, service("two", fromPool("careful")))
	has(t, c, ns, "two", "203.0.113.1")
	c.Apply(t, ns, service("three", fromPool("careful")))
	refused(t, c, ns, "three", "PoolExhausted", "careful")
	remove(t, c, aService(ns, "three"))

	c.Apply(t, ns, pool("careful", "203.0.112.254-203.0.113.1", "avoidBuggyIPs: false"))
	has(t, c, ns, "zero", "203.0.113.0")
	has(t, c, ns, "broadcast", "203.0.112.255")
}

func TestPoolExclude(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	const addresses = "203.0.113.32/29, 2001:db8:2::/126"
	c.Apply(t, ns, pool("holey", addresses, "exclude: [203.0.113.33-203.0.113.37, 203.0.113.39/32, 2001:db8:2::/127]"))
	poolCounts(t, c, "holey", "0", "2", "0", "2")
	c.Apply(t, ns, service("first", fromPool("holey"), "ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	has(t, c, ns, "first", "203.0.113.32", "2001:db8:2::2")
	c.Apply(t, ns, service("second", fromPool("holey"), "ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	has(t, c, ns, "second", "203.0.113.38", "2001:db8:2::3")
	c.Apply(t, ns, service("asks", asking("203.0.113.33")))
	refused(t, c, ns, "asks", "AddressNotInPool", "203.0.113.33", "holey")
	c.Apply(t, ns, service("waits", fromPool("holey")))
	refused(t, c, ns, "waits", "PoolExhausted", "holey")

	// Under live Services: who has an address that is excluded now gets another.
	c.Apply(t, ns, pool("holey", addresses, "exclude: [203.0.113.32-203.0.113.36, 203.0.113.39/32, 2001:db8:2::/127]"))
	has(t, c, ns, "first", "203.0.113.37", "2001:db8:2::2")
	awaitTold(t, c, ns, "first", "Allocated", "203.0.113.37", "holey")
	has(t, c, ns, "second", "203.0.113.38", "2001:db8:2::3")
	refused(t, c, ns, "waits", "PoolExhausted", "holey")
}

func TestPoolDrain(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("leaving", "203.0.113.40/30"))
	c.Apply(t, ns, service("stays", fromPool("leaving")))
	has(t, c, ns, "stays", "203.0.113.40")
	c.Apply(t, ns, pool("leaving", "203.0.113.40/30", "drain: true"))
	poolSays(t, c, "leaving", "Ready", metav1.ConditionTrue, "Ready")
	c.Apply(t, ns, service("names-pool", fromPool("leaving"))+service("names-address", asking("203.0.113.43")))
	refused(t, c, ns, "names-pool", "PoolDraining", "leaving")
	refused(t, c, ns, "names-address", "PoolDraining", "leaving")
	has(t, c, ns, "stays", "203.0.113.40")

	c.Apply(t, ns, pool("leaving", "203.0.113.40/30", "drain: false"))
	has(t, c, ns, "names-pool", "203.0.113.41")
	has(t, c, ns, "names-address", "203.0.113.43")
	has(t, c, ns, "stays", "203.0.113.40")
}

// A lower number is tried first, 0 and none last; ties go by name.
func TestPoolServiceAllocationPriority(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	only := func(priority string) string {
		return fmt.Sprintf("serviceAllocation: {%s namespaces: [%s]}", priority, ns)
	}
	c.Apply(t, ns, autoPool("aaa-none", "203.0.113.50/32", only(""))+
		autoPool("bbb-zero", "203.0.113.51/32", only("priority: 0,"))+
		autoPool("ccc-20", "203.0.113.52/32", only("priority: 20,"))+
		autoPool("zzz-10", "203.0.113.53/32", only("priority: 10,"))+
		autoPool("ddd-20", "203.0.113.54/32", only("priority: 20,")))
	poolSays(t, c, "ddd-20", "Ready", metav1.ConditionTrue, "Ready")
	for i, want := range []string{"203.0.113.53", "203.0.113.52", "203.0.113.54", "203.0.113.50", "203.0.113.51"} {
		name := fmt.Sprintf("web-%d", i)
		c.Apply(t, ns, service(name, ""))
		has(t, c, ns, name, want)
	}
}

// Namespaces and namespaceSelectors unite.
func TestPoolServiceAllocationNamespaces(t *testing.T) {
	c := cluster.ForTest(t)
	named, labelled, neither := c.Namespace(t), c.Namespace(t), c.Namespace(t)
	label(t, c, labelled, "team", "red")
	c.Apply(t, named, autoPool("red", "203.0.113.60/30", fmt.Sprintf(
		"serviceAllocation: {priority: 1, namespaces: [%s], namespaceSelectors: [{matchLabels: {team: red}}]}", named)))
	poolSays(t, c, "red", "Ready", metav1.ConditionTrue, "Ready")
	c.Apply(t, named, service("web", ""))
	has(t, c, named, "web", "203.0.113.60")
	c.Apply(t, labelled, service("web", ""))
	has(t, c, labelled, "web", "203.0.113.61")
	c.Apply(t, neither, service("any", "")+service("names-pool", fromPool("red"))+service("names-address", asking("203.0.113.63")))
	if a := address(t, c, neither, "any"); strings.HasPrefix(a, "203.0.113.") {
		t.Errorf("a Service of a namespace that the pool does not admit has %s", a)
	}
	refused(t, c, neither, "names-pool", "NamespaceNotAdmitted", "red", neither)
	refused(t, c, neither, "names-address", "NamespaceNotAdmitted", "red", neither)

	label(t, c, neither, "team", "red")
	has(t, c, neither, "names-pool", "203.0.113.62")
	has(t, c, neither, "names-address", "203.0.113.63")
	label(t, c, neither, "team", "")
	refused(t, c, neither, "names-pool", "NamespaceNotAdmitted", "red", neither)
	has(t, c, labelled, "web", "203.0.113.61")
}

func TestPoolServiceAllocationServiceSelectors(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, autoPool("gold", "203.0.113.70/31", fmt.Sprintf(
		"serviceAllocation: {priority: 1, namespaces: [%s], serviceSelectors: [{matchExpressions: [{key: tier, operator: In, values: [gold]}]}]}", ns)))
	poolSays(t, c, "gold", "Ready", metav1.ConditionTrue, "Ready")
	c.Apply(t, ns, service("plain", "")+service("names-pool", fromPool("gold")))
	if a := address(t, c, ns, "plain"); strings.HasPrefix(a, "203.0.113.") {
		t.Errorf("a Service that the pool does not select has %s", a)
	}
	refused(t, c, ns, "names-pool", "NoPool", "gold", ns+"/names-pool")
	change(t, c, aService(ns, "names-pool"), `{"metadata":{"labels":{"tier":"gold"}}}`)
	has(t, c, ns, "names-pool", "203.0.113.70")
	change(t, c, aService(ns, "names-pool"), `{"metadata":{"labels":{"tier":"lead"}}}`)
	refused(t, c, ns, "names-pool", "NoPool", "gold", ns+"/names-pool")
}

// The counters are exact for a /8 and an IPv6 /64.
func TestPoolStatusCounters(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("huge", `"11.0.0.0/8", "2001:db8:77::/64"`))
	poolCounts(t, c, "huge", "0", "16777216", "0", "18446744073709551616")
	c.Apply(t, ns, service("one", fromPool("huge"), "ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	has(t, c, ns, "one", "11.0.0.0", "2001:db8:77::")
	c.Apply(t, ns, service("last", asking("11.255.255.255,2001:db8:77:0:ffff:ffff:ffff:ffff"),
		"ipFamilyPolicy: RequireDualStack", "ipFamilies: [IPv4, IPv6]"))
	served(t, c, ns, "last", 2)
	poolCounts(t, c, "huge", "2", "16777214", "2", "18446744073709551614")
	remove(t, c, aService(ns, "one"))
	poolCounts(t, c, "huge", "1", "16777215", "1", "18446744073709551615")
	poolSays(t, c, "huge", "Exhausted", metav1.ConditionFalse, "Available")
}

// The status of a pool is written at most once a second.
func TestPoolStatusOnceASecond(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("busy", "203.0.113.128/25"))
	poolCounts(t, c, "busy", "0", "128", "0", "0")
	w, err := c.Watch(t.Context(), &v1beta1.IPAddressPoolList{}, client.InNamespace(cluster.System),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", "busy")})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	began := time.Now()
	for i := range 24 {
		c.Apply(t, ns, service(fmt.Sprintf("web-%d", i), fromPool("busy")))
	}
	versions := map[string]bool{}
	for e := range w.ResultChan() {
		p, is := e.Object.(*v1beta1.IPAddressPool)
		if !is {
			t.Fatalf("the watch says %v", e.Object)
		}
		versions[p.ResourceVersion] = true
		if p.Status.AssignedIPv4 == "24" {
			break
		}
	}
	// The first event is what was there before; one write may be due at either
	// end of the time.
	if took, writes := time.Since(began), len(versions)-1; writes > 2+int(took/time.Second) {
		t.Errorf("%d writes in %v", writes, took)
	}
}

func TestPoolExhausted(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("tiny", "203.0.113.80/32, 2001:db8:3::/127"))
	poolSays(t, c, "tiny", "Exhausted", metav1.ConditionFalse, "Available")
	c.Apply(t, ns, service("holder", fromPool("tiny")))
	has(t, c, ns, "holder", "203.0.113.80")
	poolSays(t, c, "tiny", "Exhausted", metav1.ConditionTrue, "Exhausted", "IPv4")
	poolCounts(t, c, "tiny", "1", "0", "0", "2")
	c.Apply(t, ns, service("late", fromPool("tiny"))+service("six", fromPool("tiny"), "ipFamilies: [IPv6]"))
	refused(t, c, ns, "late", "PoolExhausted", "tiny")
	has(t, c, ns, "six", "2001:db8:3::")
	remove(t, c, aService(ns, "late"))
	remove(t, c, aService(ns, "holder"))
	poolSays(t, c, "tiny", "Exhausted", metav1.ConditionFalse, "Available")
	poolCounts(t, c, "tiny", "0", "1", "1", "1")
}

// The later of two pools that overlap is refused, by a condition that names
// the other; the earlier one goes on.
func TestPoolOverlap(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	untouched := bystander(t, c, ns)
	earlier, later := aPool("zzz-earlier"), aPool("aaa-later")
	c.Apply(t, ns, pool("zzz-earlier", "203.0.113.96/29"))
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(earlier), earlier); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, ns, service("holder", fromPool("zzz-earlier")))
	has(t, c, ns, "holder", "203.0.113.96")
	inALaterSecond(t, c, earlier.CreationTimestamp, pool("aaa-later", "203.0.113.100-203.0.113.110"), ns, later)
	poolSays(t, c, "aaa-later", "Ready", metav1.ConditionFalse, "Overlap", "zzz-earlier")
	poolSays(t, c, "aaa-later", "Overlap", metav1.ConditionTrue, "Overlap", "zzz-earlier")
	poolSays(t, c, "zzz-earlier", "Ready", metav1.ConditionTrue, "Ready")
	poolCounts(t, c, "aaa-later", "0", "0", "0", "0")
	c.Apply(t, ns, service("more", fromPool("zzz-earlier"))+service("hopes", fromPool("aaa-later")))
	has(t, c, ns, "more", "203.0.113.97")
	refused(t, c, ns, "hopes", "PoolNotFound", "aaa-later")

	// Out of the other's way, the later one works.
	c.Apply(t, ns, pool("zzz-earlier", "203.0.113.96/30"))
	poolSays(t, c, "aaa-later", "Ready", metav1.ConditionTrue, "Ready")
	has(t, c, ns, "hopes", "203.0.113.100")
	has(t, c, ns, "holder", "203.0.113.96")
	has(t, c, ns, "more", "203.0.113.97")
	untouched()
}

// What cannot be right is refused by the API server, or by a condition that
// says what is wrong; nothing else is disturbed.
func TestBadPools(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	untouched := bystander(t, c, ns)
	for _, bad := range []struct{ addresses, says string }{
		{"10.0.0.0/33", "CIDR"},
		{"10.0.0.1-fd00::1", "one family"},
		{"10.0.0.1-", "range"},
		{"nonsense", "CIDR"},
		{"10.0.0.5-10.0.0.1", "end before it starts"},
		{"10.0.0.1", "CIDR"},
	} {
		if why := c.Refused(t, cluster.System, pool("bad", `"`+bad.addresses+`"`)); !strings.Contains(why, bad.says) {
			t.Errorf("%s: refused with %q; want it to say %q", bad.addresses, why, bad.says)
		}
	}
	for _, bad := range []struct{ name, text, reason, says string }{
		{"reversed", pool("reversed", `"2001:db8::5-2001:db8::1"`), "InvalidAddresses", "2001:db8::5-2001:db8::1"},
		{"everything", pool("everything", `"0.0.0.0/0"`), "InvalidAddresses", "0.0.0.0/0"},
		{"everything6", pool("everything6", `"::/0"`), "InvalidAddresses", "::/0"},
		{"twice", pool("twice", `"203.0.113.0/24", "203.0.113.7/32"`), "InvalidAddresses", "203.0.113.7"},
		{"selector", pool("selector", `"203.0.113.0/24"`,
			"serviceAllocation: {serviceSelectors: [{matchExpressions: [{key: tier, operator: Resembles, values: [gold]}]}]}"),
			"InvalidSelector", "Resembles"},
		{"hollow", pool("hollow", `"203.0.113.0/24"`,
			"serviceAllocation: {namespaceSelectors: [{matchExpressions: [{key: team, operator: In}]}]}"), "InvalidSelector", "team"},
	} {
		c.Apply(t, ns, bad.text+service("wants-"+bad.name, fromPool(bad.name)))
		poolSays(t, c, bad.name, "Ready", metav1.ConditionFalse, bad.reason, bad.says)
		refused(t, c, ns, "wants-"+bad.name, "PoolNotFound", bad.name)
	}
	poolSays(t, c, "default", "Ready", metav1.ConditionTrue, "Ready")
	untouched()
}

// A pool whose every address is left out is refused, as a mistake.
func TestPoolThatExcludesAll(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("void", "203.0.113.90/31", "exclude: [203.0.113.90/31]")+service("web", fromPool("void")))
	poolSays(t, c, "void", "Ready", metav1.ConditionFalse, "InvalidAddresses", "excluded")
	refused(t, c, ns, "web", "PoolNotFound", "void")
}
