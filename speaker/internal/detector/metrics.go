package detector

import (
	"maps"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
	"github.com/prometheus/client_golang/prometheus"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("porchlight_bfd_"+name, help, labels, nil)
}

var (
	upDesc        = describe("session_up", "1 where the BFD session is Up.", "peer")
	flapsDesc     = describe("session_flaps_total", "Times that the BFD session left Up.", "peer")
	detectionDesc = describe("detection_time_seconds", "Silence of the peer after which the session goes down; 0 while nothing is known of it.", "peer")
	echoDesc      = describe("echo_detection_time_seconds", "Lack of returning echo packets after which the session goes down; 0 while they do not do the detection.", "peer")
	intervalDesc  = describe("transmit_interval_seconds", "Negotiated interval of control packets sent, before jitter.", "peer")
	sentDesc      = describe("packets_sent_total", "BFD packets sent.", "peer", "type")
	receivedDesc  = describe("packets_received_total", "BFD packets received and acted upon.", "peer", "type")
	droppedDesc   = describe("packets_dropped_total", "BFD packets received and dropped, by reason.", "reason")
)

// Describe implements prometheus.Collector.
func (d *Detector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{upDesc, flapsDesc, detectionDesc, echoDesc, intervalDesc, sentDesc, receivedDesc, droppedDesc} {
		to <- desc
	}
}

// Collect implements prometheus.Collector.
func (d *Detector) Collect(to chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	counter := func(desc *prometheus.Desc, v uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(v), labels...)
	}
	for _, s := range d.Statuses() {
		peer := s.Path.String()
		up := 0.0
		if s.State == bfd.Up {
			up = 1
		}
		gauge(upDesc, up, peer)
		gauge(detectionDesc, s.Detection.Seconds(), peer)
		gauge(echoDesc, s.EchoDetection.Seconds(), peer)
		gauge(intervalDesc, s.Transmit.Seconds(), peer)
		counter(flapsDesc, s.Flaps, peer)
		counter(sentDesc, s.Sent, peer, "control")
		counter(sentDesc, s.EchoSent, peer, "echo")
		counter(receivedDesc, s.Received, peer, "control")
		counter(receivedDesc, s.EchoesReceived, peer, "echo")
	}
	dropped := d.Dropped()
	for _, reason := range bfd.Drops {
		counter(droppedDesc, dropped[reason], string(reason))
	}
}

// Dropped counts the packets that were dropped, by reason.
func (d *Detector) Dropped() map[bfd.Drop]uint64 {
	var out map[bfd.Drop]uint64
	d.ask(func() { out = maps.Clone(d.dropped) })
	return out
}
