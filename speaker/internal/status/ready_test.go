package status

import (
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
)

// One node writes the condition Ready of every BGPPeer and BGPAdvertisement,
// where it is another.
func TestReady(t *testing.T) {
	const path = "/apis/porchlight.dev/v1beta1/namespaces/sys/"
	said := `{"type":"Ready","status":"True","reason":"Ready","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}`
	server := &server{objects: map[string]string{
		path + "bgppeers/good":         `{"apiVersion":"porchlight.dev/v1beta1","kind":"BGPPeer","status":{"conditions":[` + said + `]}}`,
		path + "bgppeers/twin":         `{"apiVersion":"porchlight.dev/v1beta1","kind":"BGPPeer","status":{"conditions":[` + said + `]}}`,
		path + "bgpadvertisements/all": `{"apiVersion":"porchlight.dev/v1beta1","kind":"BGPAdvertisement"}`,
	}}
	api := server.start(t)
	plan, writer := bgp.New("n1"), "n2"
	s := &Sessions{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Node: "n1", Namespace: "sys", API: api,
		Plan:   func(f func(*bgp.Planner)) bool { f(plan); return true },
		Writer: func() string { return writer },
	}
	s.Init()
	address := netip.MustParseAddr("10.0.0.1")
	plan.Step(bgp.SetNode{Name: "n1"})
	plan.Step(bgp.SetPeer{Peer: bgp.Peer{Name: "good", Address: address}})
	plan.Step(bgp.SetPeer{Peer: bgp.Peer{Name: "twin", Address: address}})
	plan.Step(bgp.SetAdvertisement{Advertisement: bgp.Advertisement{Name: "all"}})
	expect := func(when string, want ...string) {
		t.Helper()
		server.bodies = nil
		wrote, err := s.write(t.Context(), readyID)
		if err != nil {
			t.Fatal(err)
		}
		if got := server.take(); !slices.Equal(got, want) || wrote != (len(want) > 0) {
			t.Errorf("%s: wrote %q, want %q", when, got, want)
		}
	}
	expect("another node is to write")
	writer = "n1"
	expect("this node is to write", "PATCH "+path+"bgppeers/twin/status", "PATCH "+path+"bgpadvertisements/all/status")
	if body := string(server.bodies[0]); !strings.Contains(body, string(reason.DuplicatePeer)) || !strings.Contains(body, "n1: BGPPeer good has the same address") {
		t.Errorf("wrote %s", body)
	}
	expect("nothing changed")
	plan.Step(bgp.SetAdvertisement{Advertisement: bgp.Advertisement{Name: "all", Peers: []string{"nobody"}}})
	expect("an advertisement changed", "PATCH "+path+"bgpadvertisements/all/status")
	plan.Step(bgp.DeletePeer{Name: "twin"})
	expect("a peer was deleted")
}
