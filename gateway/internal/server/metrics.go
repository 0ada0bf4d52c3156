package server

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

var (
	connected = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_xds_streams", Help: "Envoys that are connected to this replica, by fleet.",
	}, []string{"fleet"})
	pushes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_xds_pushes_total", Help: "Responses sent to Envoys, by type.",
	}, []string{"type"})
	pushed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_xds_pushed_resources_total", Help: "Resources in the responses sent to Envoys, removals included, by type.",
	}, []string{"type"})
	ackSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "porchlight_xds_ack_seconds", Help: "Time from a response to the Envoy's answer, by type.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	}, []string{"type"})
	refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_xds_refusals_total", Help: "Answers that were refusals, by type and by reason: Response, or Resource once it is known which one is to blame.",
	}, []string{"type", "reason"})
)

func init() { metrics.Registry.MustRegister(connected, pushes, pushed, ackSeconds, refusals) }

// typeLabel is the last word of a type URL.
func typeLabel(t resource.Type) string {
	return string(t)[strings.LastIndexByte(string(t), '.')+1:]
}
