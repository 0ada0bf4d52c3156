package lab

import (
	"net/netip"
	"slices"
	"testing"
)

func planned(t *testing.T, nodes int, routers ...string) map[string]Host {
	t.Helper()
	plan, err := Plan(nodes, routers)
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]Host{}
	for _, h := range plan {
		hosts[h.Name] = h
	}
	return hosts
}

func TestPlanAddresses(t *testing.T) {
	hosts := planned(t, 3, HostFRR, HostBIRD)
	for name, want := range map[string][]string{
		HostControlPlane: {"172.30.0.10", "fd00:30::10"},
		"node1":          {"172.30.0.11", "fd00:30::11"},
		"node3":          {"172.30.0.13", "fd00:30::13"},
		HostClient:       {"172.30.0.100", "fd00:30::100"},
		HostFRR:          {"172.30.0.1", "fd00:30::1"},
		HostBIRD:         {"172.30.0.2", "fd00:30::2"},
		HostFar:          {"172.31.0.100", "fd00:31::100"},
	} {
		var got []string
		for _, a := range hosts[name].Addresses() {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
}

func TestPlanIsFreeOfConflicts(t *testing.T) {
	plan, err := Plan(MaxNodes, []string{HostBIRD, HostFRR})
	if err != nil {
		t.Fatal(err)
	}
	addresses, peers := map[netip.Addr]string{}, map[string]string{}
	var pods []netip.Prefix
	for _, h := range plan {
		for i, p := range h.Ports {
			if other, taken := peers[p.Peer]; taken || len(p.Peer) > 15 {
				t.Errorf("port %q of %s: too long, or taken by %q", p.Peer, h.Name, other)
			}
			peers[p.Peer] = h.Name
			for _, a := range p.Addresses {
				if other, taken := addresses[a.Addr()]; taken {
					t.Errorf("%s and %s both have %s", other, h.Name, a)
				}
				addresses[a.Addr()] = h.Name
			}
			if hw := hardwareAddress(h, i); hw[0]&1 != 0 {
				t.Errorf("%s: %s is a group's address", h.Name, hw)
			}
		}
		for i, c := range h.PodCIDRs {
			if !PodCIDRs[i].Overlaps(c) || PodCIDRs[i].Bits() > c.Bits() {
				t.Errorf("%s: pods in %s, outside %s", h.Name, c, PodCIDRs[i])
			}
			if slices.ContainsFunc(pods, c.Overlaps) {
				t.Errorf("%s: pods in %s, as another node's", h.Name, c)
			}
			pods = append(pods, c)
		}
	}
}

func TestPlanGateways(t *testing.T) {
	for _, test := range []struct {
		routers []string
		gateway string // of the LAN's hosts
		far     string // of the far client
	}{
		{[]string{HostFRR, HostBIRD}, "172.30.0.1", "172.31.0.1"},
		{[]string{HostBIRD, HostFRR}, "172.30.0.1", "172.31.0.1"},
		{[]string{HostBIRD}, "172.30.0.2", "172.31.0.2"},
		{nil, "172.30.0.10", "172.31.0.10"},
	} {
		hosts := planned(t, 2, test.routers...)
		for name, want := range map[string]string{"node1": test.gateway, HostClient: test.gateway, HostFar: test.far} {
			var got []string
			for _, r := range hosts[name].Routes {
				if r.To == anywhere(false) {
					got = append(got, r.Via.String())
				}
			}
			if !slices.Equal(got, []string{want}) {
				t.Errorf("routers %v: default gateway of %s is %v, want %s", test.routers, name, got, want)
			}
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, test := range []struct {
		nodes   int
		routers []string
	}{{0, nil}, {MaxNodes + 1, nil}, {1, []string{"cisco"}}} {
		if _, err := Plan(test.nodes, test.routers); err == nil {
			t.Errorf("%d nodes and routers %v: no error", test.nodes, test.routers)
		}
	}
}
