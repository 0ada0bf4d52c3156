package allocator

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/internal/script"
)

// TestScripts runs the stories of testdata/script. Their commands are
//
//	pool NAME BLOCK... [exclude=BLOCK,...] [created=N] [priority=N] [namespaces=A,B]
//	    [namespace-selector=K=V] [service-selector=K=V] [manual] [avoid-buggy] [drain]
//	delete-pool NAME
//	namespace NAME [K=V...]
//	service NS/NAME [created=N] [families=4,6] [policy=prefer|require] [pool=P] [ips=A,B]
//	    [key=K] [ports=tcp/80,udp/53] [selector=S] [local] [labels=K=V] [recorded=A,B] [malformed=WORD]
//	adopt, with one service on each of the following lines
//	delete NS/NAME
//	restart: a new allocator, with the same wishes and what was decided as recorded
//	pools: the state of every pool
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/script/*.txt", func(t *testing.T, out *bytes.Buffer) func([]string) {
		s := newStory(t)
		return func(command []string) { s.run(command, out) }
	})
}

// story is an allocator and what a restart needs.
type story struct {
	t          *testing.T
	a          *Allocator
	pools      map[string]Pool
	services   map[Key]Service
	namespaces map[string]map[string]string
	decided    map[Key]Decision
}

func newStory(t *testing.T) *story {
	return &story{
		t: t, a: New(), pools: map[string]Pool{}, services: map[Key]Service{},
		namespaces: map[string]map[string]string{}, decided: map[Key]Decision{},
	}
}

func (sc *story) run(lines []string, out *bytes.Buffer) {
	words := strings.Fields(lines[0])
	args := words[1:]
	switch words[0] {
	case "pool":
		p := sc.pool(args)
		sc.pools[p.Name] = p
		sc.a.SetPool(p)
	case "delete-pool":
		delete(sc.pools, args[0])
		sc.a.DeletePool(args[0])
	case "namespace":
		labels := map[string]string{}
		for _, arg := range args[1:] {
			k, v, _ := strings.Cut(arg, "=")
			labels[k] = v
		}
		sc.namespaces[args[0]] = labels
		sc.a.SetNamespace(args[0], labels)
	case "service":
		s := sc.service(args)
		sc.services[s.Key] = s
		sc.a.SetService(s)
	case "adopt":
		var all []Service
		for _, line := range lines[1:] {
			s := sc.service(strings.Fields(line))
			sc.services[s.Key] = s
			all = append(all, s)
		}
		sc.a.Adopt(all)
	case "delete":
		k := parseKey(args[0])
		delete(sc.services, k)
		delete(sc.decided, k)
		sc.a.DeleteService(k)
	case "restart":
		sc.restart()
	case "pools":
		for _, name := range slices.Sorted(maps.Keys(sc.a.pools)) {
			fmt.Fprintln(out, formatPool(sc.a.pools[name].state()))
		}
		return
	default:
		sc.t.Fatalf("no command %q", words[0])
	}
	n := out.Len()
	for _, st := range sc.a.PoolChanges() {
		if !st.Ready() || words[0] == "pool" && st.Name == args[0] {
			fmt.Fprintln(out, formatPool(st))
		}
	}
	for _, d := range sc.a.Changes() {
		sc.decided[d.Service] = d
		fmt.Fprintf(out, "%s: %v %s: %s\n", d.Service, d.Addresses, d.Reason, d.Message)
	}
	if out.Len() == n {
		fmt.Fprintln(out, "nothing changes")
	}
}

func (sc *story) restart() {
	sc.a = New()
	for _, name := range slices.Sorted(maps.Keys(sc.pools)) {
		sc.a.SetPool(sc.pools[name])
	}
	for ns, labels := range sc.namespaces {
		sc.a.SetNamespace(ns, labels)
	}
	var all []Service
	for k, s := range sc.services {
		s.Recorded = sc.decided[k].Addresses
		all = append(all, s)
	}
	sc.a.Adopt(all)
	sc.a.PoolChanges()
	for _, d := range sc.a.Changes() {
		if !d.equal(sc.decided[d.Service]) {
			sc.t.Errorf("restart: %+v, was %+v", d, sc.decided[d.Service])
		}
	}
}

func formatPool(s PoolState) string {
	text := fmt.Sprintf("pool %s: %s", s.Name, s.Reason)
	if !s.Ready() {
		return text + ": " + s.Message
	}
	for f, u := range s.Usage {
		if u.Assigned.Sign()+u.Available.Sign() > 0 {
			text += fmt.Sprintf(", %s: %s assigned, %s available", Family(f), u.Assigned, u.Available)
		}
	}
	if len(s.Exhausted) > 0 {
		text += fmt.Sprintf(", exhausted: %v", s.Exhausted)
	}
	return text
}

func (sc *story) pool(args []string) Pool {
	p := Pool{Name: args[0], AutoAssign: true, Created: time.Unix(0, 0)}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "exclude":
			p.Exclude = strings.Split(value, ",")
		case "created":
			p.Created = sc.time(value)
		case "priority":
			p.Priority, _ = strconv.Atoi(value)
		case "namespaces":
			p.Namespaces = strings.Split(value, ",")
		case "namespace-selector":
			p.NamespaceSelectors = append(p.NamespaceSelectors, parseSelector(value))
		case "service-selector":
			p.ServiceSelectors = append(p.ServiceSelectors, parseSelector(value))
		case "manual":
			p.AutoAssign = false
		case "avoid-buggy":
			p.AvoidBuggyIPs = true
		case "drain":
			p.Drain = true
		default:
			p.Addresses = append(p.Addresses, arg)
		}
	}
	return p
}

// parseSelector reads K=V, or K alone with an operator that does not exist.
func parseSelector(text string) Selector {
	k, v, ok := strings.Cut(text, "=")
	if !ok {
		return Selector{{Key: k, Operator: "Resembles"}}
	}
	return Selector{{Key: k, Operator: In, Values: []string{v}}}
}

func (sc *story) service(args []string) Service {
	s := Service{Key: parseKey(args[0]), Families: []Family{IPv4}, Created: time.Unix(0, 0)}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "created":
			s.Created = sc.time(value)
		case "families":
			s.Families = nil
			for _, f := range strings.Split(value, ",") {
				s.Families = append(s.Families, map[string]Family{"4": IPv4, "6": IPv6}[f])
			}
		case "policy":
			s.Policy = map[string]Policy{"prefer": PreferDualStack, "require": RequireDualStack}[value]
		case "pool":
			s.Pool = value
		case "ips":
			var err error
			if s.Addresses, err = ParseRequest(value, ""); err != nil {
				s.Malformed = err.Error()
			}
		case "recorded":
			for _, text := range strings.Split(value, ",") {
				s.Recorded = append(s.Recorded, netip.MustParseAddr(text))
			}
		case "key":
			s.SharingKey = value
		case "ports":
			for _, text := range strings.Split(value, ",") {
				proto, n, _ := strings.Cut(text, "/")
				number, _ := strconv.Atoi(n)
				s.Ports = append(s.Ports, Port{strings.ToUpper(proto), int32(number)})
			}
		case "selector":
			s.Selector = value
		case "local":
			s.Local = true
		case "labels":
			k, v, _ := strings.Cut(value, "=")
			s.Labels = map[string]string{k: v}
		case "malformed":
			s.Malformed = value
		default:
			sc.t.Fatalf("service %s: no argument %q", s.Key, arg)
		}
	}
	return s
}

func (sc *story) time(text string) time.Time {
	n, err := strconv.Atoi(text)
	if err != nil {
		sc.t.Fatal(err)
	}
	return time.Unix(int64(n), 0)
}

func parseKey(text string) Key {
	ns, name, _ := strings.Cut(text, "/")
	return Key{ns, name}
}
