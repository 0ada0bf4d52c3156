package assign

import (
	"math/big"
	"sync/atomic"

	"github.com/porchlight-lb/porchlight/controller/allocator"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	poolAssigned = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_pool_assigned_addresses",
		Help: "Addresses of a pool that Services hold.",
	}, []string{"pool", "family"})
	poolTotal = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_pool_total_addresses",
		Help: "Addresses of a pool, held or free.",
	}, []string{"pool", "family"})
	poolReady = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_pool_ready",
		Help: "1 where a pool is in use, 0 where it is refused.",
	}, []string{"pool"})
	pending = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_services_pending",
		Help: "Services that wait for an address, by reason.",
	}, []string{"reason"})
	latency = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "porchlight_allocation_duration_seconds",
		Help:    "Time from a decision for a Service to its being written.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
	})
	queueDepth = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "porchlight_write_queue_depth",
		Help: "Services whose status is decided and not yet written.",
	})
	writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_service_writes_total",
		Help: "Writes of a Service's status, by result.",
	}, []string{"result"})
	leading = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "porchlight_controller_leading",
		Help: "1 on the replica that holds the Lease.",
	}, func() float64 {
		if held() {
			return 1
		}
		return 0
	})
)

// current is the Lease of the term that runs, where there is one.
var current atomic.Pointer[Lease]

func held() bool {
	lease := current.Load()
	return lease != nil && (*lease).Holds()
}

// ofTerm are metrics that one replica shows. A term whose Lease is in doubt goes
// on, and what it knows may be old: another one may lead.
type ofTerm struct{ prometheus.Collector }

// Collect implements [prometheus.Collector].
func (c ofTerm) Collect(to chan<- prometheus.Metric) {
	if held() {
		c.Collector.Collect(to)
	}
}

func init() {
	prometheus.MustRegister(ofTerm{poolAssigned}, ofTerm{poolTotal}, ofTerm{poolReady}, ofTerm{pending}, ofTerm{queueDepth},
		latency, writes, leading)
}

// resetMetrics drops what was true in a term.
func resetMetrics() {
	current.Store(nil)
	poolAssigned.Reset()
	poolTotal.Reset()
	poolReady.Reset()
	pending.Reset()
	queueDepth.Set(0)
}

func measurePool(st allocator.PoolState) {
	ready := 0.0
	if st.Ready() {
		ready = 1
	}
	poolReady.WithLabelValues(st.Name).Set(ready)
	for f, u := range st.Usage {
		total, _ := new(big.Float).SetInt(new(big.Int).Add(u.Assigned, u.Available)).Float64()
		assigned, _ := new(big.Float).SetInt(u.Assigned).Float64()
		family := allocator.Family(f).String()
		poolTotal.WithLabelValues(st.Name, family).Set(total)
		poolAssigned.WithLabelValues(st.Name, family).Set(assigned)
	}
}

func forgetPool(name string) {
	labels := prometheus.Labels{"pool": name}
	poolReady.DeletePartialMatch(labels)
	poolTotal.DeletePartialMatch(labels)
	poolAssigned.DeletePartialMatch(labels)
}
