package lab

import (
	"reflect"
	"strings"
	"testing"
)

func TestFaultsCombine(t *testing.T) {
	var inForce []Fault
	for _, step := range []struct {
		kind  FaultKind
		hosts []string
		want  string
	}{
		{LinkDown, []string{"node1"}, "link-down node1"},
		{LinkDown, []string{"node1"}, "link-down node1"},
		{Partition, []string{"node2", "node1"}, "link-down node1; partition node1,node2"},
		{KillSpeaker, []string{"node3"}, "link-down node1; partition node1,node2"},
		{Freeze, []string{"node3"}, "link-down node1; partition node1,node2; freeze node3"},
		{LinkUp, []string{"node2"}, "link-down node1; partition node1,node2; freeze node3"},
		{LinkUp, []string{"node1"}, "partition node1,node2; freeze node3"},
		{Thaw, []string{"node3"}, "partition node1,node2"},
		{PowerOff, []string{"node2"}, "partition node1,node2; power-off node2"},
		{PowerOn, []string{"node2"}, "partition node1,node2"},
		{Unplug, []string{"node3"}, "partition node1,node2; unplug node3"},
		{Plug, []string{"node3"}, "partition node1,node2"},
		{Heal, nil, ""},
	} {
		before := append([]Fault(nil), inForce...)
		next := combine(inForce, step.kind, step.hosts)
		if len(before) > 0 && !reflect.DeepEqual(before, inForce) {
			t.Fatalf("%s changed its input", step.kind)
		}
		inForce = next
		var words []string
		for _, f := range inForce {
			words = append(words, f.String())
		}
		if got := strings.Join(words, "; "); got != step.want {
			t.Errorf("after %s %v: %q, want %q", step.kind, step.hosts, got, step.want)
		}
	}
}

func TestFilterRules(t *testing.T) {
	got := filterRules([]Fault{
		{CutGossip, []string{"node1"}},
		{CutAPIServer, []string{"node2"}},
		{CutAPIServer, []string{HostControlPlane}},
		{Partition, []string{"node1", "node3"}},
		{LinkDown, []string{"node1"}},
	})
	want := `table bridge faults
delete table bridge faults
table bridge faults {
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname "node1" meta l4proto { tcp, udp } th sport 7947 drop
    iifname "node1" meta l4proto { tcp, udp } th dport 7947 drop
    oifname "node1" meta l4proto { tcp, udp } th sport 7947 drop
    oifname "node1" meta l4proto { tcp, udp } th dport 7947 drop
    iifname "node2" oifname "cp" tcp dport 6443 drop
    oifname "node2" iifname "cp" tcp sport 6443 drop
    oifname "cp" tcp dport 6443 drop
    iifname "cp" tcp sport 6443 drop
    iifname { "node1", "node3" } oifname != { "node1", "node3" } drop
    iifname != { "node1", "node3" } oifname { "node1", "node3" } drop
  }
}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
