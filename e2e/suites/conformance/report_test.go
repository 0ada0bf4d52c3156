//go:build e2e

package conformance

import (
	"flag"
	"os"
	"testing"

	conformancev1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/yaml"
)

// The report that the suite has just written shows the five profiles of a
// gateway, core and extended, and no test that failed or was skipped, nor a
// feature that is not supported.
func TestReport(t *testing.T) {
	text, err := os.ReadFile(flag.Lookup("report-output").Value.String())
	if err != nil {
		t.Fatal(err)
	}
	var report conformancev1.ConformanceReport
	if err := yaml.UnmarshalStrict(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.GatewayAPIVersion != "v1.6.3" || report.GatewayAPIChannel != "experimental" {
		t.Errorf("the report is of %s, channel %s", report.GatewayAPIVersion, report.GatewayAPIChannel)
	}
	missing := map[string]bool{"GATEWAY-HTTP": true, "GATEWAY-GRPC": true, "GATEWAY-TLS": true, "GATEWAY-TCP": true, "GATEWAY-UDP": true}
	for _, p := range report.ProfileReports {
		delete(missing, p.Name)
		if p.Extended == nil {
			t.Errorf("%s: there are no extended features", p.Name)
			continue
		}
		for part, s := range map[string]conformancev1.Status{"core": p.Core, "extended": p.Extended.Status} {
			if s.Result != conformancev1.Success || s.Passed == 0 || s.Failed > 0 || s.Skipped > 0 || len(s.FailedTests) > 0 || len(s.SkippedTests) > 0 {
				t.Errorf("%s, %s: %+v", p.Name, part, s)
			}
		}
		if len(p.Extended.UnsupportedFeatures) > 0 {
			t.Errorf("%s does not support %v", p.Name, p.Extended.UnsupportedFeatures)
		}
	}
	if len(missing) > 0 {
		t.Errorf("the report does not have %v", missing)
	}
}
