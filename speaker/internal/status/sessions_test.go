package status

import (
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/internal/peering"
)

// A peer is refused while the ConfigurationState is found to be as it was
// written: it is looked at again.
func TestRefusedMeanwhile(t *testing.T) {
	const state = "PATCH /apis/porchlight.dev/v1beta1/namespaces/sys/configurationstates/n1/status"
	server := &server{}
	api := server.start(t)
	meanwhile := func() {}
	plan := bgp.New("n1")
	s := &Sessions{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Node: "n1", Namespace: "sys", API: api,
		Plan:   func(f func(*bgp.Planner)) bool { f(plan); meanwhile(); return true },
		Writer: func() string { return "n2" },
	}
	s.Init()
	id := s.configurationID()
	if wrote, err := s.write(t.Context(), id); err != nil || !wrote {
		t.Fatal(wrote, err)
	}
	server.take()

	s.touch(id)
	meanwhile = func() {
		s.mu.Lock()
		s.states["twin"] = peering.State{Peer: "twin", Refused: bgp.Refusal{Reason: reason.DuplicatePeer, Message: "it is there"}}
		s.mu.Unlock()
		s.touch(id)
	}
	s.writeDue(t.Context())
	if got := server.take(); len(got) > 0 {
		t.Errorf("wrote %q before the refusal", got)
	}
	meanwhile = func() {}
	s.writeDue(t.Context())
	if got := server.take(); !slices.Equal(got, []string{state}) {
		t.Fatalf("wrote %q, want %q", got, state)
	}
	if body := string(server.bodies[len(server.bodies)-1]); !strings.Contains(body, "BGPPeer twin: DuplicatePeer: it is there") {
		t.Errorf("wrote %s", body)
	}
}

// A BGPSessionState says of which BGPPeer it speaks: what is written of one that
// was deleted may be there, for a moment, when another has its name.
func TestWhoseSession(t *testing.T) {
	server := &server{}
	api := server.start(t)
	s := &Sessions{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Node: "n1", Namespace: "sys", API: api}
	s.Init()
	for _, uid := range []string{"first", "second"} {
		s.mu.Lock()
		s.states["p"] = peering.State{Peer: "p", UID: uid, State: v1beta1.SessionConnect}
		s.mu.Unlock()
		if wrote, err := s.write(t.Context(), s.sessionID("p")); err != nil || !wrote {
			t.Fatal(wrote, err)
		}
		server.take()
		var wrote struct{ Status v1beta1.BGPSessionStateStatus }
		if err := json.Unmarshal(server.bodies[len(server.bodies)-1], &wrote); err != nil {
			t.Fatal(err)
		}
		if got := wrote.Status; got.Peer != "p" || got.PeerUID != types.UID(uid) {
			t.Errorf("wrote %+v of the %s", got, uid)
		}
	}
}
