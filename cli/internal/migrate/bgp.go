package migrate

import (
	"fmt"
	"net/netip"
	"regexp"
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

// linkNameMax is the length in bytes of the longest name of an interface.
const linkNameMax = 15

const holdTimeMax = 65535 * time.Second

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
	o.internal()
	for _, f := range []string{"interface", "vrf"} {
		if name := text(o.spec, f); len(name) > linkNameMax || strings.ContainsAny(name, "/: \t\n") {
			o.refuse(f, "no interface can have that name")
		}
	}
	if len(text(o.spec, "password")) > passwordMax {
		o.refuse("password", "it is longer than the %d bytes that Linux takes", passwordMax)
	}
	c.passwordSecret(o)
}

// internal converts what is for eBGP alone.
func (o *object) internal() {
	my, peer, local := o.spec["myASN"], o.spec["peerASN"], o.spec["localASN"]
	ibgp := o.spec["dynamicASN"] == "internal" || peer == my
	switch {
	case local == nil:
	case local == my:
		o.drop(LeftOut, "localASN", "it is myASN")
	case ibgp:
		o.drop(NotKept, "localASN", "the session is iBGP, where routers do not take it")
	case local == peer:
		o.refuse("localASN", "it is peerASN, and the session would be iBGP for the peer alone")
	}
	switch {
	case o.spec["ebgpMultiHop"] != true:
	case ibgp:
		o.drop(LeftOut, "ebgpMultiHop", "the session is iBGP, which may be multihop always")
	case o.spec["interface"] != nil:
		o.drop(LeftOut, "ebgpMultiHop", "a peer on an interface is one hop away")
	}
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
	case source.IsUnspecified():
		o.drop(LeftOut, "sourceAddress", "it is not set")
	case o.spec["interface"] != nil:
		o.drop(NotKept, "sourceAddress", "a session on an interface is from its link-local address")
	case source.Is6() && source.IsLinkLocalUnicast():
		o.drop(NotKept, "sourceAddress", "it is link-local, and so on no interface in particular")
	case peer.IsValid() && peer.Is4() != source.Is4():
		o.refuse("sourceAddress", "it is not of the family of peerAddress")
	}
	switch {
	case id.IsUnspecified():
		o.drop(LeftOut, "routerID", "it is not set")
	case id.Is6():
		o.drop(NotKept, "routerID", "it is not written as an IPv4 address (RFC 6286); each node takes one of its own")
	}
}

// duration is how our API server takes one; MetalLB takes all of Go's.
var duration = regexp.MustCompile(`^(0|([0-9]+(\.[0-9]+)?(h|m|s|ms))+)$`)

// timers converts the session's times: MetalLB rounds them down to seconds
// when it uses them, and does not see that a hold time needs keepalives.
func (o *object) timers() {
	hold, _ := o.seconds("holdTime")
	if hold > holdTimeMax {
		o.set("holdTime", short(holdTimeMax), "%s becomes %s: it has 16 bits (RFC 4271 section 4.2)", text(o.spec, "holdTime"), short(holdTimeMax))
		hold = holdTimeMax
	}
	keepalive, ok := o.seconds("keepaliveTime")
	if ok && hold > 0 && keepalive == 0 {
		o.drop(Changed, "keepaliveTime", "0 in whole seconds is never, and the session would end; it is a third of holdTime now")
	}
	o.seconds("connectTime")
}

// seconds reads a time down to the second, writes it so where it is written
// otherwise, and says whether it is one.
func (o *object) seconds(field string) (time.Duration, bool) {
	was := text(o.spec, field)
	d, err := time.ParseDuration(was)
	if err != nil || d < 0 {
		return 0, false
	}
	whole := d.Truncate(time.Second)
	switch {
	case whole != d:
		o.set(field, short(whole), "%s becomes %s: it is in whole seconds", was, short(whole))
	case !duration.MatchString(was):
		o.set(field, short(whole), "%s is written %s", was, short(whole))
	}
	return whole, true
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
