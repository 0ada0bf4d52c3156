package watch

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

var (
	translationSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "porchlight_gateway_translation_seconds", Help: "Time from changes of objects to the snapshots that follow, published.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	})
	resources = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_xds_resources", Help: "Resources in the newest snapshot, by fleet and type.",
	}, []string{"fleet", "type"})
)

func init() { metrics.Registry.MustRegister(translationSeconds, resources) }

func observe(w *world, took time.Duration) {
	translationSeconds.Observe(took.Seconds())
	for fleet, s := range w.snapshots {
		for _, typ := range resource.Types {
			label := string(typ)[strings.LastIndexByte(string(typ), '.')+1:]
			resources.WithLabelValues(fleet.String(), label).Set(float64(len(s.set[typ])))
		}
	}
}
