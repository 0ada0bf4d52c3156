package watch

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
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
	notBefore = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_gateway_certificate_not_before_timestamp_seconds", Help: "When the validity of a listener's certificate begins, in seconds since 1970, by Gateway, listener and Secret.",
	}, []string{"gateway", "listener", "secret"})
	notAfter = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_gateway_certificate_not_after_timestamp_seconds", Help: "When the validity of a listener's certificate ends, in seconds since 1970, by Gateway, listener and Secret.",
	}, []string{"gateway", "listener", "secret"})
)

func init() { metrics.Registry.MustRegister(translationSeconds, resources, notBefore, notAfter) }

// observeCertificates notes the certificates of Gateways that have others now.
func observeCertificates(c *ingest.Changes) {
	forget := func(gateway types.NamespacedName) {
		notBefore.DeletePartialMatch(prometheus.Labels{"gateway": gateway.String()})
		notAfter.DeletePartialMatch(prometheus.Labels{"gateway": gateway.String()})
	}
	for _, n := range c.Gone {
		forget(n)
	}
	for _, g := range c.Certificates {
		forget(g.Name)
		for _, l := range g.Listeners {
			labels := []string{g.Name.String(), l.Listener, l.Secret.String()}
			notBefore.WithLabelValues(labels...).Set(float64(l.NotBefore.Unix()))
			notAfter.WithLabelValues(labels...).Set(float64(l.NotAfter.Unix()))
		}
	}
}

func observe(w *world, took time.Duration) {
	translationSeconds.Observe(took.Seconds())
	for fleet, s := range w.snapshots {
		for _, typ := range resource.Types {
			label := string(typ)[strings.LastIndexByte(string(typ), '.')+1:]
			resources.WithLabelValues(fleet.String(), label).Set(float64(len(s.set[typ])))
		}
	}
}
