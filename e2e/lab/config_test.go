package lab

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func TestKubeletConfigIsStrictYAML(t *testing.T) {
	var c map[string]any
	if err := yaml.UnmarshalStrict([]byte(kubeletConfig(planned(t, 1)["node1"], "/pki", "/resolv.conf")), &c); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"kind": "KubeletConfiguration", "failCgroupV1": false, "resolvConf": "/resolv.conf"} {
		if c[key] != want {
			t.Errorf("%s is %v, want %v", key, c[key], want)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	c, err := clientcmd.Load([]byte(kubeconfig("/pki", "admin")))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Clusters["lab"].Server; got != "https://172.30.0.10:6443" {
		t.Errorf("server %s", got)
	}
	if got := c.AuthInfos["admin"].ClientCertificate; got != "/pki/admin.crt" {
		t.Errorf("certificate %s", got)
	}
}

func TestCNIConfigHasTheNodesRanges(t *testing.T) {
	text, err := cniConfig(planned(t, 2)["node2"])
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Plugins []struct {
			Type string
			IPAM struct{ Ranges [][]struct{ Subnet string } }
		}
	}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	ranges := c.Plugins[0].IPAM.Ranges
	if len(ranges) != 2 || ranges[0][0].Subnet != "10.244.2.0/24" || ranges[1][0].Subnet != "fd00:244:0:2::/64" {
		t.Errorf("ranges %v", ranges)
	}
}

func TestRoutersAcceptTheWholeLAN(t *testing.T) {
	hosts := planned(t, 1, HostFRR, HostBIRD)
	frr, bird := frrConfig(hosts[HostFRR])["bgpd"], birdConfig(hosts[HostBIRD])
	for _, want := range []string{"router bgp 64512", "bgp listen range 172.30.0.0/24 peer-group nodes", "bgp listen range fd00:30::/64 peer-group nodes", "remote-as 64600"} {
		if !strings.Contains(frr, want) {
			t.Errorf("FRR's configuration lacks %q", want)
		}
	}
	for _, want := range []string{"local 172.30.0.2 as 64513", "neighbor range 172.30.0.0/24 as 64600", "neighbor range fd00:30::/64 as 64600"} {
		if !strings.Contains(bird, want) {
			t.Errorf("BIRD's configuration lacks %q", want)
		}
	}
}

func TestDefaultNameBelongsToTheCheckout(t *testing.T) {
	a, b := defaultName("/home/a/porchlight"), defaultName("/home/b/porchlight")
	if a == b || !validName.MatchString(a) {
		t.Errorf("names %q and %q", a, b)
	}
	if strange := defaultName("/srv/Ünï côde_" + strings.Repeat("x", 80)); !validName.MatchString(strange) {
		t.Errorf("name %q", strange)
	}
	own, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open("-2")
	if err != nil {
		t.Fatal(err)
	}
	if second.Name != own.Name+"-2" {
		t.Errorf("the second lab of %s is %s", own.Name, second.Name)
	}
}
