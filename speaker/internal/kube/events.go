package kube

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const (
	// mostEvents wait to be written; what comes beyond that is dropped.
	mostEvents = 256
	// firstRetry is doubled until lastRetry, for as long as retryFor.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 10 * time.Second
	retryFor   = 2 * time.Minute
	// mostNote is what the API server takes, in bytes.
	mostNote = 1024
)

var droppedEvents = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "porchlight_speaker_events_dropped_total", Help: "Events that were not written: too many at a time, or the API server did not take them.",
})

func init() { prometheus.MustRegister(droppedEvents) }

// Events writes events, one after the other, beside the work that they tell of.
type Events struct {
	log      *slog.Logger
	api      rest.Interface
	instance string
	queue    chan *eventsv1.Event
}

// NewEvents returns the Events of a program.
func NewEvents(log *slog.Logger, api rest.Interface) *Events {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &Events{log: log, api: api, instance: reporter + "-" + host, queue: make(chan *eventsv1.Event, mostEvents)}
}

const reporter = "porchlight-speaker"

// Event has an event about an object be written; kind is Normal or Warning, why
// a reason, and action what was done. It does not block.
func (e *Events) Event(about *corev1.ObjectReference, kind, why, action, note string) {
	if len(note) > mostNote {
		note = strings.ToValidUTF8(note[:mostNote], "")
	}
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	event := &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, GenerateName: about.Name + "-"},
		EventTime:           metav1.NowMicro(),
		ReportingController: reporter, ReportingInstance: e.instance,
		Action: action, Reason: why, Type: kind, Note: note, Regarding: *about,
	}
	select {
	case e.queue <- event:
	default:
		droppedEvents.Inc()
	}
}

// Run writes until ctx ends.
func (e *Events) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.queue:
			if err := e.write(ctx, event); err != nil {
				droppedEvents.Inc()
				e.log.Warn("writing an event", "about", event.Regarding.Name, "reason", event.Reason, "error", err)
			}
		}
	}
}

// write repeats what a server that is away may take later.
func (e *Events) write(ctx context.Context, event *eventsv1.Event) error {
	began := time.Now()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		result := e.api.Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx)
		err := result.Error()
		var status int
		result.StatusCode(&status)
		refused := status >= 400 && status < 500 && status != 429
		if err == nil || refused || time.Since(began) > retryFor {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}
