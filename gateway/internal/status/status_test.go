package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/gateway/internal/manager"
	"github.com/porchlight-lb/porchlight/internal/names"
)

var name = types.NamespacedName{Namespace: "ns", Name: "x"}

type world struct {
	t      *testing.T
	task   *Task
	now    time.Time
	events *events.FakeRecorder
	writes int
	fail   error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	w := &world{t: t, now: time.Unix(1000, 0), events: events.NewFakeRecorder(1000)}
	c := fake.NewClientBuilder().WithScheme(manager.Scheme()).WithObjects(objects...).WithStatusSubresource(objects...).
		WithInterceptorFuncs(interceptor.Funcs{SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			w.writes++
			if w.fail != nil {
				return w.fail
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		}}).Build()
	w.task = New(c, NewCells(), names.GatewayController, w.events, slog.New(slog.DiscardHandler))
	w.task.Now = func() time.Time { return w.now }
	return w
}

// write expects so many writes, and says whether some are delayed.
func (w *world) write(out ingest.Output, writes int) bool {
	w.t.Helper()
	before := w.writes
	w.task.Cells.Want(&out)
	delayed, err := w.task.write(context.Background())
	if err != nil && w.fail == nil {
		w.t.Fatal(err)
	}
	if n := w.writes - before; n != writes {
		w.t.Errorf("%d writes, want %d", n, writes)
	}
	return delayed
}

func condition(typ string, status metav1.ConditionStatus) metav1.Condition {
	return metav1.Condition{Type: typ, Status: status, Reason: "R"}
}

func TestGatewayIsWrittenOnChangeOnly(t *testing.T) {
	foreign := condition("example.com/Checked", metav1.ConditionTrue)
	w := newWorld(t, &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"},
		Status: gwv1.GatewayStatus{Conditions: []metav1.Condition{
			foreign, condition("Accepted", metav1.ConditionUnknown), condition(names.Prefix+"Former", metav1.ConditionTrue),
		}}})
	out := func(s metav1.ConditionStatus, attached int32) ingest.Output {
		return ingest.Output{GatewayStatuses: []ingest.GatewayStatus{{Name: name, Status: gwv1.GatewayStatus{
			Conditions: []metav1.Condition{condition("Accepted", s)},
			Listeners:  []gwv1.ListenerStatus{{Name: "l", AttachedRoutes: attached, Conditions: []metav1.Condition{condition("Accepted", s)}}},
		}}}}
	}
	w.write(out(metav1.ConditionTrue, 1), 1)
	w.write(out(metav1.ConditionTrue, 1), 0)
	// A burst of changes is one write after the pause.
	for i := range int32(5) {
		if !w.write(out(metav1.ConditionTrue, i+2), 0) {
			t.Error("not said to be delayed")
		}
	}
	w.now = w.now.Add(time.Hour)
	w.write(out(metav1.ConditionTrue, 6), 1)

	var g gwv1.Gateway
	if err := w.task.Client.Get(context.Background(), name, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Status.Conditions) != 2 || g.Status.Conditions[1].Type != foreign.Type {
		t.Errorf("conditions %v, want ours and then what others wrote", g.Status.Conditions)
	}
	if at := g.Status.Listeners[0].Conditions[0].LastTransitionTime; !at.Time.Equal(time.Unix(1000, 0)) {
		t.Errorf("transition at %v although the status is the same since the first write", at)
	}
}

// A Gateway that changes all the time is written less and less often, and at
// once again when it has been left alone.
func TestGatewayThatKeepsChanging(t *testing.T) {
	w := newWorld(t, &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}})
	began := w.now
	var at []time.Duration
	step := func(attached int32) {
		before := w.writes
		w.task.Cells.Want(&ingest.Output{GatewayStatuses: []ingest.GatewayStatus{{Name: name, Status: gwv1.GatewayStatus{
			Listeners: []gwv1.ListenerStatus{{Name: "l", AttachedRoutes: attached}},
		}}}})
		if _, err := w.task.write(context.Background()); err != nil {
			t.Fatal(err)
		}
		if w.writes > before {
			at = append(at, w.now.Sub(began))
		}
		w.now = w.now.Add(50 * time.Millisecond)
	}
	for i := range int32(100) {
		step(i + 1)
	}
	const ms = time.Millisecond
	if want := []time.Duration{0, 200 * ms, 400 * ms, 600 * ms, 800 * ms, 1200 * ms, 1700 * ms, 2200 * ms, 2700 * ms, 3200 * ms, 3700 * ms, 4200 * ms, 4700 * ms}; !slices.Equal(at, want) {
		t.Errorf("written at %v, want %v", at, want)
	}
	began, at = w.now, nil
	for range 100 {
		step(100)
	}
	for i := range int32(8) {
		step(200 + i)
	}
	if want := []time.Duration{200 * ms, 5000 * ms, 5200 * ms}; !slices.Equal(at, want) {
		t.Errorf("after that written at %v, want %v", at, want)
	}
}

// What was decided for a Gateway is not written to another one of the same name.
func TestGatewayMadeAnew(t *testing.T) {
	made := func(uid types.UID) *gwv1.Gateway {
		return &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x", UID: uid}}
	}
	at := func(address string) ingest.Output {
		return ingest.Output{GatewayStatuses: []ingest.GatewayStatus{{Name: name, Status: gwv1.GatewayStatus{
			Addresses: []gwv1.GatewayStatusAddress{{Value: address}},
		}}}}
	}
	w := newWorld(t, made("first"))
	address := func() string {
		var g gwv1.Gateway
		if err := w.task.Client.Get(context.Background(), name, &g); err != nil {
			t.Fatal(err)
		}
		if len(g.Status.Addresses) == 0 {
			return ""
		}
		return g.Status.Addresses[0].Value
	}
	w.task.Cells.Decided(made("first"), true)
	w.write(at("192.0.2.1"), 1)
	w.now = w.now.Add(time.Hour)
	if err := w.task.Client.Delete(context.Background(), made("first")); err != nil {
		t.Fatal(err)
	}
	if err := w.task.Client.Create(context.Background(), made("second")); err != nil {
		t.Fatal(err)
	}
	w.task.Cells.Touch(made("second"))
	w.write(ingest.Output{}, 0)
	w.write(at("192.0.2.9"), 0) // a decision that was made before it came
	if got := address(); got != "" {
		t.Errorf("the second Gateway has the first one's address %s", got)
	}
	w.task.Cells.Want(&ingest.Output{GatewayStatuses: at("192.0.2.2").GatewayStatuses})
	w.task.Cells.Decided(made("second"), true)
	w.write(ingest.Output{}, 1)
	if got := address(); got != "192.0.2.2" {
		t.Errorf("the second Gateway has address %q, want 192.0.2.2", got)
	}
	w.task.Cells.Decided(made("second"), false)
	if n := len(w.task.Cells.wanted); n != 0 {
		t.Errorf("%d statuses of Gateways that are no more are kept", n)
	}
}

func TestOwnParentsOnly(t *testing.T) {
	parent := func(controller, gateway string) gwv1.RouteParentStatus {
		return gwv1.RouteParentStatus{ControllerName: gwv1.GatewayController(controller), ParentRef: gwv1.ParentReference{Name: gwv1.ObjectName(gateway)},
			Conditions: []metav1.Condition{condition("Accepted", metav1.ConditionTrue)}}
	}
	r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}}
	r.Status.Parents = []gwv1.RouteParentStatus{parent("example.com/c", "theirs"), parent(names.GatewayController, "former")}
	w := newWorld(t, r)
	got := func() []gwv1.RouteParentStatus {
		var r gwv1.HTTPRoute
		if err := w.task.Client.Get(context.Background(), name, &r); err != nil {
			t.Fatal(err)
		}
		return r.Status.Parents
	}
	w.write(ingest.Output{RouteStatuses: []ingest.RouteStatus{{Kind: "HTTPRoute", Name: name, Parents: []gwv1.RouteParentStatus{parent(names.GatewayController, "now")}}}}, 1)
	if p := got(); len(p) != 2 || p[0].ParentRef.Name != "theirs" || p[1].ParentRef.Name != "now" {
		t.Errorf("parents %v", p)
	}
	// A route that is nobody's of ours any more.
	w.now = w.now.Add(time.Hour)
	w.write(ingest.Output{RouteStatuses: []ingest.RouteStatus{{Kind: "HTTPRoute", Name: name}}}, 1)
	if p := got(); len(p) != 1 || p[0].ParentRef.Name != "theirs" {
		t.Errorf("parents %v", p)
	}
}

// What others wrote stays, and of ours what there is room for: the API server
// would refuse the whole status.
func TestNoMoreParentsThanTheStatusHolds(t *testing.T) {
	var old, wanted []gwv1.RouteParentStatus
	for i := range 31 {
		p := gwv1.RouteParentStatus{ControllerName: "example.com/c"}
		p.ParentRef.Name = gwv1.ObjectName(fmt.Sprintf("theirs%d", i))
		old = append(old, p)
		p.ControllerName, p.ParentRef.Name = names.GatewayController, gwv1.ObjectName(fmt.Sprintf("ours%d", i))
		wanted = append(wanted, p)
	}
	got := parents(names.GatewayController, old, wanted, metav1.Time{})
	if len(got) != ingest.MaxParents || got[30].ParentRef.Name != "theirs30" || got[31].ParentRef.Name != "ours0" {
		t.Errorf("%d parents, the last %+v", len(got), got[len(got)-1].ParentRef)
	}
}

// The log has a line for each write that says something new, with the reasons,
// and none for one that only counts.
func TestDecisionsAreLogged(t *testing.T) {
	w := newWorld(t, &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}}, &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}})
	var log bytes.Buffer
	w.task.Log = slog.New(slog.NewJSONHandler(&log, nil))
	says := func(out ingest.Output, writes int, want ...string) {
		t.Helper()
		log.Reset()
		w.now = w.now.Add(time.Hour)
		w.write(out, writes)
		var got []string
		for line := range strings.Lines(log.String()) {
			var l struct {
				Kind, Name string
				Conditions []string
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %q", l.Kind, l.Name, l.Conditions))
		}
		if !slices.Equal(got, want) {
			t.Errorf("logged %v, want %v", got, want)
		}
	}
	gateway := func(attached int32, listener metav1.ConditionStatus) ingest.Output {
		return ingest.Output{GatewayStatuses: []ingest.GatewayStatus{{Name: name, Status: gwv1.GatewayStatus{
			Conditions: []metav1.Condition{condition("Accepted", metav1.ConditionTrue)},
			Listeners:  []gwv1.ListenerStatus{{Name: "l", AttachedRoutes: attached, Conditions: []metav1.Condition{condition("Programmed", listener)}}},
		}}}}
	}
	says(gateway(1, metav1.ConditionFalse), 1, `Gateway ns/x ["Accepted=True R" "listener l: Programmed=False R"]`)
	says(gateway(2, metav1.ConditionFalse), 1)
	says(gateway(2, metav1.ConditionTrue), 1, `Gateway ns/x ["listener l: Programmed=True R"]`)

	port, section := gwv1.PortNumber(80), gwv1.SectionName("l")
	missing := condition("ResolvedRefs", metav1.ConditionFalse)
	missing.Reason, missing.Message = "BackendNotFound", "Service ns/s is not there"
	route := func(c ...metav1.Condition) ingest.Output {
		return ingest.Output{RouteStatuses: []ingest.RouteStatus{{Kind: "HTTPRoute", Name: name, Parents: []gwv1.RouteParentStatus{{
			ControllerName: names.GatewayController, ParentRef: gwv1.ParentReference{Name: "g", SectionName: &section, Port: &port}, Conditions: c,
		}}}}}
	}
	says(route(missing), 1, `HTTPRoute ns/x ["Gateway g/l:80: ResolvedRefs=False BackendNotFound: Service ns/s is not there"]`)
	says(ingest.Output{RouteStatuses: []ingest.RouteStatus{{Kind: "HTTPRoute", Name: name}}}, 1, `HTTPRoute ns/x ["Gateway g/l:80: ResolvedRefs withdrawn"]`)
}

// What is wrong is an event once, and that it is not any more; what was well
// from the beginning is none.
func TestEventsOnChange(t *testing.T) {
	w := newWorld(t, &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}}, &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "x"}})
	says := func(out ingest.Output, want ...string) {
		t.Helper()
		w.now = w.now.Add(time.Hour)
		w.write(out, 1)
		var got []string
		for len(w.events.Events) > 0 {
			got = append(got, <-w.events.Events)
		}
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	}
	said := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
	}

	type parents = map[string][]metav1.Condition
	route := func(all parents) ingest.Output {
		r := ingest.RouteStatus{Kind: "HTTPRoute", Name: name}
		for _, p := range slices.Sorted(maps.Keys(all)) {
			r.Parents = append(r.Parents, gwv1.RouteParentStatus{
				ControllerName: names.GatewayController, ParentRef: gwv1.ParentReference{Name: gwv1.ObjectName(p)}, Conditions: all[p],
			})
		}
		return ingest.Output{RouteStatuses: []ingest.RouteStatus{r}}
	}
	accepted := said("Accepted", metav1.ConditionTrue, "Accepted", "")
	missing := func(service string) metav1.Condition {
		return said("ResolvedRefs", metav1.ConditionFalse, "BackendNotFound", service+" is not there.")
	}
	says(route(parents{"a": {accepted}}))
	says(route(parents{"a": {accepted, missing("s")}, "b": {accepted, missing("s")}}),
		"Warning BackendNotFound Gateway a: ResolvedRefs, Gateway b: ResolvedRefs=False: s is not there.")
	says(route(parents{"a": {accepted, missing("another")}, "b": {accepted, missing("another")}}))
	says(route(parents{
		"a": {accepted, said("ResolvedRefs", metav1.ConditionFalse, "RefNotPermitted", "no grant")},
		"b": {accepted, missing("another"), said("PartiallyInvalid", metav1.ConditionTrue, "UnsupportedValue", "a rule")},
	}), "Warning RefNotPermitted Gateway a: ResolvedRefs=False: no grant", "Warning UnsupportedValue Gateway b: PartiallyInvalid=True: a rule")
	says(route(parents{"a": {accepted, said("ResolvedRefs", metav1.ConditionTrue, "ResolvedRefs", "fine")}}),
		"Normal ResolvedRefs Gateway a: ResolvedRefs=True: fine")

	gateway := func(whole, listener metav1.Condition) ingest.Output {
		return ingest.Output{GatewayStatuses: []ingest.GatewayStatus{{Name: name, Status: gwv1.GatewayStatus{
			Conditions: []metav1.Condition{whole}, Listeners: []gwv1.ListenerStatus{{Name: "l", Conditions: []metav1.Condition{listener}}},
		}}}}
	}
	waits := said("Programmed", metav1.ConditionFalse, "Pending", "soon")
	serves := said("Programmed", metav1.ConditionTrue, "Programmed", "served")
	noAddress := said("Programmed", metav1.ConditionFalse, "AddressNotAssigned", "none yet")
	says(gateway(noAddress, waits), "Normal AddressNotAssigned Programmed=False: none yet")
	says(gateway(waits, waits))
	says(gateway(serves, serves), "Normal Programmed Programmed=True: served")
	says(gateway(noAddress, serves), "Warning AddressNotAssigned Programmed=False: none yet")
	says(gateway(said("Programmed", metav1.ConditionFalse, "ServiceRefused", "no label"), serves), "Warning ServiceRefused Programmed=False: no label")
	says(gateway(serves, serves), "Normal Programmed Programmed=True: served")
	says(gateway(said(ingest.DefaultGateway, metav1.ConditionTrue, "DefaultScope", "it is one"), serves))
}

// However much goes wrong at once, the API server is not flooded, and what is
// left out is counted.
func TestEventsArePaced(t *testing.T) {
	w := newWorld(t)
	before := counted(t, "porchlight_gateway_status_events_dropped_total")
	const all = 3 * eventsAtOnce
	for range all {
		w.task.tell(&gwv1.HTTPRoute{}, []turn{{about: "Accepted", is: decision{"Accepted", metav1.ConditionFalse, "NoMatchingParent", ""}}})
	}
	made, dropped := len(w.events.Events), counted(t, "porchlight_gateway_status_events_dropped_total")-before
	if made < eventsAtOnce || made >= all || int(dropped) != all-made {
		t.Errorf("%d events of %d, and %v dropped", made, all, dropped)
	}
}

// counted reads a counter that has no labels.
func counted(t *testing.T, name string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestFailedWriteIsRepeated(t *testing.T) {
	w := newWorld(t, &gwv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "c"}})
	out := ingest.Output{GatewayClassStatuses: []ingest.GatewayClassStatus{{Name: "c", Status: gwv1.GatewayClassStatus{
		Conditions: []metav1.Condition{condition("Accepted", metav1.ConditionTrue)}}}}}
	w.fail = apierrors.NewInternalError(errors.New("down"))
	w.write(out, 1)
	// That somebody else has written the object is no failure.
	w.fail = apierrors.NewConflict(schema.GroupResource{}, "c", errors.New("changed"))
	w.task.Cells.Want(&out)
	if delayed, err := w.task.write(context.Background()); err != nil || !delayed {
		t.Errorf("after a conflict: %v, delayed: %v", err, delayed)
	}
	w.fail = nil
	w.write(out, 1)
	w.write(out, 0)
}
