package kube

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"
)

func dropped(t *testing.T) float64 {
	t.Helper()
	var m dto.Metric
	if err := droppedEvents.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// An event that the server refuses is dropped, one that it cannot take now is
// written later, and neither keeps the next one back.
func TestEvents(t *testing.T) {
	scheme := Scheme()
	codec := protobuf.NewSerializer(scheme, scheme)
	answers := []int{http.StatusForbidden, http.StatusServiceUnavailable, http.StatusCreated, http.StatusCreated, http.StatusCreated}
	type asked struct {
		path  string
		event *eventsv1.Event
	}
	requests := make(chan asked, len(answers))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var event eventsv1.Event
		if _, _, err := codec.Decode(body, nil, &event); err != nil {
			t.Error(err)
		}
		code := answers[0]
		answers = answers[1:]
		requests <- asked{r.URL.Path, &event}
		w.WriteHeader(code)
	}))
	defer server.Close()
	api, err := New(&rest.Config{Host: server.URL, QPS: -1}, server.Client(), scheme)
	if err != nil {
		t.Fatal(err)
	}
	e := NewEvents(slog.New(slog.NewTextHandler(io.Discard, nil)), api.Events)
	before := dropped(t)
	about := &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "web"}
	for _, note := range []string{"refused", "later", strings.Repeat("é", mostNote), "last"} {
		e.Event(about, corev1.EventTypeNormal, "Announced", "Announce", note)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { e.Run(ctx); close(ended) }()
	for _, want := range []string{"refused", "later", "later", strings.Repeat("é", mostNote/2), "last"} {
		got := <-requests
		if wrong := validation.NameIsDNSSubdomain(got.event.GenerateName, true); len(wrong) > 0 {
			t.Errorf("name %q: %s", got.event.GenerateName, wrong)
		}
		if got.path != "/apis/events.k8s.io/v1/namespaces/shop/events" || got.event.Note != want ||
			got.event.Regarding != *about || got.event.Reason != "Announced" || got.event.Action != "Announce" {
			t.Errorf("%s: wrote %+v, want note %q", got.path, got.event, want)
		}
	}
	if got := dropped(t) - before; got != 1 {
		t.Errorf("%v dropped, want 1", got)
	}
	stop()
	<-ended
}

// Events that nobody writes do not pile up.
func TestEventsAreBounded(t *testing.T) {
	e := NewEvents(slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	before := dropped(t)
	for range mostEvents + 3 {
		e.Event(&corev1.ObjectReference{Name: "web"}, corev1.EventTypeNormal, "Announced", "Announce", "")
	}
	if got := dropped(t) - before; got != 3 {
		t.Errorf("%v dropped, want 3", got)
	}
}
