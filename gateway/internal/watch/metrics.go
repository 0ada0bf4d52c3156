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
	authorityNotBefore = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_gateway_ca_certificate_not_before_timestamp_seconds", Help: "When the validity of a CA certificate that peers are checked against begins, in seconds since 1970, by the Gateway or BackendTLSPolicy that names it, listener, ConfigMap and end.",
	}, []string{"object", "listener", "configmap", "end"})
	authorityNotAfter = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_gateway_ca_certificate_not_after_timestamp_seconds", Help: "When the validity of a CA certificate that peers are checked against ends, in seconds since 1970, by the Gateway or BackendTLSPolicy that names it, listener, ConfigMap and end: last, or first where there are several.",
	}, []string{"object", "listener", "configmap", "end"})
)

func init() {
	metrics.Registry.MustRegister(translationSeconds, resources, notBefore, notAfter, authorityNotBefore, authorityNotAfter)
}

// observeCertificates notes the certificates of Gateways and policies that have
// others now.
func observeCertificates(c *ingest.Changes) {
	forget := func(gateway types.NamespacedName) {
		notBefore.DeletePartialMatch(prometheus.Labels{"gateway": gateway.String()})
		notAfter.DeletePartialMatch(prometheus.Labels{"gateway": gateway.String()})
		observeAuthorities("Gateway", gateway, nil)
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
		observeAuthorities("Gateway", g.Name, g.Authorities)
	}
	for _, p := range c.PolicyStatuses {
		observeAuthorities("BackendTLSPolicy", p.Name, p.Authorities)
	}
}

// observeAuthorities notes the CA certificates that an object names now.
func observeAuthorities(kind string, name types.NamespacedName, all []ingest.AuthorityCertificate) {
	object := kind + " " + name.String()
	authorityNotBefore.DeletePartialMatch(prometheus.Labels{"object": object})
	authorityNotAfter.DeletePartialMatch(prometheus.Labels{"object": object})
	for _, a := range all {
		labels := []string{object, a.Listener, a.ConfigMap.String(), string(a.End)}
		authorityNotBefore.WithLabelValues(labels...).Set(float64(a.NotBefore.Unix()))
		authorityNotAfter.WithLabelValues(labels...).Set(float64(a.NotAfter.Unix()))
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
