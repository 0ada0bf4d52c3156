//go:build e2e

package allocation

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

// metallb is the configuration of a MetalLB cluster.
const metallb = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: production, namespace: metallb-system}
spec:
  addresses: [198.51.100.0/27, 2001:db8:51::/120]
  avoidBuggyIPs: true
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: reserved, namespace: metallb-system}
spec:
  addresses: [198.51.100.64-198.51.100.71]
  autoAssign: false
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: everything, namespace: metallb-system}
spec:
  ipAddressPools: [production, reserved]
`

// The Services of a MetalLB cluster keep their External-IPs: the converted
// manifests are applied, MetalLB is no more, Porchlight starts, and nothing is
// given to those who come then that somebody has.
func TestMetalLBClusterKeepsItsAddresses(t *testing.T) {
	c := cluster.ForTest(t)
	ns := c.Namespace(t)
	start := stopControllers(t, c)

	// What MetalLB wrote; not in the order in which we would give addresses.
	const byPool, bySome, shared = `"metallb.universe.tf/address-pool": reserved`,
		`"metallb.io/loadBalancerIPs": "198.51.100.9"`, `"metallb.universe.tf/allow-shared-ip": dns`
	recorded := map[string][]string{
		"plain":   {"198.51.100.7"},
		"another": {"198.51.100.1"},
		"asks":    {"198.51.100.9"},
		"by-pool": {"198.51.100.66"},
		"field":   {"198.51.100.20"},
		"both":    {"198.51.100.12", "2001:db8:51::3"},
		"dns-tcp": {"198.51.100.30"},
		"dns-udp": {"198.51.100.30"},
	}
	c.Apply(t, ns, service("plain", `"metallb.io/ip-allocated-from-pool": production`)+service("another", "")+
		service("asks", bySome)+service("by-pool", byPool)+service("field", "", "loadBalancerIP: 198.51.100.20")+
		service("both", "", require, fourAndSix)+
		service("dns-tcp", shared, port("TCP", 53))+service("dns-udp", shared, port("UDP", 53))+
		service("waits", `"metallb.universe.tf/loadBalancerIPs": 198.51.100.7`))
	for name, addresses := range recorded {
		record(t, c, ns, name, addresses...)
	}

	convert := exec.CommandContext(t.Context(), "go", "run", "./cli", "migrate", "metallb", "-f", "-")
	convert.Dir, convert.Stdin = c.Lab.Source, strings.NewReader(metallb)
	var stderr bytes.Buffer
	convert.Stderr = &stderr
	manifests, err := convert.Output()
	if err != nil {
		t.Fatalf("porchlight migrate metallb: %v\n%s", err, &stderr)
	}
	t.Logf("converted:\n%s%s", manifests, &stderr)
	c.Apply(t, cluster.System, string(manifests))

	start()
	for name, want := range recorded {
		has(t, c, ns, name, want...)
	}
	refused(t, c, ns, "waits", "AddressInUse", "198.51.100.7", ns+"/plain")
	c.Apply(t, ns, service("new", `"metallb.io/address-pool": production`)+service("newer", byPool))
	for _, name := range []string{"new", "newer"} {
		got := address(t, c, ns, name)
		for holder, had := range recorded {
			if slices.Contains(had, got) {
				t.Errorf("%s was given %s, which %s has", name, got, holder)
			}
		}
	}
	quiesce(t, c, ns)
	for name := range recorded {
		if all := reAddressed(t.Context(), t, c, ns, name); len(all) > 0 {
			t.Errorf("%s was re-addressed: %q", name, all)
		}
	}
}
