package peering

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	sessionUp = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_bgp_session_up", Help: "1 where the session to the peer is Established, else 0.",
	}, []string{"peer"})
	sessionFlaps = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_bgp_session_flaps_total", Help: "How often the session to the peer ended after it was Established.",
	}, []string{"peer"})
	prefixesAnnounced = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_bgp_announced_prefixes", Help: "Prefixes that the peer is told.",
	}, []string{"peer"})
	updatesSent = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_bgp_updates_sent_total", Help: "UPDATE messages sent to the peer.",
	}, []string{"peer"})
	updatesDropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_bgp_updates_dropped_total", Help: "UPDATE messages of the peer; no route in them is accepted.",
	}, []string{"peer"})
)

func init() {
	prometheus.MustRegister(sessionUp, sessionFlaps, prefixesAnnounced, updatesSent, updatesDropped)
}

// measure brings the metrics of a session up to date.
func measure(old, now State) {
	up := func(s State) bool { return s.State == "Established" }
	value := 0.0
	if up(now) {
		value = 1
	}
	sessionUp.WithLabelValues(now.Peer).Set(value)
	if up(old) && !up(now) {
		sessionFlaps.WithLabelValues(now.Peer).Inc()
	}
	prefixesAnnounced.WithLabelValues(now.Peer).Set(float64(now.Prefixes))
}

// forget takes the metrics of a peer away.
func forget(peer string) {
	for _, v := range []interface{ DeleteLabelValues(...string) bool }{sessionUp, sessionFlaps, prefixesAnnounced, updatesSent, updatesDropped} {
		v.DeleteLabelValues(peer)
	}
}
