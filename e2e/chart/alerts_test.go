package chart

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// TestAlerts evaluates expressions 20 minutes after the first sample; there is
// one a minute, in the notation of Prometheus' own tests.
func TestAlerts(t *testing.T) {
	fired, quiet := map[string]bool{}, map[string]bool{}
	for _, tt := range []struct {
		name, alert string
		series      []string
		want        []string // label sets for which it fires
	}{
		{"half a pool", "PorchlightPool75PercentUsed", pool(50, 100), nil},
		{"most of a pool, as the leader says alone", "PorchlightPool75PercentUsed", pool(80, 100), []string{`{family="IPv4", namespace="p", pool="a"}`}},
		{"a family that a pool has not", "PorchlightPool75PercentUsed", pool(0, 0), nil},
		{"80 of 100 is not 85 %", "PorchlightPool85PercentUsed", pool(80, 100), nil},
		{"86 of 100", "PorchlightPool85PercentUsed", pool(86, 100), []string{`{family="IPv4", namespace="p", pool="a"}`}},
		{"86 of 100 is not 95 %", "PorchlightPool95PercentUsed", pool(86, 100), nil},
		{"96 of 100", "PorchlightPool95PercentUsed", pool(96, 100), []string{`{family="IPv4", namespace="p", pool="a"}`}},
		{"one is left", "PorchlightPoolExhausted", pool(99, 100), nil},
		{"none is left", "PorchlightPoolExhausted", pool(100, 100), []string{`{family="IPv4", namespace="p", pool="a"}`}},
		{"no address of a family is no exhaustion", "PorchlightPoolExhausted", pool(0, 0), nil},
		{"in use", "PorchlightPoolRefused", []string{`porchlight_pool_ready{namespace="p", instance="c1", pool="a"} 1x20`}, nil},
		{"not in use", "PorchlightPoolRefused", []string{`porchlight_pool_ready{namespace="p", instance="c1", pool="a"} 0x20`}, []string{`{namespace="p", pool="a"}`}},
		{"nobody waits", "PorchlightServicesPending", []string{`porchlight_services_pending{namespace="p", instance="c1", reason="NoPool"} 0x20`}, nil},
		{"two wait", "PorchlightServicesPending", []string{`porchlight_services_pending{namespace="p", instance="c1", reason="NoPool"} 2x20`},
			[]string{`{namespace="p", reason="NoPool"}`}},
		{"one of two leads", "PorchlightNoLeader", []string{
			`porchlight_controller_leading{namespace="p", instance="c1"} 1x20`, `porchlight_controller_leading{namespace="p", instance="c2"} 0x20`}, nil},
		{"none of two leads", "PorchlightNoLeader", []string{
			`porchlight_controller_leading{namespace="p", instance="c1"} 0x20`, `porchlight_controller_leading{namespace="p", instance="c2"} 0x20`},
			[]string{`{namespace="p"}`}},
		{"a queue that empties", "PorchlightWritesStuck", []string{`porchlight_write_queue_depth{instance="c1"} 9x17 0 9 9`}, nil},
		{"a queue that does not", "PorchlightWritesStuck", []string{`porchlight_write_queue_depth{instance="c1"} 9x20`}, []string{`{instance="c1"}`}},
		{"no owner", "PorchlightServiceUnannounced", []string{
			`porchlight_services_unannounced{namespace="p", instance="n1", reason="NoEligibleNode"} 1x20`,
			`porchlight_services_unannounced{namespace="p", instance="n2", reason="NoEndpoints"} 1x20`}, []string{`{namespace="p", reason="NoEligibleNode"}`}},
		{"all are announced", "PorchlightServiceUnannounced", []string{
			`porchlight_services_unannounced{namespace="p", instance="n1", reason="NoEligibleNode"} 1x10 0x9`}, nil},
		{"a pod came", "PorchlightServiceWithoutEndpoints", []string{
			`porchlight_services_unannounced{namespace="p", instance="n2", reason="NoEndpoints"} 1x10 0x9`}, nil},
		{"no pod", "PorchlightServiceWithoutEndpoints", []string{
			`porchlight_services_unannounced{namespace="p", instance="n2", reason="NoEndpoints"} 1x20`}, []string{`{namespace="p", reason="NoEndpoints"}`}},
		{"a node that took many addresses at once", "PorchlightOwnersFlap", []string{
			`porchlight_layer2_last_change_timestamp_seconds{namespace="p", instance="n1"} 5x10 700x9`,
			`porchlight_layer2_takeovers_total{namespace="p", instance="n1", cause="OwnerDied"} 0x10 500x9`}, nil},
		{"many Services come", "PorchlightOwnersFlap", []string{
			`porchlight_layer2_last_change_timestamp_seconds{namespace="p", instance="n1"} 0+60x20`,
			`porchlight_layer2_takeovers_total{namespace="p", instance="n1", cause="New"} 0+9x20`}, nil},
		{"an address that comes every minute", "PorchlightOwnersFlap", []string{
			`porchlight_layer2_last_change_timestamp_seconds{namespace="p", instance="n1"} 0+60x20`,
			`porchlight_layer2_takeovers_total{namespace="p", instance="n1", cause="OwnerDied"} 0+1x20`}, []string{`{instance="n1", namespace="p"}`}},
		{"no dispute", "PorchlightAddressConflict", []string{`porchlight_layer2_disputed_services{namespace="p", instance="n1"} 0x20`}, nil},
		{"a dispute", "PorchlightAddressConflict", []string{`porchlight_layer2_disputed_services{namespace="p", instance="n1"} 1x20`}, []string{`{namespace="p"}`}},
		{"all hear each other", "PorchlightGossipSplit", members(3, 3, 3), nil},
		{"one hears nobody", "PorchlightGossipSplit", members(3, 3, 1), []string{`{instance="n3", namespace="p"}`}},
		{"all sessions are up", "PorchlightBGPSessionDown", []string{`porchlight_bgp_session_up{instance="n1", peer="tor1"} 0x5 1x14`}, nil},
		{"a session that was lost once", "PorchlightBGPSessionFlaps", []string{`porchlight_bgp_session_flaps_total{instance="n1", peer="tor1"} 0x10 1x9`}, nil},
		{"a session that is lost each minute", "PorchlightBGPSessionFlaps", []string{`porchlight_bgp_session_flaps_total{instance="n1", peer="tor1"} 0+1x20`},
			[]string{`{instance="n1", peer="tor1"}`}},
		{"BFD is up", "PorchlightBFDSessionDown", []string{`porchlight_bfd_session_up{instance="n1", peer="tor1"} 1x20`}, nil},
		{"BFD is down", "PorchlightBFDSessionDown", []string{`porchlight_bfd_session_up{instance="n1", peer="tor1"} 0x20`},
			[]string{`{__name__="porchlight_bfd_session_up", instance="n1", peer="tor1"}`}},
		{"a year to go", "PorchlightCertificateExpires", certificate(-1e7, 3e7), nil},
		{"less than a week", "PorchlightCertificateExpires", certificate(-1e7, 6e5), []string{`{gateway="g/w", listener="https", namespace="p", secret="g/c"}`}},
		{"two of six days", "PorchlightCertificateExpires", certificate(-345600, 172800), nil},
		{"one of six days", "PorchlightCertificateExpires", certificate(-432000, 86400), []string{`{gateway="g/w", listener="https", namespace="p", secret="g/c"}`}},
		{"it has ended, which is another alert", "PorchlightCertificateExpires", certificate(-1e7, 1100), nil},
		{"not yet", "PorchlightCertificateExpired", certificate(-1e7, 1300), nil},
		{"ended a minute ago", "PorchlightCertificateExpired", certificate(-1e7, 1140), []string{`{gateway="g/w", listener="https", namespace="p", secret="g/c"}`}},
		{"a year to go", "PorchlightCACertificateExpires", authority("last", -1e7, 3e7), nil},
		{"the only one ends", "PorchlightCACertificateExpires", authority("last", -1e7, 6e5), []string{expiring("last")}},
		{"one of two ends", "PorchlightCACertificateExpires", append(authority("first", -1e7, 6e5), authority("last", -1e7, 3e7)...), []string{expiring("first")}},
		{"one of two has ended", "PorchlightCACertificateExpires", append(authority("first", -1e7, 1100), authority("last", -1e7, 3e7)...), []string{expiring("first")}},
		{"both have ended, which is another alert", "PorchlightCACertificateExpires", append(authority("first", -1e7, 1100), authority("last", -1e7, 1130)...), nil},
		{"one of two has ended, which is another alert", "PorchlightCACertificateExpired", append(authority("first", -1e7, 1100), authority("last", -1e7, 3e7)...), nil},
		{"both have ended", "PorchlightCACertificateExpired", append(authority("first", -1e7, 1100), authority("last", -1e7, 1130)...), []string{`{namespace="p", object="BackendTLSPolicy a/p"}`}},
		{"statuses are written", "PorchlightStatusWritesFail", []string{
			`porchlight_gateway_status_writes_total{namespace="p", instance="g1", result="Written"} 0+9x20`,
			`porchlight_gateway_status_writes_total{namespace="p", instance="g1", result="Failed"} 0x18 1 1`}, nil},
		{"statuses are not written", "PorchlightStatusWritesFail", []string{
			`porchlight_gateway_status_writes_total{namespace="p", instance="g1", result="Failed"} 0+2x20`}, []string{`{namespace="p"}`}},
		{"a session is down", "PorchlightBGPSessionDown", []string{
			`porchlight_bgp_session_up{instance="n1", peer="tor1"} 1x20`, `porchlight_bgp_session_up{instance="n2", peer="tor1"} 0x20`},
			[]string{`{__name__="porchlight_bgp_session_up", instance="n2", peer="tor1"}`}},
		{"one refusal", "PorchlightEnvoyRefusesConfiguration", []string{
			`porchlight_xds_refusals_total{namespace="p", instance="g1", type="Listener", reason="Response"} 0x15 1x4`},
			[]string{`{namespace="p", type="Listener"}`}},
		{"the first refusal of all", "PorchlightEnvoyRefusesConfiguration", []string{
			`porchlight_xds_refusals_total{namespace="p", instance="g1", type="Listener", reason="Response"} _x15 1x4`},
			[]string{`{namespace="p", type="Listener"}`}},
		{"a refusal long ago", "PorchlightEnvoyRefusesConfiguration", []string{
			`porchlight_xds_refusals_total{namespace="p", instance="g1", type="Listener", reason="Response"} 1x20`}, nil},
		{"connected to the other replica", "PorchlightEnvoysStale", append(resources(),
			`porchlight_xds_streams{namespace="p", instance="g1", fleet="p/f"} 0x20`, `porchlight_xds_streams{namespace="p", instance="g2", fleet="p/f"} 2x20`), nil},
		{"connected no more", "PorchlightEnvoysStale", append(resources(),
			`porchlight_xds_streams{namespace="p", instance="g1", fleet="p/f"} 0x20`), []string{`{fleet="p/f", namespace="p"}`}},
		{"never connected to gateways that were started again", "PorchlightEnvoysStale", resources(), []string{`{fleet="p/f", namespace="p"}`}},
	} {
		t.Run(tt.alert+"/"+tt.name, func(t *testing.T) {
			if got := evaluate(t, expression(t, tt.alert), tt.series); !slices.Equal(got, tt.want) {
				t.Errorf("it fires for %v; want %v", got, tt.want)
			}
		})
		if tt.want == nil {
			quiet[tt.alert] = true
		} else {
			fired[tt.alert] = true
		}
	}
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			if !fired[r.Alert] || !quiet[r.Alert] {
				t.Errorf("%s has no example that fires it, or none that does not", r.Alert)
			}
		}
	}
}

// pool is what the leader says of a pool; the other replica says nothing.
func pool(assigned, total int) []string {
	return []string{
		fmt.Sprintf(`porchlight_pool_assigned_addresses{namespace="p", instance="c1", pool="a", family="IPv4"} %dx20`, assigned),
		fmt.Sprintf(`porchlight_pool_total_addresses{namespace="p", instance="c1", pool="a", family="IPv4"} %dx20`, total),
	}
}

// certificate is what both replicas say of a listener's certificate, which is
// valid from one second to another.
func certificate(begins, ends float64) (series []string) {
	for _, replica := range []string{"g1", "g2"} {
		for which, at := range map[string]float64{"before": begins, "after": ends} {
			series = append(series, fmt.Sprintf(
				`porchlight_gateway_certificate_not_%s_timestamp_seconds{namespace="p", instance=%q, gateway="g/w", listener="https", secret="g/c"} %gx20`, which, replica, at))
		}
	}
	return series
}

// authority is what a replica says of a CA certificate of a policy.
func authority(end string, begins, ends float64) (series []string) {
	for which, at := range map[string]float64{"before": begins, "after": ends} {
		series = append(series, fmt.Sprintf(
			`porchlight_gateway_ca_certificate_not_%s_timestamp_seconds{namespace="p", instance="g1", object="BackendTLSPolicy a/p", listener="", configmap="a/ca", end=%q} %gx20`, which, end, at))
	}
	return series
}

// expiring is the alert of a CA certificate.
func expiring(end string) string {
	return fmt.Sprintf(`{configmap="a/ca", end=%q, namespace="p", object="BackendTLSPolicy a/p"}`, end)
}

func members(seen ...int) (series []string) {
	for i, n := range seen {
		series = append(series, fmt.Sprintf(`porchlight_speaker_members{namespace="p", instance="n%d"} %dx20`, i+1, n))
	}
	return series
}

func resources() []string {
	return []string{
		`porchlight_xds_resources{namespace="p", instance="g1", fleet="p/f", type="Listener"} 2x20`,
		`porchlight_xds_resources{namespace="p", instance="g1", fleet="p/idle", type="Listener"} 0x20`,
	}
}

func expression(t *testing.T, alert string) string {
	t.Helper()
	for _, g := range rules(t).Groups {
		for _, r := range g.Rules {
			if r.Alert == alert {
				return r.Expr
			}
		}
	}
	t.Fatalf("there is no alert %s", alert)
	return ""
}

// evaluate returns the label sets of the result, in order.
func evaluate(t *testing.T, expr string, series []string) (result []string) {
	t.Helper()
	var all memory
	for _, line := range series {
		lset, values, err := parser.ParseSeriesDesc(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var samples []chunks.Sample
		for i, v := range values {
			samples = append(samples, sample{int64(i) * time.Minute.Milliseconds(), v.Value})
		}
		all = append(all, storage.NewListSeries(lset, samples))
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 100000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	defer engine.Close()
	query, err := engine.NewInstantQuery(t.Context(), &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: all.find}},
		nil, expr, time.Unix(0, 0).Add(20*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	vector, err := query.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	for _, s := range vector {
		result = append(result, s.Metric.String())
	}
	slices.Sort(result)
	return result
}

// memory is all series that there are.
type memory []storage.Series

func (m memory) find(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &set{at: -1}
	for _, s := range m {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
			found.series = append(found.series, s)
		}
	}
	slices.SortFunc(found.series, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return found
}

// set implements storage.SeriesSet.
type set struct {
	series []storage.Series
	at     int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series                { return s.series[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

// sample implements chunks.Sample.
type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
