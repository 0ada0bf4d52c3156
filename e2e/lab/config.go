package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// Autonomous systems of the lab: the routers' own and the one that nodes use.
const (
	ASNFRR   = 64512
	ASNBIRD  = 64513
	ASNNodes = 64600
)

// APIServer is the address of the Kubernetes API on the LAN.
var APIServer = netip.MustParseAddrPort("172.30.0.10:6443")

// kubeconfig names the files of one user.
func kubeconfig(pki, user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://%s", certificate-authority: %q}}]
users: [{name: %q, user: {client-certificate: %q, client-key: %q}}]
contexts: [{name: lab, context: {cluster: lab, user: %q}}]
current-context: lab
`, APIServer, pki+"/ca.crt", user, pki+"/"+user+".crt", pki+"/"+user+".key", user)
}

// kubeletConfig is the configuration of the kubelet of node.
func kubeletConfig(node Host, pki, resolvConf string) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[1]q}
authorization: {mode: Webhook}
tlsCertFile: %[2]q
tlsPrivateKeyFile: %[3]q
containerRuntimeEndpoint: unix://%[4]s
# The kernel's control groups are the node's own, in either version, and are
# not divided by class of service.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
clusterDNS: [%[5]q]
clusterDomain: cluster.local
resolvConf: %[6]q
maxPods: 250
serializeImagePulls: false
registryPullQPS: 0
# Full disks of a developer's machine are not the lab's matter.
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%%", nodefs.inodesFree: "0%%", imagefs.available: "0%%", memory.available: 50Mi}
nodeStatusUpdateFrequency: 4s
shutdownGracePeriod: 0s
`, pki+"/ca.crt", pki+"/"+node.Name+".crt", pki+"/"+node.Name+".key", build.ContainerdSocket, DNSAddress, resolvConf)
}

// cniConfig is the pod network of node: a bridge, addresses from the node's
// ranges, host ports.
func cniConfig(node Host) (string, error) {
	type object = map[string]any
	var ranges [][]object
	var routes []object
	for i, cidr := range node.PodCIDRs {
		ranges = append(ranges, []object{{"subnet": cidr.String()}})
		routes = append(routes, object{"dst": anywhere(i == 1).String()})
	}
	b, err := json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "pods",
		"plugins": []object{
			{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
				"ipam": object{"type": "host-local", "ranges": ranges, "routes": routes},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
	return string(b) + "\n", err
}

// frrConfig returns FRR's configuration files by daemon.
func frrConfig(h Host) map[string]string {
	common := "hostname " + h.Name + "\nservice integrated-vtysh-config\nip forwarding\nipv6 forwarding\n"
	var ranges strings.Builder
	for _, a := range h.Ports[0].Addresses {
		fmt.Fprintf(&ranges, " bgp listen range %s peer-group nodes\n", a.Masked())
	}
	var families strings.Builder
	for _, f := range []string{"ipv4", "ipv6"} {
		fmt.Fprintf(&families, " address-family %s unicast\n  neighbor nodes activate\n  neighbor nodes soft-reconfiguration inbound\n  maximum-paths 64\n exit-address-family\n", f)
	}
	return map[string]string{
		"zebra":   common,
		"staticd": "hostname " + h.Name + "\n",
		"bfdd":    "hostname " + h.Name + "\nbfd\n profile nodes\n  detect-multiplier 3\n  receive-interval 50\n  transmit-interval 50\n exit\nexit\n",
		"bgpd": fmt.Sprintf(`hostname %s
router bgp %d
 bgp router-id %s
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp bestpath as-path multipath-relax
 bgp listen limit 1000
 neighbor nodes peer-group
 neighbor nodes remote-as %d
 neighbor nodes bfd profile nodes
%s%sexit
`, h.Name, ASNFRR, h.address(false), ASNNodes, ranges.String(), families.String()),
	}
}

// frrDaemons in the order in which they start.
var frrDaemons = []string{"zebra", "staticd", "bfdd", "bgpd"}

// birdConfig is BIRD's configuration.
func birdConfig(h Host) string {
	var b strings.Builder
	fmt.Fprintf(&b, `log stderr all;
router id %s;
protocol device { scan time 10; }
protocol kernel kernel4 { merge paths on limit 64; ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel kernel6 { merge paths on limit 64; ipv6 { import none; export where source = RTS_BGP; }; }
protocol bfd { interface "eth0" { min rx interval 50 ms; min tx interval 50 ms; idle tx interval 1 s; multiplier 3; }; }
`, h.address(false))
	for i, a := range h.Ports[0].Addresses {
		fmt.Fprintf(&b, `protocol bgp nodes%[1]d {
  local %[2]s as %[3]d;
  neighbor range %[4]s as %[5]d;
  dynamic name "node%[1]d_";
  direct;
  bfd on;
  # Not a minute, and more, after BFD found a path broken.
  error wait time 1, 2;
  ipv4 { import all; export none; };
  ipv6 { import all; export none; };
}
`, []int{4, 6}[i], a.Addr(), ASNBIRD, a.Masked(), ASNNodes)
	}
	return b.String()
}

// sysctls of a host's network namespace.
func sysctls(h Host) []host.Sysctl {
	on := func(paths ...string) (s []host.Sysctl) {
		for _, p := range paths {
			s = append(s, host.Sysctl{Path: p, Value: "1", Optional: true})
		}
		return s
	}
	// Addresses are known to be unique, and nobody configures them but us.
	s := []host.Sysctl{
		{Path: "net/ipv4/conf/all/rp_filter", Value: "0"},
		{Path: "net/ipv4/conf/default/rp_filter", Value: "0"},
		{Path: "net/ipv6/conf/all/accept_dad", Value: "0"},
		{Path: "net/ipv6/conf/default/accept_dad", Value: "0"},
		{Path: "net/ipv6/conf/all/accept_ra", Value: "0"},
		{Path: "net/ipv6/conf/default/accept_ra", Value: "0"},
	}
	if h.Role == Switch {
		// A bridge that has an address would answer on the segment itself.
		return append(s, host.Sysctl{Path: "net/ipv6/conf/default/disable_ipv6", Value: "1"})
	}
	if h.Forwards {
		s = append(s, on("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding")...)
	}
	if h.Role == Router {
		s = append(s, on("net/ipv4/fib_multipath_hash_policy", "net/ipv6/fib_multipath_hash_policy")...)
	}
	if h.Role == Node {
		// Traffic between pods of one node passes kube-proxy's rules as well.
		s = append(s, on("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")...)
	}
	return s
}

// kubeletTunables are the machine-wide settings that a kubelet insists on; it
// finds them as it wants them, and the machine keeps its own.
var kubeletTunables = []host.Sysctl{
	{Path: "vm/overcommit_memory", Value: "1", Optional: true},
	{Path: "vm/panic_on_oom", Value: "0", Optional: true},
	{Path: "kernel/panic", Value: "10", Optional: true},
	{Path: "kernel/panic_on_oops", Value: "1", Optional: true},
	{Path: "kernel/keys/root_maxkeys", Value: "1000000", Optional: true},
	{Path: "kernel/keys/root_maxbytes", Value: "25000000", Optional: true},
}
