package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/porchlight-lb/porchlight/speaker/election"
)

var (
	ownedAddresses = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "porchlight_layer2_owned_addresses", Help: "Addresses that this node answers for.",
	})
	liveMembers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "porchlight_speaker_members", Help: "Live speakers, this one included.",
	})
	takeovers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "porchlight_layer2_takeovers_total", Help: "Addresses that this node took, by cause.",
	}, []string{"cause"})
	lastChange = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "porchlight_layer2_last_change_timestamp_seconds", Help: "When this node last took an address or gave one up; the time since is time() minus this.",
	})
	disputed = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "porchlight_layer2_disputed_services", Help: "Services, of those whose condition this node writes, with an address that a host answers for which is no speaker.",
	})
	unannounced = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "porchlight_services_unannounced", Help: "Services, of those whose condition this node writes, with an address that nobody announces, by reason.",
	}, []string{"reason"})
)

func init() {
	prometheus.MustRegister(ownedAddresses, liveMembers, takeovers, lastChange, disputed, unannounced)
	for _, c := range election.Causes {
		takeovers.WithLabelValues(string(c))
	}
}
