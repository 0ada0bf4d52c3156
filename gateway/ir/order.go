package ir

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Every order of the gateway's output is here, so that the same objects give
// byte-equal output in whatever order they come.

// Candidate is a route on its way into a virtual host, with what decides its
// place among the others. Source, Rule and Match together are unique within a
// virtual host.
type Candidate struct {
	Route Route
	// Hostname is the one of the route's own hostnames that brought it into
	// the virtual host; empty where the route names none.
	Hostname string
	// Created is when the object was created, in seconds since 1970.
	Created int64
	// Kind and Source are the object, Rule and Match the place in it.
	Kind        string
	Source      types.NamespacedName
	Rule, Match int
}

// ByPrecedence orders the routes of one virtual host: the first that matches
// a request decides. It is the order that the Gateway API sets for
// HTTPRouteSpec.Hostnames and HTTPRouteRule.Matches; regular expressions, of
// which it says nothing, come after exact paths and before prefixes.
func ByPrecedence(a, b *Candidate) int {
	return cmp.Or(
		-CompareSpecificity(a.Hostname, b.Hostname),
		cmp.Compare(pathRank(a.Route.Match.Path), pathRank(b.Route.Match.Path)),
		-cmp.Compare(len(a.Route.Match.Value), len(b.Route.Match.Value)),
		-cmp.Compare(boolRank(a.Route.Match.Method != ""), boolRank(b.Route.Match.Method != "")),
		-cmp.Compare(len(a.Route.Match.Headers), len(b.Route.Match.Headers)),
		-cmp.Compare(len(a.Route.Match.Query), len(b.Route.Match.Query)),
		cmp.Compare(a.Created, b.Created),
		CompareNames(a.Source, b.Source),
		strings.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.Match, b.Match),
	)
}

func pathRank(p PathMatch) int {
	switch p {
	case PathExact:
		return 0
	case PathRegex:
		return 1
	default:
		return 2
	}
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// CompareSpecificity says which of two host names is the more specific one:
// positive where a is. Any exact name is more specific than any wildcard, any
// wildcard more than none, and a longer one more than a shorter one.
func CompareSpecificity(a, b string) int {
	return cmp.Or(
		cmp.Compare(hostRank(a), hostRank(b)),
		cmp.Compare(len(a), len(b)),
	)
}

func hostRank(h string) int {
	switch {
	case h == "" || h == "*":
		return 0
	case strings.HasPrefix(h, "*."):
		return 1
	default:
		return 2
	}
}

// CompareNames orders objects by "namespace/name", as the Gateway API does
// where nothing else decides.
func CompareNames(a, b types.NamespacedName) int {
	if a.Namespace == b.Namespace {
		return strings.Compare(a.Name, b.Name)
	}
	// A namespace may have characters that sort before the slash.
	return strings.Compare(a.String(), b.String())
}

// CompareClusters orders the clusters of a fleet.
func CompareClusters(a, b *Cluster) int {
	return cmp.Or(
		CompareNames(a.Service, b.Service),
		cmp.Compare(a.Port, b.Port),
		strings.Compare(a.Name(), b.Name()),
	)
}

// CompareListeners orders the listeners of a fleet.
func CompareListeners(a, b *Listener) int {
	return cmp.Or(CompareNames(a.Gateway, b.Gateway), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
}

// CompareHosts orders the virtual hosts of a table.
func CompareHosts(a, b *VirtualHost) int { return strings.Compare(a.Domain, b.Domain) }

// CompareAuthorities orders the authorities of a fleet.
func CompareAuthorities(a, b Authorities) int { return strings.Compare(a.Name(), b.Name()) }

// CompareServerNames orders the chains of a listener.
func CompareServerNames(a, b *Chain) int { return strings.Compare(a.ServerName, b.ServerName) }
