package migrate

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// asTrans is the number of no autonomous system (RFC 6793 section 9).
const asTrans = int64(23456)

// passwordMax is the length in bytes of the longest key that Linux takes for
// TCP MD5.
const passwordMax = 80

// peer converts a BGPPeer, of MetalLB's v1beta1 or v1beta2.
func (c *conversion) peer(o *object) {
	if o.version == "v1beta1" {
		// A duration that is not set is written 0s in that version.
		for _, f := range []string{"holdTime", "keepaliveTime"} {
			if d, _ := time.ParseDuration(text(o.spec, f)); text(o.spec, f) != "" && d == 0 {
				o.drop(LeftOut, f, "0s is not set in MetalLB's v1beta1")
			}
		}
	}
	for _, f := range []string{
		"bfdProfile", "dynamicASN", "interface", "localASN", "password", "peerASN", "peerAddress", "peerPort",
		"routerID", "sourceAddress", "vrf",
	} {
		if v := o.spec[f]; v == "" || v == int64(0) {
			o.drop(LeftOut, f, "it is not set")
		}
	}
	for _, f := range []string{"myASN", "peerASN", "localASN"} {
		if o.spec[f] == asTrans {
			o.refuse(f, "23456 is AS_TRANS, which no autonomous system may have (RFC 6793)")
		}
	}
	o.peerAddresses()
	o.timers()
	if o.spec["ebgpMultiHop"] == true {
		switch {
		case o.spec["dynamicASN"] == "internal":
			o.drop(LeftOut, "ebgpMultiHop", "the session is iBGP, which may be multihop always")
		case o.spec["interface"] != nil:
			o.drop(LeftOut, "ebgpMultiHop", "a peer on an interface is one hop away")
		}
	}
	if len(text(o.spec, "password")) > passwordMax {
		o.refuse("password", "it is longer than the %d bytes that Linux takes", passwordMax)
	}
	c.passwordSecret(o)
}

// peerAddresses converts the two ends of the session and the router ID.
func (o *object) peerAddresses() {
	// An address that cannot be read is the API server's to refuse.
	address := func(f string) netip.Addr {
		addr, err := netip.ParseAddr(text(o.spec, f))
		if err == nil && addr.Is4In6() {
			addr = addr.Unmap()
			o.set(f, addr.String(), "it is written as IPv4")
		}
		return addr
	}
	peer, source, id := address("peerAddress"), address("sourceAddress"), address("routerID")
	if peer.Is6() && peer.IsLinkLocalUnicast() {
		o.refuse("peerAddress", "it is link-local; name the interface in the field interface instead")
	}
	switch {
	case !source.IsValid():
	case o.spec["interface"] != nil:
		o.drop(NotKept, "sourceAddress", "a session on an interface is from its link-local address")
	case source.Is6() && source.IsLinkLocalUnicast():
		o.drop(NotKept, "sourceAddress", "it is link-local, and so on no interface in particular")
	case peer.IsValid() && peer.Is4() != source.Is4():
		o.refuse("sourceAddress", "it is not of the family of peerAddress")
	}
	if id.Is6() {
		o.drop(NotKept, "routerID", "it is not written as an IPv4 address (RFC 6286); each node takes one of its own")
	}
}

// timers converts the session's times: MetalLB rounds them down to seconds
// when it uses them, and does not see that a hold time needs keepalives.
func (o *object) timers() {
	hold, keepalive := text(o.spec, "holdTime"), text(o.spec, "keepaliveTime")
	holdTime, whole, ok := seconds(hold)
	if ok && !whole {
		o.set("holdTime", short(holdTime), "%s becomes %s: it is in whole seconds", hold, short(holdTime))
	}
	keepaliveTime, whole, ok := seconds(keepalive)
	switch {
	case ok && keepaliveTime == 0 && holdTime > 0:
		o.drop(Changed, "keepaliveTime", "%s is never, in whole seconds, and the session would end; it is a third of holdTime now", keepalive)
	case ok && !whole:
		o.set("keepaliveTime", short(keepaliveTime), "%s becomes %s: it is in whole seconds", keepalive, short(keepaliveTime))
	}
}

// seconds reads a duration down to the second, and says whether that is all of
// it and whether it is one.
func seconds(s string) (d time.Duration, whole, ok bool) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, false, false
	}
	down := d.Truncate(time.Second)
	return down, down == d, true
}

// short writes whole seconds without the units that are 0.
func short(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// passwordSecret converts the reference to a Secret, and asks for the Secret
// itself to be copied.
func (c *conversion) passwordSecret(o *object) {
	ref := fields(o.spec, "passwordSecret")
	if ref == nil {
		return
	}
	name := text(ref, "name")
	if name == "" {
		o.drop(LeftOut, "passwordSecret", "it names no Secret")
		return
	}
	from := o.namespace
	if ns := text(ref, "namespace"); ns != "" {
		if from == "" {
			from = ns
		}
		delete(ref, "namespace")
		o.say(Changed, "passwordSecret", "the Secret is read in namespace %s, always", c.namespace)
	}
	if from == "" {
		from = "metallb-system"
	}
	if len(validation.IsDNS1123Subdomain(name)) > 0 || len(validation.IsDNS1123Label(from)) > 0 {
		o.refuse("passwordSecret", "no Secret can have that name")
		return
	}
	if from == c.namespace {
		return
	}
	c.todo = append(c.todo, fmt.Sprintf("copy Secret %s of namespace %s, which holds a password:\n"+
		"kubectl --namespace %s get secret %s --output jsonpath='{.data.password}' | base64 --decode |\n"+
		"kubectl --namespace %s create secret generic %s --type kubernetes.io/basic-auth --from-file password=/dev/stdin",
		name, from, from, name, c.namespace, name))
}

// bgpAdvertisement converts a BGPAdvertisement.
func (c *conversion) bgpAdvertisement(o *object) {
	o.once("ipAddressPools")
	o.once("peers")
	list, _ := o.spec["communities"].([]any)
	for i, item := range list {
		was, _ := item.(string)
		at := fmt.Sprintf("communities[%d]", i)
		switch is, ok := community(was); {
		case ok && is != was:
			list[i] = is
			o.say(Changed, at, "%s is written %s", was, is)
		case !ok && !aliasName(was):
			o.refuse(at, "%q is neither a community nor a name without colons and white space", was)
		}
	}
	o.once("communities")
}

// community converts a Community.
func (c *conversion) community(o *object) {
	list, _ := o.spec["communities"].([]any)
	some := []any{}
	for i, item := range list {
		at := fmt.Sprintf("communities[%d]", i)
		alias, _ := item.(map[string]any)
		name, was := text(alias, "name"), text(alias, "value")
		if !aliasName(name) {
			o.say(NotKept, at, "the name %q must be without colons and white space", name)
			continue
		}
		is, ok := community(was)
		if !ok {
			o.say(NotKept, at, "the value %q of %s is no community", was, name)
			continue
		}
		if is != was {
			alias["value"] = is
			o.say(Changed, at, "%s is written %s", was, is)
		}
		some = append(some, alias)
	}
	if o.spec["communities"] != nil {
		o.spec["communities"] = some
	}
}

// community returns a community in numbers as our API server takes it, or
// false for what is none. MetalLB takes any number of leading zeros.
func community(s string) (string, bool) {
	large := strings.HasPrefix(s, "large:")
	parts := strings.Split(strings.TrimPrefix(s, "large:"), ":")
	count, bits := 2, 16
	if large {
		count, bits = 3, 32
	}
	if len(parts) != count {
		return "", false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, bits)
		if err != nil {
			return "", false
		}
		parts[i] = strconv.FormatUint(n, 10)
	}
	if large {
		parts = slices.Insert(parts, 0, "large")
	}
	return strings.Join(parts, ":"), true
}

// aliasName says whether a Community may give a name.
func aliasName(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return r == ':' || strings.ContainsRune(" \t\n\v\f\r", r)
	})
}
