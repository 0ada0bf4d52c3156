package infra

import "k8s.io/apimachinery/pkg/types"

// Range is the fleet ports to give, both ends included. They are above 1023,
// so that Envoy binds them without a capability, and below the range that
// Linux takes ports of outgoing connections from.
type Range struct{ First, Last int32 }

// DefaultRange holds 10,000 ports for each fleet.
var DefaultRange = Range{First: 20000, Last: 29999}

// holder is whom a fleet port is given to: a port of a Gateway.
type holder struct {
	gateway types.NamespacedName
	port    int32
}

// Ports gives each port of each Gateway a port of the fleet's own. It is not
// safe for concurrent use.
//
// A port that was given back is given again last: Envoys may still have the
// listener that held it.
type Ports struct {
	within Range
	fleets map[types.NamespacedName]*fleetPorts
}

type fleetPorts struct {
	next  int32
	given map[int32]holder
	of    map[holder]int32
}

// NewPorts gives ports of the range.
func NewPorts(within Range) *Ports {
	return &Ports{within: within, fleets: map[types.NamespacedName]*fleetPorts{}}
}

func (p *Ports) fleet(name types.NamespacedName) *fleetPorts {
	f := p.fleets[name]
	if f == nil {
		f = &fleetPorts{next: p.within.First, given: map[int32]holder{}, of: map[holder]int32{}}
		p.fleets[name] = f
	}
	return f
}

// Adopt takes note of a port that was given before. It says false where
// another holds it, or the holder has one.
func (p *Ports) Adopt(fleet, gateway types.NamespacedName, port, fleetPort int32) bool {
	f, h := p.fleet(fleet), holder{gateway, port}
	if was, ok := f.given[fleetPort]; ok {
		return was == h
	}
	if _, ok := f.of[h]; ok || fleetPort < p.within.First || fleetPort > p.within.Last {
		return false
	}
	f.given[fleetPort], f.of[h] = h, fleetPort
	if fleetPort >= f.next {
		f.next = fleetPort + 1
	}
	return true
}

// Give returns the fleet port of a Gateway's port; false: none is left.
func (p *Ports) Give(fleet, gateway types.NamespacedName, port int32) (int32, bool) {
	f, h := p.fleet(fleet), holder{gateway, port}
	if n, ok := f.of[h]; ok {
		return n, true
	}
	for range p.within.Last - p.within.First + 1 {
		if f.next > p.within.Last {
			f.next = p.within.First
		}
		n := f.next
		f.next++
		if _, taken := f.given[n]; !taken {
			f.given[n], f.of[h] = h, n
			return n, true
		}
	}
	return 0, false
}

// Keep gives back the ports of all holders for which keep is false.
func (p *Ports) Keep(keep func(fleet, gateway types.NamespacedName, port int32) bool) {
	for name, f := range p.fleets {
		for h, n := range f.of {
			if !keep(name, h.gateway, h.port) {
				delete(f.of, h)
				delete(f.given, n)
			}
		}
	}
}
