package watch

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

var (
	translationSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "porchlight_gateway_translation_seconds", Help: "Time from the first look at the cache to the published snapshots, by extent: Full or Endpoints.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	}, []string{"extent"})
	resources = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_xds_resources", Help: "Resources in the newest snapshot, by fleet and type.",
	}, []string{"fleet", "type"})
)

func init() { metrics.Registry.MustRegister(translationSeconds, resources) }

func observe(t *translation, extent string, took time.Duration) {
	translationSeconds.WithLabelValues(extent).Observe(took.Seconds())
	if extent != "Full" {
		return
	}
	resources.Reset()
	for fleet, set := range t.sets {
		for _, typ := range resource.Types {
			label := string(typ)[strings.LastIndexByte(string(typ), '.')+1:]
			resources.WithLabelValues(fleet.String(), label).Set(float64(len(set[typ])))
		}
	}
}
