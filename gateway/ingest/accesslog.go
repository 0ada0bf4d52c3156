package ingest

import (
	"maps"

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

// accessLog is what the EnvoyFleet wants written; nil: nothing.
func accessLog(f *v1beta1.EnvoyFleet) *ir.AccessLog {
	if f == nil || f.Spec.AccessLog == nil {
		return nil
	}
	l := f.Spec.AccessLog
	out := &ir.AccessLog{Path: l.Path, Text: l.Text}
	if out.Path == "" {
		out.Path = stdout
	}
	if l.Format == v1beta1.AccessLogJSON {
		out.Text, out.JSON = "", maps.Clone(l.JSON)
		if len(out.JSON) == 0 {
			out.JSON = maps.Clone(usualFields)
		}
	}
	return out
}
