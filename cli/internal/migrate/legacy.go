package migrate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/cli/internal/manifest"
)

// The fields of the ConfigMap of MetalLB before 0.13, and what they are named
// in the objects that came after it.
var (
	legacyPeer = map[string]string{
		"my-asn": "myASN", "peer-asn": "peerASN", "peer-address": "peerAddress", "source-address": "sourceAddress",
		"peer-port": "peerPort", "hold-time": "holdTime", "keepalive-time": "keepaliveTime", "router-id": "routerID",
		"node-selectors": "nodeSelectors", "password": "password", "bfd-profile": "bfdProfile",
		"ebgp-multihop": "ebgpMultiHop",
	}
	legacySelector = map[string]string{"match-labels": "matchLabels", "match-expressions": "matchExpressions"}
	legacyPool     = map[string]string{
		"protocol": "protocol", "addresses": "addresses", "auto-assign": "autoAssign",
		"avoid-buggy-ips": "avoidBuggyIPs", "bgp-advertisements": "bgpAdvertisements",
	}
	legacyAdvertisement = map[string]string{
		"aggregation-length": "aggregationLength", "aggregation-length-v6": "aggregationLengthV6",
		"localpref": "localPref", "communities": "communities",
	}
	legacyBFD = map[string]string{
		"receive-interval": "receiveInterval", "transmit-interval": "transmitInterval",
		"detect-multiplier": "detectMultiplier", "echo-interval": "echoInterval", "echo-mode": "echoMode",
		"passive-mode": "passiveMode", "minimum-ttl": "minimumTtl",
	}
)

// legacySections are the keys of such a ConfigMap's configuration.
var legacySections = []string{"address-pools", "bfd-profiles", "bgp-communities", "peers"}

// legacyConfig returns the configuration in a ConfigMap, or nil where it has
// none of MetalLB's.
func legacyConfig(object map[string]any) map[string]any {
	content, err := yaml.YAMLToJSONStrict([]byte(text(fields(object, "data"), "config")))
	if err != nil {
		return nil
	}
	var config map[string]any
	if json.Unmarshal(content, &config) != nil {
		return nil
	}
	for _, s := range legacySections {
		if _, ok := config[s]; ok {
			return config
		}
	}
	return nil
}

// configMap makes the objects that MetalLB 0.13 would have in place of the
// ConfigMap, and returns those of kind AddressPool.
func (c *conversion) configMap(d manifest.Document) []*object {
	meta := fields(d.Object, "metadata")
	name, namespace := text(meta, "name"), text(meta, "namespace")
	l := &legacy{
		conversion: c, source: d.Source, namespace: namespace,
		origin: "ConfigMap " + strings.TrimPrefix(namespace+"/"+name, "/"),
		names:  map[[2]string]string{},
	}
	config := legacyConfig(d.Object)
	// Profiles come before the peers that name them.
	profiles := l.section(config, "bfd-profiles")
	l.reserve("BFDProfile", profiles)
	for i, profile := range profiles {
		o := l.object("BFDProfile", l.name("BFDProfile", i, profile), profile, legacyBFD)
		c.made = append(c.made, o)
	}
	l.communities(config)
	for i, peer := range l.section(config, "peers") {
		c.made = append(c.made, l.peer(i, peer))
	}
	var pools []*object
	addressPools := l.section(config, "address-pools")
	l.reserve("AddressPool", addressPools)
	for i, pool := range addressPools {
		pools = append(pools, l.pool(i, pool))
	}
	for _, k := range slices.Sorted(maps.Keys(config)) {
		if !slices.Contains(legacySections, k) {
			l.lines = append(l.lines, Line{NotKept, "data.config." + k, "no such field is known"})
		}
	}
	l.leave("data.", fields(d.Object, "data"), "config")
	l.leave("metadata.", meta, "name", "namespace")
	l.leave("", d.Object, "apiVersion", "kind", "metadata", "data")
	c.entries = append(c.entries, Entry{"ConfigMap", strings.TrimPrefix(l.origin, "ConfigMap "), "v1", d.Source, l.lines})
	return pools
}

// legacy is the conversion of one ConfigMap.
type legacy struct {
	*conversion
	source, namespace, origin string
	// names are what the objects of a kind are named now, by what they were.
	names map[[2]string]string
	lines []Line
}

// leave says of the ConfigMap's other fields that they have no part in it.
func (l *legacy) leave(path string, from map[string]any, except ...string) {
	for _, k := range slices.Sorted(maps.Keys(from)) {
		if !slices.Contains(except, k) {
			l.lines = append(l.lines, Line{LeftOut, path + k, "it is the ConfigMap's own"})
		}
	}
}

// section returns the objects of a list of the configuration.
func (l *legacy) section(config map[string]any, section string) []map[string]any {
	if config[section] == nil {
		return nil
	}
	list, ok := config[section].([]any)
	if !ok {
		l.lines = append(l.lines, Line{NotKept, "data.config." + section, "it is not a list"})
		return nil
	}
	var all []map[string]any
	for i, item := range list {
		o, ok := item.(map[string]any)
		if !ok {
			l.lines = append(l.lines, Line{NotKept, fmt.Sprintf("data.config.%s[%d]", section, i), "it is not an object"})
			continue
		}
		all = append(all, o)
	}
	if len(all) > 0 {
		l.lines = append(l.lines, Line{Changed, "data.config." + section, "objects of their own"})
	}
	return all
}

// object is one of the new kinds, with the fields that the table renames.
func (l *legacy) object(kind, name string, from map[string]any, table map[string]string) *object {
	o := &object{
		kind: kind, name: name, origin: l.origin, source: l.source, namespace: l.namespace,
		metadata: map[string]any{},
	}
	o.spec = o.rename(from, table, "")
	o.had = slices.Sorted(maps.Keys(o.spec))
	return o
}

// rename returns an object with the fields of a table by their new names. One
// that is not in the table is no field, whatever its name means now.
func (o *object) rename(from map[string]any, table map[string]string, path string) map[string]any {
	to := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(from)) {
		if now, ok := table[k]; ok {
			to[now] = from[k]
		} else {
			o.unknown(path + k)
		}
	}
	return to
}

// renameAll renames the fields of the objects in a list of the spec.
func (o *object) renameAll(field string, table map[string]string) {
	items, _ := o.spec[field].([]any)
	for i, item := range items {
		if from, ok := item.(map[string]any); ok {
			items[i] = o.rename(from, table, fmt.Sprintf("%s[%d].", field, i))
		}
	}
}

// reserve keeps the names that objects of the API may have for those that have
// them.
func (l *legacy) reserve(kind string, objects []map[string]any) {
	for _, o := range objects {
		if name := text(o, "name"); name != "" && name == dnsName(name) {
			l.names[[2]string{kind, name}] = name
		}
	}
}

// name takes an object's name out of it and makes it one that an object of the
// API may have.
func (l *legacy) name(kind string, index int, from map[string]any) string {
	was := text(from, "name")
	delete(from, "name")
	if was == "" {
		was = fmt.Sprintf("%s%d", strings.ToLower(kind), index+1)
	}
	key := [2]string{kind, was}
	if name, ok := l.names[key]; ok {
		return name
	}
	base := dnsName(was)
	name := base
	for n := 2; l.taken(kind, name); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	l.names[key] = name
	if name != was {
		l.lines = append(l.lines, Line{Changed, "", fmt.Sprintf("%s %q is named %s", kind, was, name)})
	}
	return name
}

func (l *legacy) taken(kind, name string) bool {
	for key, other := range l.names {
		if key[0] == kind && other == name {
			return true
		}
	}
	return false
}

// dnsName makes a name of lower-case letters, digits, dots and hyphens.
func dnsName(was string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(was))
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = strings.Trim(p, "-")
	}
	name = strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ".")
	if len(name) > 200 {
		name = strings.Trim(name[:200], "-.")
	}
	if name == "" {
		return "unnamed"
	}
	return name
}

func (l *legacy) peer(index int, from map[string]any) *object {
	o := l.object("BGPPeer", fmt.Sprintf("peer%d", index+1), from, legacyPeer)
	o.renameAll("nodeSelectors", legacySelector)
	// MetalLB reads a number there as text.
	if n, ok := o.spec["password"].(int64); ok {
		o.spec["password"] = strconv.FormatInt(n, 10)
	}
	if was := text(o.spec, "bfdProfile"); was != "" {
		if now, ok := l.names[[2]string{"BFDProfile", was}]; ok && now != was {
			o.set("bfdProfile", now, "%q is named %s", was, now)
		}
	}
	return o
}

func (l *legacy) pool(index int, from map[string]any) *object {
	was := text(from, "name")
	o := l.object("AddressPool", l.name("AddressPool", index, from), from, legacyPool)
	o.renameAll("bgpAdvertisements", legacyAdvertisement)
	if o.name != was {
		l.todo = append(l.todo, fmt.Sprintf("Services that ask for pool %q must ask for %s", was, o.name))
	}
	return o
}

// communities makes one object of all names.
func (l *legacy) communities(config map[string]any) {
	const section = "bgp-communities"
	aliases, ok := config[section].(map[string]any)
	switch {
	case ok && len(aliases) > 0:
		l.lines = append(l.lines, Line{Changed, "data.config." + section, "Community communities"})
	case ok || config[section] == nil:
		return
	default:
		l.lines = append(l.lines, Line{NotKept, "data.config." + section, "it is not an object"})
		return
	}
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(aliases)) {
		list = append(list, map[string]any{"name": name, "value": fmt.Sprint(aliases[name])})
	}
	all := map[string]any{"communities": list}
	l.made = append(l.made, l.object("Community", "communities", all, map[string]string{"communities": "communities"}))
}
