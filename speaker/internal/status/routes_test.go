package status

import (
	"bytes"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/election"
)

// What is announced by either protocol is announced.
func TestConditionOfBothProtocols(t *testing.T) {
	owned := election.Verdict{IP: v4, Owner: "n1", Reason: reason.Announced}
	nobody := election.Verdict{IP: v4, Reason: reason.NoSubnet}
	unadvertised := election.Verdict{IP: v4, Reason: reason.NoAdvertisement, Nodes: []election.NodeVerdict{{Node: "n1", Reason: reason.SelectorMismatch}}}
	for _, tt := range []struct {
		name    string
		l2      election.Verdict
		route   bgp.Verdict
		status  metav1.ConditionStatus
		reason  reason.Reason
		message string
	}{
		{"neither", unadvertised, bgp.Verdict{Reason: reason.NoAdvertisement}, metav1.ConditionFalse, reason.NoAdvertisement,
			"no node answers for 192.0.2.10; not chosen: n1 SelectorMismatch"},
		{"BGP alone", unadvertised, bgp.Verdict{Advertised: true, Reason: reason.Announced}, metav1.ConditionTrue, reason.Announced,
			"192.0.2.10 is announced over BGP"},
		{"BGP alone, without a session", unadvertised, bgp.Verdict{Advertised: true, Reason: reason.NoSession}, metav1.ConditionFalse, reason.NoSession,
			"192.0.2.10 is not announced over BGP (NoSession)"},
		{"both", owned, bgp.Verdict{Advertised: true, Reason: reason.Announced}, metav1.ConditionTrue, reason.Announced,
			"n1 answers for 192.0.2.10 and 192.0.2.10 is announced over BGP"},
		{"both, without a session", owned, bgp.Verdict{Advertised: true, Reason: reason.NoSession}, metav1.ConditionTrue, reason.Announced,
			"n1 answers for 192.0.2.10 and 192.0.2.10 is not announced over BGP (NoSession)"},
		{"both, without a subnet", nobody, bgp.Verdict{Advertised: true, Reason: reason.Announced}, metav1.ConditionTrue, reason.Announced,
			"no node answers for 192.0.2.10 and 192.0.2.10 is announced over BGP"},
		{"both, and neither does", nobody, bgp.Verdict{Advertised: true, Reason: reason.NoSession}, metav1.ConditionFalse, reason.NoSubnet,
			"no node answers for 192.0.2.10 and 192.0.2.10 is not announced over BGP (NoSession)"},
	} {
		c := condition([]election.Verdict{tt.l2}, map[netip.Addr]bgp.Verdict{v4: tt.route})
		if c.Status != tt.status || c.Reason != string(tt.reason) || c.Message != tt.message {
			t.Errorf("%s: %s %s %q", tt.name, c.Status, c.Reason, c.Message)
		}
	}
}

// However fast it changes who is told, that is written once in a while.
func TestBGPStatusIsPaced(t *testing.T) {
	f := newFixture(t)
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	const path = "/apis/porchlight.dev/v1beta1/namespaces/sys/servicebgpstatuses"
	write := func(when string, peers []string, want ...string) {
		t.Helper()
		if err := f.writeBGPStatus(t.Context(), key, peers); err != nil {
			t.Fatal(err)
		}
		if got := f.server.take(); !slices.Equal(got, want) {
			t.Errorf("%s: wrote %q, want %q", when, got, want)
		}
	}
	name := path + "/" + statusName(key, "n1")
	write("first", []string{"a"}, "POST "+path, "PATCH "+name+"/status")
	write("moments later", nil)
	write("as it was", []string{"a"})
	f.wroteAt[bgpstatuses+"/"+statusName(key, "n1")] = time.Now().Add(-writeEvery)
	write("later", nil, "DELETE "+name)
	write("moments later", []string{"b"})
	again, stop := f.queue.Get() // a second later
	if stop || again != key {
		t.Errorf("the Service is not looked at again")
	}
	// What was written is logged.
	var lines []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "msg=")
		lines = append(lines, line)
	}
	if want := []string{`"announces over BGP" service=ns/a peers=[a]`, `"announces over BGP" service=ns/a peers=[]`}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}
}
