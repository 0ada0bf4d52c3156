package migrate

import (
	"fmt"
	"maps"
	"slices"
)

// pool converts an IPAddressPool.
func (c *conversion) pool(o *object) {
	o.once("addresses")
	allocation := fields(o.spec, "serviceAllocation")
	if p, ok := allocation["priority"].(int64); ok && p < 0 {
		delete(allocation, "priority")
		o.say(NotKept, "serviceAllocation.priority", "%d: the first is 1; without one the pool is tried last", p)
	}
}

// l2Advertisement converts an L2Advertisement.
func (c *conversion) l2Advertisement(o *object) {
	o.once("ipAddressPools")
	o.once("interfaces")
}

// once takes what is in a list of strings a second time out of it.
func (o *object) once(field string) {
	list, _ := o.spec[field].([]any)
	seen := map[any]bool{}
	some := slices.DeleteFunc(slices.Clone(list), func(item any) bool {
		before := seen[item]
		seen[item] = true
		return before
	})
	if len(some) < len(list) {
		o.set(field, some, "each is named once")
	}
}

// addressPool makes, of an AddressPool, the IPAddressPool and the
// advertisements that say what its protocol did.
func (c *conversion) addressPool(o *object) {
	o.kind = "IPAddressPool"
	c.made = append(c.made, o)
	protocol := o.spec["protocol"]
	advertisements, ok := o.spec["bgpAdvertisements"].([]any)
	if _, there := o.spec["bgpAdvertisements"]; there && !ok {
		o.say(NotKept, "bgpAdvertisements", "it is not a list")
	} else if there && len(advertisements) == 0 {
		o.say(LeftOut, "bgpAdvertisements", "it is empty")
	}
	delete(o.spec, "bgpAdvertisements")
	delete(o.spec, "protocol")

	switch protocol {
	case "layer2":
		adv := c.advertise(o, "L2Advertisement", nil)
		o.say(Changed, "protocol", "it is L2Advertisement %s", adv.name)
		if len(advertisements) > 0 {
			o.say(NotKept, "bgpAdvertisements", "the pool is announced by layer2")
		}
	case "bgp":
		if len(advertisements) == 0 {
			adv := c.advertise(o, "BGPAdvertisement", nil)
			o.say(Changed, "protocol", "it is BGPAdvertisement %s", adv.name)
			break
		}
		o.say(Changed, "protocol", "it is the pool's BGPAdvertisements")
		for i, a := range advertisements {
			at := fmt.Sprintf("bgpAdvertisements[%d]", i)
			spec, ok := a.(map[string]any)
			if !ok {
				o.say(NotKept, at, "it is not an object")
				continue
			}
			adv := c.advertise(o, "BGPAdvertisement", spec)
			o.say(Changed, at, "it is BGPAdvertisement %s", adv.name)
		}
	default:
		o.say(NotKept, "protocol", "it is neither layer2 nor bgp: nothing announces the pool")
	}
}

// advertise makes an advertisement of a pool, of the pool's name or the next
// that is free.
func (c *conversion) advertise(pool *object, kind string, spec map[string]any) *object {
	if spec == nil {
		spec = map[string]any{}
	}
	adv := &object{
		kind: kind, name: pool.name, source: pool.source,
		origin: pool.origin, metadata: map[string]any{}, spec: spec, had: slices.Sorted(maps.Keys(spec)),
	}
	taken := func(o *object) bool { return o.kind == kind && o.name == adv.name }
	for n := 2; slices.ContainsFunc(c.made, taken); n++ {
		adv.name = fmt.Sprintf("%s-%d", pool.name, n)
	}
	adv.set("ipAddressPools", []any{pool.name}, "the pool it was part of")
	c.made = append(c.made, adv)
	return adv
}
