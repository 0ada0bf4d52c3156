package check

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/cli/internal/inventory"
	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// What could not be read is told of where it matters, once.
func TestUnread(t *testing.T) {
	r := Run(&inventory.Objects{Unread: []inventory.Unread{
		{Kind: "IPAddressPool", Missing: true}, {Kind: "BGPPeer", Missing: true}, {Kind: "UDPRoute", Missing: true},
		{Kind: "Node", Err: "nodes is forbidden"}, {Kind: "ConfigMap", Err: "configmaps is forbidden"},
	}})
	var got []string
	for _, f := range r.Parts[0].Findings {
		if f.Reason == reason.NotReadable || f.Object == "the API server" {
			got = append(got, fmt.Sprintf("%s %s %s %s", f.Severity, f.Object, f.Reason, f.Message))
		}
	}
	want := []string{
		"error the API server NotInstalled it does not serve IPAddressPool, BGPPeer",
		"warning kind Node NotReadable nodes is forbidden",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestManyFindingsAreCut(t *testing.T) {
	o := &inventory.Objects{}
	for i := range 3 * few {
		s := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("s%02d", i)}}
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Status.Conditions = []metav1.Condition{{Type: names.Allocated, Status: metav1.ConditionFalse, Reason: "PoolExhausted"}}
		o.Services.Items = append(o.Services.Items, s)
	}
	for all, want := range map[bool]int{false: few, true: 3 * few} {
		var b bytes.Buffer
		if err := Run(o).WriteText(&b, false, all); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(b.String(), "Service shop/"); got != want {
			t.Errorf("--all=%t tells of %d Services, want %d", all, got, want)
		}
		if cut := strings.Contains(b.String(), "and 20 more (--all shows them)"); cut == all {
			t.Errorf("--all=%t says that it was cut: %t", all, cut)
		}
	}
}
