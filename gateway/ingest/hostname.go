package ingest

import (
	"strings"

	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// anyDomain is the domain of what names no host.
const anyDomain = "*"

// domain returns what a hostname covers: itself, or everything where it is
// empty.
func domain(hostname string) string {
	if hostname == "" {
		return anyDomain
	}
	return hostname
}

// covers says whether every host that d covers is covered by pattern too.
// Both are domains: exact, wildcard or anyDomain. A wildcard covers any number
// of labels, and not its own suffix (HTTPRouteSpec.Hostnames).
func covers(pattern, d string) bool {
	if pattern == anyDomain || pattern == d {
		return true
	}
	suffix, ok := strings.CutPrefix(pattern, "*")
	return ok && d != anyDomain && strings.HasSuffix(strings.TrimPrefix(d, "*"), suffix)
}

// intersect returns the hosts that both a listener's and a route's hostname
// cover, and false where there are none. Two hostnames that intersect always
// contain one another.
func intersect(listener, route string) (string, bool) {
	l, r := domain(listener), domain(route)
	switch {
	case covers(l, r):
		return r, true
	case covers(r, l):
		return l, true
	default:
		return "", false
	}
}

// owned returns the index of the listener whose routes answer for a domain:
// the one with the most specific hostname that covers it, or -1.
func owned(listeners []*listener, d string) int {
	best := -1
	for i, l := range listeners {
		if covers(domain(l.hostname), d) &&
			(best < 0 || ir.CompareSpecificity(l.hostname, listeners[best].hostname) > 0) {
			best = i
		}
	}
	return best
}
