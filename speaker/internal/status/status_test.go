package status

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/reason"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

var (
	v4  = netip.MustParseAddr("192.0.2.10")
	v6  = netip.MustParseAddr("2001:db8::10")
	key = types.NamespacedName{Namespace: "ns", Name: "a"}
)

func TestCondition(t *testing.T) {
	owned := func(ip netip.Addr, owner string, others ...election.NodeVerdict) election.Verdict {
		return election.Verdict{IP: ip, Owner: owner, Reason: reason.Announced, Nodes: others}
	}
	n2, n3 := election.NodeVerdict{Node: "n2", Reason: reason.NotOwner}, election.NodeVerdict{Node: "n3", Reason: reason.NodeExcluded}
	var many []election.NodeVerdict
	for _, n := range "abcdefghij" {
		many = append(many, election.NodeVerdict{Node: string(n), Reason: reason.NotOwner})
	}
	many = append(many, n3)
	for _, tt := range []struct {
		name     string
		verdicts []election.Verdict
		status   metav1.ConditionStatus
		reason   reason.Reason
		message  string
	}{
		{"alone", []election.Verdict{owned(v4, "n1")}, metav1.ConditionTrue, reason.Announced, "n1 answers for 192.0.2.10"},
		{"chosen of three", []election.Verdict{owned(v4, "n1", n2, n3)}, metav1.ConditionTrue, reason.Announced,
			"n1 answers for 192.0.2.10; not chosen: n2 NotOwner, n3 NodeExcluded"},
		{"two families, one owner", []election.Verdict{owned(v4, "n1", n2), owned(v6, "n1", n2)}, metav1.ConditionTrue, reason.Announced,
			"n1 answers for 192.0.2.10, n1 answers for 2001:db8::10; not chosen: n2 NotOwner"},
		{"two families, two owners", []election.Verdict{owned(v4, "n1", n2, n3), owned(v6, "n2", election.NodeVerdict{Node: "n1", Reason: reason.NoSubnet}, n3)}, metav1.ConditionTrue, reason.Announced,
			"n1 answers for 192.0.2.10, n2 answers for 2001:db8::10; not chosen for 192.0.2.10: n2 NotOwner, n3 NodeExcluded; not chosen for 2001:db8::10: n1 NoSubnet, n3 NodeExcluded"},
		{"one family alone", []election.Verdict{owned(v4, "n1"), {IP: v6, Reason: reason.NoSubnet, Nodes: []election.NodeVerdict{{Node: "n1", Reason: reason.NoSubnet}}}}, metav1.ConditionFalse, reason.NoSubnet,
			"n1 answers for 192.0.2.10, no node answers for 2001:db8::10; not chosen for 2001:db8::10: n1 NoSubnet"},
		{"disputed", []election.Verdict{{IP: v4, Owner: "n1", Reason: reason.AddressConflict}}, metav1.ConditionTrue, reason.AddressConflict,
			"n1 answers for 192.0.2.10, and so does a host that is no speaker"},
		{"lost to another host", []election.Verdict{{IP: v4, Reason: reason.AddressConflict}}, metav1.ConditionFalse, reason.AddressConflict,
			"no node answers for 192.0.2.10, since a host that is no speaker does"},
		{"many nodes", []election.Verdict{owned(v4, "n1", many...)}, metav1.ConditionTrue, reason.Announced,
			"n1 answers for 192.0.2.10; not chosen: n3 NodeExcluded, a NotOwner, b NotOwner, c NotOwner, d NotOwner, e NotOwner, f NotOwner, g NotOwner, and 3 more"},
	} {
		c := condition(tt.verdicts, nil)
		if c.Status != tt.status || c.Reason != string(tt.reason) || c.Message != tt.message {
			t.Errorf("%s: %s %s %q", tt.name, c.Status, c.Reason, c.Message)
		}
	}
}

func TestRefusalsWait(t *testing.T) {
	p := newPace()
	since := time.Unix(1000, 0)
	for _, tt := range []struct {
		name    string
		changed time.Duration // the last change, after since
		want    time.Duration
	}{
		{"nothing else happens", -time.Hour, settle},
		{"the burst goes on for a while", 5 * time.Second, 5*time.Second + quiet},
		{"the burst does not end", time.Hour, patience},
	} {
		p.note(since.Add(tt.changed))
		if got := p.refusalDue(since).Sub(since); got != tt.want {
			t.Errorf("%s: due after %v, want %v", tt.name, got, tt.want)
		}
	}
}

// server is an API server that remembers what it was asked to write.
type server struct {
	mu     sync.Mutex
	writes []string
	bodies [][]byte
	// objects to answer with, by path.
	objects map[string]string
	// missing is the path of an object that is not there.
	missing string
	// during is called before a write is answered.
	during func(write string)
}

// start has the server serve until the test ends, and returns clients of it.
func (s *server) start(t *testing.T) *kube.Clients {
	t.Helper()
	at := httptest.NewServer(s)
	t.Cleanup(at.Close)
	clients, err := kube.New(&rest.Config{Host: at.URL}, at.Client(), kube.Scheme())
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

func (s *server) ServeHTTP(out http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	if s.during != nil {
		s.during(in.Method + " " + in.URL.Path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Method != http.MethodGet {
		s.writes = append(s.writes, in.Method+" "+in.URL.Path)
		s.bodies = append(s.bodies, body)
	}
	out.Header().Set("Content-Type", "application/json")
	if in.URL.Path == s.missing {
		out.WriteHeader(http.StatusNotFound)
		_, _ = out.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`))
		return
	}
	if object, ok := s.objects[in.URL.Path]; ok && in.Method == http.MethodGet {
		_, _ = out.Write([]byte(object))
		return
	}
	_, _ = out.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
}

// take returns the writes since the last call.
func (s *server) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.writes
	s.writes = nil
	return out
}

// recorder takes what was told.
type recorder chan string

func (r recorder) Event(_ *corev1.ObjectReference, kind, why, _, note string) {
	r <- kind + " " + why + " " + note
}

// fixture is a Writer on node n1 of an election that nobody else takes part in,
// with a Service that has an address.
type fixture struct {
	*Writer
	server   *server
	objects  *watch.Watch
	election *election.Election
	recorder recorder
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{server: &server{}, recorder: make(recorder, 10)}
	api := f.server.start(t)
	f.election = election.New(election.Config{Node: "n1", Run: 1}, 0)
	f.Writer = &Writer{
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Node: "n1", Namespace: "sys", API: api, Recorder: f.recorder,
		Ask: func(do func(*election.Election)) bool { do(f.election); return true },
	}
	f.Init()
	f.objects = watch.New("sys", false, f.Writer)
	f.View = f.objects.View
	f.put(nil)
	for _, ev := range []election.Event{
		election.SetNode{Name: "n1"},
		election.SetInterfaces{Interfaces: []election.Interface{{Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}},
		election.Join{}, election.SetAddress{Address: election.Address{IP: v4}},
	} {
		f.election.Step(0, ev)
	}
	return f
}

// put has the API say what a condition says.
func (f *fixture) put(c *metav1.Condition) {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", Annotations: map[string]string{names.Prefix + names.AllocatedFromPool: "default"}},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: v4.String()}}
	if c != nil {
		s.Status.Conditions = []metav1.Condition{*c}
	}
	f.objects.Put(s)
}

// seen has the API say what was written last.
func (f *fixture) seen(t *testing.T) metav1.Condition {
	t.Helper()
	var patch corev1.Service
	if err := json.Unmarshal(f.server.bodies[len(f.server.bodies)-1], &patch); err != nil {
		t.Fatal(err)
	}
	f.put(&patch.Status.Conditions[0])
	return patch.Status.Conditions[0]
}

func (f *fixture) advertise() {
	f.election.Step(0, election.SetAddress{Address: election.Address{IP: v4, Advertisements: []*election.Advertisement{{Nodes: map[string]int{"n1": 0}}}}})
}

func (f *fixture) mustWrite(t *testing.T, when string, want ...string) {
	t.Helper()
	if err := f.write(t.Context(), key); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if got := f.server.take(); !slices.Equal(got, want) {
		t.Errorf("%s: wrote %q, want %q", when, got, want)
	}
}

const (
	conditionWrite = "PATCH /api/v1/namespaces/ns/services/a/status"
	l2path         = "/apis/porchlight.dev/v1beta1/namespaces/sys/servicel2statuses"
)

func l2name(node string) string { return statusName(key, node) }

// Nobody announces: that is said later, and once.
func TestRefusalIsWrittenOnceAndLate(t *testing.T) {
	f := newFixture(t)
	var log bytes.Buffer
	f.Log = slog.New(slog.NewTextHandler(&log, nil))
	began := time.Now()
	f.mustWrite(t, "at once")
	f.release(began.Add(settle - time.Millisecond))
	if len(f.parked) != 1 {
		t.Error("it is looked at again too soon")
	}
	f.release(time.Now().Add(settle))
	if len(f.parked) != 0 || f.queue.Len() != 1 {
		t.Error("it is not looked at again when it is time")
	}
	f.refused[key] = time.Now().Add(-patience)
	f.mustWrite(t, "later", conditionWrite)
	f.mustWrite(t, "before the write is seen")
	if c := f.seen(t); c.Status != metav1.ConditionFalse || c.Reason != string(reason.NoAdvertisement) {
		t.Errorf("wrote %+v", c)
	}
	f.mustWrite(t, "after it is seen")
	if got := <-f.recorder; got != "Warning NoAdvertisement no node answers for 192.0.2.10; not chosen: n1 SelectorMismatch" {
		t.Errorf("event %q", got)
	}
	const line = `msg=decided service=ns/a condition=porchlight.dev/Announced status=False reason=NoAdvertisement message="no node answers`
	if n := strings.Count(log.String(), "msg="); n != 1 || !strings.Contains(log.String(), line) {
		t.Errorf("logged %s, want one line with %s", &log, line)
	}
}

// Somebody announces moments later: what was so before is never said.
func TestRefusalThatPasses(t *testing.T) {
	f := newFixture(t)
	f.mustWrite(t, "nobody announces")
	f.advertise()
	f.mustWrite(t, "announced", "POST "+l2path, "PATCH "+l2path+"/"+l2name("n1")+"/status", conditionWrite)
	if c := f.seen(t); c.Status != metav1.ConditionTrue || c.Reason != string(reason.Announced) {
		t.Errorf("wrote %+v", c)
	}
	if len(f.refused) > 0 {
		t.Error("a refusal waits to be said")
	}
	f.mustWrite(t, "nothing changed")
}

// A Service that nobody announces is counted while that is so.
func TestUnannouncedAreCounted(t *testing.T) {
	f := newFixture(t)
	before := gauge(t, "porchlight_services_unannounced", "NoAdvertisement")
	f.mustWrite(t, "nobody announces")
	f.mustWrite(t, "still nobody")
	if got := gauge(t, "porchlight_services_unannounced", "NoAdvertisement") - before; got != 1 {
		t.Errorf("nobody announces, and %v more are counted", got)
	}
	f.advertise()
	if err := f.write(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if got := gauge(t, "porchlight_services_unannounced", "NoAdvertisement") - before; got != 0 {
		t.Errorf("announced, and %v more are counted", got)
	}
}

// gauge reads a gauge with one label.
func gauge(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// A status that stays keeps its time, though the message changes.
func TestTransitionTime(t *testing.T) {
	f := newFixture(t)
	f.advertise()
	since := metav1.NewTime(time.Unix(1000, 0))
	f.put(&metav1.Condition{Type: names.Announced, Status: metav1.ConditionTrue, Reason: "Announced", Message: "before", LastTransitionTime: since})
	if err := f.write(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if c := f.seen(t); !c.LastTransitionTime.Equal(&since) || c.Message == "before" {
		t.Errorf("wrote %+v", c)
	}
}

// A former owner's late write comes over ours, and the watch tells of both
// before ours is answered: ours is written again.
func TestOverwrittenBeforeTheAnswer(t *testing.T) {
	f := newFixture(t)
	f.advertise()
	f.server.during = func(write string) {
		if write == conditionWrite {
			f.put(&metav1.Condition{Type: names.Announced, Status: metav1.ConditionTrue, Reason: "Announced", Message: "n2 answers for 192.0.2.10"})
		}
	}
	f.mustWrite(t, "announced", "POST "+l2path, "PATCH "+l2path+"/"+l2name("n1")+"/status", conditionWrite)
	f.server.during = nil
	f.mustWrite(t, "overwritten", conditionWrite)
	f.seen(t)
	f.mustWrite(t, "nothing changed")
}

// The new owner takes away what the old one, which may be dead, wrote; and what
// it wrote itself when it is the owner no more.
func TestL2StatusFollowsTheOwner(t *testing.T) {
	f := newFixture(t)
	f.advertise()
	f.Report(election.Ready{Moves: []election.Move{{IP: v4, From: "n2", To: "n1", Cause: election.CauseDied}}}, 1, 1)
	f.mustWrite(t, "took over", "POST "+l2path, "PATCH "+l2path+"/"+l2name("n1")+"/status", "DELETE "+l2path+"/"+l2name("n2"), conditionWrite)
	f.seen(t)
	f.election.Step(0, election.SetAddress{Address: election.Address{IP: v4}})
	f.election.Step(time.Second, election.Tick{})
	f.election.Step(5*time.Second, election.Tick{})
	f.mustWrite(t, "gave up", "DELETE "+l2path+"/"+l2name("n1"))
	f.mustWrite(t, "nothing changed")
}

// A conflict is said at once, and counted while it lasts.
func TestConflict(t *testing.T) {
	f := newFixture(t)
	f.advertise()
	if err := f.write(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	f.seen(t)
	f.server.take()
	foreign := election.SawAnnouncement{IP: v4, Mine: election.MAC{2}, From: election.MAC{4}}
	f.election.Step(time.Millisecond, foreign)
	foreign.Mine, foreign.From = foreign.From, foreign.Mine
	f.election.Step(2*time.Millisecond, foreign) // one of the two outranks the other
	f.mustWrite(t, "heard", f.expected()...)
	if len(f.conflicts) != 1 {
		t.Errorf("%d conflicts are known", len(f.conflicts))
	}
	if got := f.seen(t).Reason; got != string(reason.AddressConflict) {
		t.Errorf("wrote reason %s", got)
	}
}

// expected are the writes of a conflict: the condition, and the end of the
// ServiceL2Status where this node yielded.
func (f *fixture) expected() []string {
	if len(f.election.Answering(v4)) == 0 {
		return []string{"DELETE " + l2path + "/" + l2name("n1"), conditionWrite}
	}
	return []string{conditionWrite}
}

// What only a node's speaker knows ends without anybody being told: the
// condition that tells of it is looked at again.
func TestTellsOfState(t *testing.T) {
	for why, want := range map[reason.Reason]bool{
		reason.ProxyUnhealthy: true, reason.NodeDraining: true, reason.NoSubnet: true,
		reason.NotOwner: false, reason.NodeExcluded: false, reason.SelectorMismatch: false,
	} {
		v := election.Verdict{IP: v4, Owner: "n1", Nodes: []election.NodeVerdict{{Node: "n2", Reason: reason.NotOwner}, {Node: "n3", Reason: why}}}
		if got := tellsOfState(v); got != want {
			t.Errorf("%s: %v, want %v", why, got, want)
		}
	}
}
