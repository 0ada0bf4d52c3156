package status

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var writes = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "porchlight_gateway_status_writes_total", Help: "Statuses written, by result: Written, Failed, or Conflict where somebody else wrote the object, which is no failure.",
}, []string{"result"})

var droppedEvents = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "porchlight_gateway_status_events_dropped_total", Help: "Events about conditions that were not made, since there were too many at a time. The conditions stand in the statuses.",
})

func init() { metrics.Registry.MustRegister(writes, droppedEvents) }
