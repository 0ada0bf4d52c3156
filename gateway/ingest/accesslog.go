package ingest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/gateway/ir"
)

// stdout is where an access log goes that names no file.
const stdout = "/dev/stdout"

// usualFields are those of a JSON access log that names none.
var usualFields = map[string]string{
	"start_time":            "%START_TIME%",
	"method":                "%REQ(:METHOD)%",
	"authority":             "%REQ(:AUTHORITY)%",
	"path":                  "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
	"protocol":              "%PROTOCOL%",
	"response_code":         "%RESPONSE_CODE%",
	"response_code_details": "%RESPONSE_CODE_DETAILS%",
	"response_flags":        "%RESPONSE_FLAGS%",
	"bytes_received":        "%BYTES_RECEIVED%",
	"bytes_sent":            "%BYTES_SENT%",
	"duration":              "%DURATION%",
	"client_address":        "%DOWNSTREAM_REMOTE_ADDRESS%",
	"x_forwarded_for":       "%REQ(X-FORWARDED-FOR)%",
	"user_agent":            "%REQ(USER-AGENT)%",
	"request_id":            "%REQ(X-REQUEST-ID)%",
	"route":                 "%ROUTE_NAME%",
	"upstream_cluster":      "%UPSTREAM_CLUSTER%",
	"upstream_host":         "%UPSTREAM_HOST%",
	"upstream_failure":      "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	"server_name":           "%REQUESTED_SERVER_NAME%",
}

// CheckAccessLog refuses what Envoy would refuse every listener for: a format
// with a command operator that Envoy does not know, or not as it is there.
func CheckAccessLog(l *v1beta1.FleetAccessLog) error {
	switch {
	case l == nil:
		return nil
	case l.Format != v1beta1.AccessLogJSON:
		if err := checkLogFormat(l.Text); err != nil {
			return fmt.Errorf("spec.accessLog.text: %w", err)
		}
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(l.JSON)) {
		if err := checkLogFormat(l.JSON[field]); err != nil {
			return fmt.Errorf("spec.accessLog.json[%.100q]: %w", field, err)
		}
	}
	return nil
}

// accessLog is what an EnvoyFleet wants written; nil: nothing. One with a format
// that Envoy would refuse has the usual one.
func accessLog(f *v1beta1.EnvoyFleet) *ir.AccessLog {
	if f == nil || f.Spec.AccessLog == nil {
		return nil
	}
	l := f.Spec.AccessLog
	out := &ir.AccessLog{Path: cmp.Or(l.Path, stdout)}
	refused := CheckAccessLog(l) != nil
	switch {
	case l.Format != v1beta1.AccessLogJSON && !refused:
		out.Text = l.Text
	case l.Format != v1beta1.AccessLogJSON:
	case refused || len(l.JSON) == 0:
		out.JSON = maps.Clone(usualFields)
	default:
		out.JSON = maps.Clone(l.JSON)
	}
	return out
}
