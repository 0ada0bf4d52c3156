//go:build e2e

package allocation

import (
	"fmt"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

func port(protocol string, number int) string {
	return fmt.Sprintf("ports: [{protocol: %s, port: %d}]", protocol, number)
}

// The same key and no port of one protocol in common: one address.
func TestAnnotationAllowSharedIP(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("shared", "203.0.113.0/30"))
	in := fromPool("shared") + ", "
	c.Apply(t, ns, service("dns-tcp", in+sharing("dns"), port("TCP", 53)))
	has(t, c, ns, "dns-tcp", "203.0.113.0")
	for i, prefix := range []string{"porchlight.dev", "metallb.io", "metallb.universe.tf"} {
		name := fmt.Sprintf("prefix-%d", i)
		c.Apply(t, ns, service(name, in+`"`+prefix+`/allow-shared-ip": dns`, port("UDP", 53+i)))
		has(t, c, ns, name, "203.0.113.0")
	}
	poolCounts(t, c, "shared", "1", "3", "0", "0")

	// Not: a port in common, another key, no key.
	c.Apply(t, ns, service("same-port", in+sharing("dns"), port("TCP", 53)))
	has(t, c, ns, "same-port", "203.0.113.1")
	c.Apply(t, ns, service("asks-same-port", asking("203.0.113.0")+", "+sharing("dns"), port("TCP", 53))+
		service("other-key", asking("203.0.113.0")+", "+sharing("web"), port("TCP", 99))+
		service("no-key", asking("203.0.113.0"), port("TCP", 99)))
	refused(t, c, ns, "asks-same-port", "SharingRefused", "203.0.113.0", ns+"/dns-tcp", "TCP/53")
	refused(t, c, ns, "other-key", "SharingRefused", "203.0.113.0", ns+"/dns-tcp")
	refused(t, c, ns, "no-key", "AddressInUse", "203.0.113.0", ns+"/dns-tcp")
	awaitTold(t, c, ns, "asks-same-port", "SharingRefused", ns+"/dns-tcp")

	// It is freed with the last who has it, and not before.
	remove(t, c, aService(ns, "dns-tcp"))
	has(t, c, ns, "asks-same-port", "203.0.113.0")
	poolCounts(t, c, "shared", "2", "2", "0", "0")
	for _, name := range []string{"asks-same-port", "prefix-0", "prefix-1"} {
		remove(t, c, aService(ns, name))
		refused(t, c, ns, "no-key", "AddressInUse", "203.0.113.0")
	}
	remove(t, c, aService(ns, "other-key"))
	remove(t, c, aService(ns, "prefix-2"))
	has(t, c, ns, "no-key", "203.0.113.0")
}

// With externalTrafficPolicy Local, only Services with the same selector
// share.
func TestSharingWithExternalTrafficPolicyLocal(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	const local = "externalTrafficPolicy: Local"
	c.Apply(t, ns, pool("local", "203.0.113.8/30"))
	c.Apply(t, ns, service("first", asking("203.0.113.8")+", "+sharing("k"), port("TCP", 1), local, "selector: {app: a}"))
	has(t, c, ns, "first", "203.0.113.8")
	c.Apply(t, ns, service("same", asking("203.0.113.8")+", "+sharing("k"), port("TCP", 2), local, "selector: {app: a}")+
		service("other", asking("203.0.113.8")+", "+sharing("k"), port("TCP", 3), local, "selector: {app: b}")+
		service("cluster", asking("203.0.113.8")+", "+sharing("k"), port("TCP", 4), "selector: {app: b}"))
	has(t, c, ns, "same", "203.0.113.8")
	refused(t, c, ns, "other", "SharingRefused", "203.0.113.8", ns+"/first")
	refused(t, c, ns, "cluster", "SharingRefused", "203.0.113.8", ns+"/first")
	change(t, c, aService(ns, "other"), `{"spec":{"selector":{"app":"a"}}}`)
	has(t, c, ns, "other", "203.0.113.8")
}

// Across namespaces both need the key, and the pool must admit both.
func TestSharingAcrossNamespaces(t *testing.T) {
	c := cluster.ForTest(t)
	one, two := c.Namespace(t), c.Namespace(t)
	c.Apply(t, one, pool("open", "203.0.113.16/30")+
		pool("closed", "203.0.113.20/30", "serviceAllocation: {namespaces: ["+one+"]}"))
	c.Apply(t, one, service("web", asking("203.0.113.16")+", "+sharing("k"), port("TCP", 80))+
		service("alone", asking("203.0.113.20")+", "+sharing("k"), port("TCP", 80)))
	has(t, c, one, "web", "203.0.113.16")
	has(t, c, one, "alone", "203.0.113.20")
	c.Apply(t, two, service("web", asking("203.0.113.16")+", "+sharing("k"), port("TCP", 443))+
		service("no-key", asking("203.0.113.16"), port("TCP", 444))+
		service("not-admitted", asking("203.0.113.20")+", "+sharing("k"), port("TCP", 443)))
	has(t, c, two, "web", "203.0.113.16")
	refused(t, c, two, "no-key", "AddressInUse", "203.0.113.16", "/web")
	refused(t, c, two, "not-admitted", "NamespaceNotAdmitted", "closed", two)
	poolCounts(t, c, "open", "1", "3", "0", "0")
}

// A live Service that no longer may share gives way; who was there keeps the
// address.
func TestSharingEndsLive(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, pool("ends", "203.0.113.24/30"))
	c.Apply(t, ns, service("stays", fromPool("ends")+", "+sharing("k"), port("TCP", 80)))
	has(t, c, ns, "stays", "203.0.113.24")
	c.Apply(t, ns, service("goes", fromPool("ends")+", "+sharing("k"), port("TCP", 81)))
	has(t, c, ns, "goes", "203.0.113.24")
	change(t, c, aService(ns, "goes"), `{"metadata":{"annotations":{"porchlight.dev/allow-shared-ip":"other"}}}`)
	has(t, c, ns, "goes", "203.0.113.25")
	awaitTold(t, c, ns, "goes", "Allocated", "203.0.113.25")
	has(t, c, ns, "stays", "203.0.113.24")
	poolCounts(t, c, "ends", "2", "2", "0", "0")
}
